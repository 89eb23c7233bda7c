"""The stores the contract suite runs on: name -> context manager that opens an empty one with these hosts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

from fleetwatch_storage import frames, reduce
from fleetwatch_storage.embedded import EmbeddedSettings, EmbeddedStore
from fleetwatch_storage.errors import RejectedRow, WriteRejected
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.hosts import Host
from fleetwatch_storage.influx.store import InfluxStore
from fleetwatch_storage.metadata.database import open_database, sqlite_url
from fleetwatch_storage.metadata.hosts import HostDirectory
from fleetwatch_storage.query import Matcher, Query
from fleetwatch_storage.remote import RemoteStore
from fleetwatch_storage.settings import InfluxSettings
from fleetwatch_storage.store import Health, SeriesKey, Store

from tests.support import store_rows
from tests.support.influx2_shim import TOKEN, influx2_shim
from tests.support.influxd import Influxd
from tests.support.served_store import served
from tests.support.store_rows import Row, Rows

OpenStore = Callable[[Path, HostDirectory], AbstractContextManager[Store]]
HOUR_MS = 3_600_000


class ReferenceStore:
    """Rows in a dictionary, answered by `reduce`: proves suite and reference by each other, and serves as a fake."""

    commit_lag_s = 0.0

    def __init__(self, directory: HostDirectory) -> None:
        self._directory = directory
        self._rows: dict[str, Rows] = {}
        self._kinds: dict[tuple[str, str], bool] = {}

    def write(self, batch: Sequence[Frame]) -> None:
        refused = [row for one in batch for row in self._write(one)]
        if refused:
            raise WriteRejected(refused)

    def _write(self, one: Frame) -> list[RejectedRow]:
        stored, refused = self._rows.setdefault(one.measurement, {}), []
        for host, tags, at, values in store_rows.rows_of(one):
            kinds = {(one.measurement, name): isinstance(value, str) for name, value in values.items()}
            if any(self._kinds.get(key, kind) != kind for key, kind in kinds.items()):
                line = f"{one.measurement},host={host} {at}"
                refused.append(RejectedRow(one.measurement, line, f"field type conflict: {sorted(values)}"))
                continue
            self._kinds |= kinds
            stored.setdefault((host, tags, at), {}).update(values)
        return refused

    def _frame(self, measurement: str) -> Frame:
        stored = self._rows.get(measurement, {})
        return store_rows.frame(
            measurement, [Row(host, at, values, dict(tags)) for (host, tags, at), values in stored.items()]
        )

    def read(self, query: Query) -> Frame:
        return reduce.answer(self._frame(query.measurement), query, self._directory.tags())

    def latest(self, measurements: Sequence[str] = ()) -> list[Frame]:
        oldest = time.time() * 1000 - HOUR_MS
        found = []
        for name in measurements or sorted(self._rows):
            last: dict[Any, Row] = {}
            for (host, tags, at), values in sorted(self._rows.get(name, {}).items()):
                if at >= oldest:
                    last[host, tags] = Row(host, at, values, dict(tags))
            found.append(reduce.ordered(store_rows.frame(name, last.values())) if last else frames.empty(name))
        return [one for one in found if len(one)]

    def series(self, measurement: str = "", where: Sequence[Matcher] = ()) -> list[SeriesKey]:
        keys = []
        for name in [measurement] if measurement else sorted(self._rows):
            fields = tuple(sorted(field for owner, field in self._kinds if owner == name))
            query = Query(name, ("-",), 0, 0, where=tuple(where))
            known = reduce.select(self._frame(name), query, self._directory.tags())
            keys += sorted({(known.hosts[h], known.tagsets[t]) for h, t in zip(known.host, known.tagset, strict=True)})
            keys = [key if isinstance(key, SeriesKey) else SeriesKey(name, *key, fields) for key in keys]
        return keys

    def hosts(self) -> list[Host]:
        return self._directory.list()

    def health(self) -> Health:
        return Health(True, True, "reference")

    def close(self) -> None:
        pass


def directory(folder: Path, tags: dict[str, dict[str, str]]) -> HostDirectory:
    """A host directory in this folder that knows these hosts."""
    known = HostDirectory(open_database(sqlite_url(folder)))
    for name, host_tags in tags.items():
        known.put(Host(name, tags=host_tags))
    return known


@contextmanager
def _reference(_folder: Path, hosts: HostDirectory) -> Iterator[Store]:
    yield ReferenceStore(hosts)


@contextmanager
def _influx1(folder: Path, hosts: HostDirectory) -> Iterator[Store]:
    with Influxd(folder) as server, closing(InfluxStore(InfluxSettings(influx_url=server.url), hosts)) as store:
        yield store


@contextmanager
def _influx2_shim(folder: Path, hosts: HostDirectory) -> Iterator[Store]:
    token = folder / "token"
    token.touch(0o600)
    token.write_text(TOKEN)
    with Influxd(folder) as server, influx2_shim(server) as shim:
        server.query("CREATE DATABASE fleetwatch")
        settings = InfluxSettings(influx_url=shim.url, influx_token_file=token)
        with closing(InfluxStore(settings, hosts)) as store:
            yield store


@contextmanager
def _influx2(folder: Path, hosts: HostDirectory) -> Iterator[Store]:
    token = folder / "token"
    token.touch(0o600)
    token.write_text(os.environ["INFLUX2_TOKEN"])
    settings = InfluxSettings(
        influx_url=os.environ["INFLUX2_URL"],
        influx_org=os.environ["INFLUX2_ORG"],
        influx_database=os.environ["INFLUX2_BUCKET"],
        influx_token_file=token,
    )
    with closing(InfluxStore(settings, hosts)) as store:
        yield store


@contextmanager
def _remote(folder: Path, hosts: HostDirectory) -> Iterator[Store]:
    stored = ReferenceStore(hosts)
    with served(folder, stored, hosts) as collector, closing(RemoteStore(f"127.0.0.1:{collector.port}")) as store:
        store.write = stored.write  # type: ignore[method-assign]  # text passes the Import service in process_top only
        yield store


@contextmanager
def _embedded(folder: Path, hosts: HostDirectory) -> Iterator[Store]:
    with closing(EmbeddedStore(folder / "data", hosts, EmbeddedSettings(store_maintenance_s=0))) as store:
        yield store


class SealingStore(EmbeddedStore):
    """Seals everything after every write, so that whatever is asked is answered from files and roll-ups."""

    def write(self, batch: Sequence[Frame]) -> None:
        try:
            super().write(batch)
        finally:
            self.maintenance.run(int(time.time() * 1000) + 3 * HOUR_MS)


@contextmanager
def _sealed(folder: Path, hosts: HostDirectory) -> Iterator[Store]:
    with closing(SealingStore(folder / "data", hosts, EmbeddedSettings(store_maintenance_s=0))) as store:
        yield store


ENGINES: dict[str, OpenStore] = {
    "reference": _reference,
    "embedded": _embedded,
    "embedded-sealed": _sealed,
    "influx1": _influx1,
    "influx2-shim": _influx2_shim,
    "remote": _remote,
}
if "INFLUX2_URL" in os.environ:
    ENGINES["influx2"] = _influx2
