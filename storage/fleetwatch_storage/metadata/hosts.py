"""The host directory: hosts, their tags, facts, completeness and events; in memory to read, in the database to last."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeAlias

import sqlalchemy as sa

from fleetwatch_storage.hosts import Completeness, Facts, Host
from fleetwatch_storage.metadata import tables

SPOOLS_KEPT_MS = 90 * 86_400_000


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a host, as charts mark it. `kind` as in the events table."""

    at_ms: int
    host: str
    kind: str
    detail: str


Events: TypeAlias = list[Event]


class HostDirectory:
    """Hosts by name. `put` changes memory at once, `flush` makes it last, `reload` reads what others wrote.

    Thread-safe.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._hosts: dict[str, Host] = {}
        self._changed: set[str] = set()
        self.reload()

    def reload(self) -> None:
        """Reads all hosts again; what was put and not flushed stays."""
        with self._engine.connect() as connection:
            found = {row["name"]: _host(dict(row)) for row in connection.execute(sa.select(tables.hosts)).mappings()}
        with self._lock:
            self._hosts = found | {name: self._hosts[name] for name in self._changed}

    def list(self) -> list[Host]:
        """All hosts by name."""
        with self._lock:
            return sorted(self._hosts.values(), key=lambda host: host.name)

    def get(self, name: str) -> Host | None:
        """The host of that name."""
        with self._lock:
            return self._hosts.get(name)

    def tags(self) -> dict[str, dict[str, str]]:
        """Host tags by host name."""
        with self._lock:
            return {name: dict(host.tags) for name, host in self._hosts.items()}

    def put(self, host: Host) -> None:
        """Adds or replaces a host, in memory."""
        with self._lock:
            self._hosts[host.name] = host
            self._changed.add(host.name)

    def flush(self) -> None:
        """Writes what was put since the last flush, in one transaction."""
        with self._lock:
            changed = [self._hosts[name] for name in self._changed]
            self._changed.clear()
        if not changed:
            return
        try:
            with self._engine.begin() as connection:
                names = [host.name for host in changed]
                for start in range(0, len(names), 500):
                    connection.execute(
                        sa.delete(tables.hosts).where(tables.hosts.c.name.in_(names[start : start + 500]))
                    )
                connection.execute(sa.insert(tables.hosts), [_row(host) for host in changed])
        except sa.exc.SQLAlchemyError:
            with self._lock:
                self._changed.update(host.name for host in changed)
            raise

    def record(self, events: Iterable[Event]) -> None:
        """Keeps events for good."""
        rows = [asdict(event) for event in events]
        if rows:
            with self._engine.begin() as connection:
                connection.execute(sa.insert(tables.events), rows)

    def events(self, host: str, start_ms: int, end_ms: int, limit: int = 500) -> Events:
        """Events of a host (all hosts when empty) in the range, newest first."""
        table = tables.events
        query = sa.select(table.c.at_ms, table.c.host, table.c.kind, table.c.detail).where(
            table.c.at_ms >= start_ms, table.c.at_ms < end_ms
        )
        if host:
            query = query.where(table.c.host == host)
        with self._engine.connect() as connection:
            return [Event(*row) for row in connection.execute(query.order_by(table.c.at_ms.desc()).limit(limit))]

    def watermarks(self) -> dict[tuple[str, str], int]:
        """Up to which batch each spool was taken, by agent id and spool id. Statistics: nothing is decided by them."""
        table = tables.spools
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(table.c.agent_id, table.c.spool_id, table.c.up_to))
            return {(agent_id, spool_id): up_to for agent_id, spool_id, up_to in rows}

    def keep_watermarks(self, marks: Mapping[tuple[str, str], int], now_ms: int) -> None:
        """Makes watermarks last, and forgets those that did not change for `SPOOLS_KEPT_MS`."""
        if not marks:
            return
        table = tables.spools
        rows = [
            {"agent_id": agent_id, "spool_id": spool_id, "up_to": up_to, "updated_ms": now_ms}
            for (agent_id, spool_id), up_to in marks.items()
        ]
        of_row = sa.and_(table.c.agent_id == sa.bindparam("agent"), table.c.spool_id == sa.bindparam("spool"))
        with self._engine.begin() as connection:
            connection.execute(
                sa.delete(table).where(of_row), [{"agent": agent_id, "spool": spool_id} for agent_id, spool_id in marks]
            )
            connection.execute(sa.insert(table), rows)
            connection.execute(sa.delete(table).where(table.c.updated_ms < now_ms - SPOOLS_KEPT_MS))


_COUNTS = [field.name for field in fields(Completeness)]


def _row(host: Host) -> dict[str, Any]:
    row: dict[str, Any] = asdict(host)
    counts: dict[str, int] = row.pop("completeness")
    return row | counts | {"tags": dict(host.tags)}


def _host(row: dict[str, Any]) -> Host:
    counts = Completeness(**{name: row.pop(name) for name in _COUNTS})
    return Host(**row | {"facts": Facts(**row["facts"]), "completeness": counts})
