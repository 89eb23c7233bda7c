"""Names as numbers: hosts, measurements, fields and tag sets get ids that stand in rows and files in their place.

Ids are given in order and never reused, so lists are indexed by id and readers may use them while the writer appends.
What a write adds is saved in its transaction; when that fails, `discard` takes it back.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
from duckdb import DuckDBPyConnection

from fleetwatch_storage.embedded.database import insert
from fleetwatch_storage.frames import Codes, TagSet

T = TypeVar("T", str, TagSet)


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a measurement; `column` is its name in tables and files."""

    id: int
    name: str
    text: bool

    @property
    def column(self) -> str:
        return f"f{self.id}"


class Ranking(Generic[T]):
    """Names in order, and the place of each id among them; made anew when there are more names than before."""

    def __init__(self, names: Sequence[T]) -> None:
        self._names: Sequence[T] = names
        self._taken_back = 0
        self._made: tuple[tuple[int, int], tuple[T, ...], Codes] = ((0, 0), (), np.empty(0, np.int32))

    def now(self) -> tuple[tuple[T, ...], Codes]:
        """The names sorted, and the rank of each id (n,)."""
        names = self._names
        state, made = (len(names), self._taken_back), self._made
        if made[0] != state:
            ids = sorted(range(state[0]), key=names.__getitem__)
            rank = np.empty(len(ids), np.int32)
            rank[ids] = np.arange(len(ids), dtype=np.int32)
            made = self._made = (state, tuple(names[one] for one in ids), rank)
        return made[1], made[2]

    def taken_back(self) -> None:
        """Names were removed: as many as before may be others."""
        self._taken_back += 1


@dataclass(slots=True)
class Measurement:
    """A measurement's fields by name and tag sets by id."""

    id: int
    name: str
    fields: dict[str, Field] = field(default_factory=dict)
    tagsets: list[TagSet] = field(default_factory=list)
    tagset_ids: dict[TagSet, int] = field(default_factory=dict)
    ranking: Ranking[TagSet] = field(init=False)

    def __post_init__(self) -> None:
        self.ranking = Ranking(self.tagsets)


class Names:
    """All names of a store. Only the holder of the write lock adds any."""

    def __init__(self) -> None:
        self.hosts: list[str] = []
        self.ranking = Ranking(self.hosts)
        self.measurements: dict[str, Measurement] = {}
        self.by_id: list[Measurement] = []
        self._host_ids: dict[str, int] = {}
        self._fields = 0
        self._new_hosts: list[str] = []
        self._new_measurements: list[Measurement] = []
        self._new_fields: list[tuple[Measurement, Field]] = []
        self._new_tagsets: list[tuple[Measurement, TagSet]] = []
        self._seen: tuple[Sequence[str], Codes] = ((), np.empty(0, np.int32))

    def host_codes(self, hosts: Sequence[str]) -> Codes:
        """Ids of these hosts, new ones added. A tuple that is handed in again is not looked through again."""
        if hosts is self._seen[0]:
            return self._seen[1]
        codes = np.fromiter((self._host(name) for name in hosts), np.int32, len(hosts))
        if isinstance(hosts, tuple):
            self._seen = (hosts, codes)
        return codes

    def _host(self, name: str) -> int:
        known = self._host_ids.get(name)
        if known is not None:
            return known
        self._host_ids[name] = len(self.hosts)
        self.hosts.append(name)
        self._new_hosts.append(name)
        return len(self.hosts) - 1

    def host_id(self, name: str) -> int | None:
        """The id of a known host."""
        return self._host_ids.get(name)

    def measurement(self, name: str) -> Measurement:
        """The measurement of that name, added when new."""
        known = self.measurements.get(name)
        if known is None:
            known = Measurement(len(self.by_id), name)
            self.by_id.append(known)
            self.measurements[name] = known
            self._new_measurements.append(known)
        return known

    def field(self, measurement: Measurement, name: str, *, text: bool) -> Field:
        """The field of that name, added when new; a known one keeps its kind."""
        known = measurement.fields.get(name)
        if known is None:
            known = Field(self._fields, name, text)
            self._fields += 1
            measurement.fields[name] = known
            self._new_fields.append((measurement, known))
        return known

    def tagset_codes(self, measurement: Measurement, tagsets: Sequence[TagSet]) -> Codes:
        """Ids of these tag sets of a measurement, new ones added."""
        ids = measurement.tagset_ids
        return np.fromiter(
            (ids[one] if one in ids else self._tagset(measurement, one) for one in tagsets), np.int32, len(tagsets)
        )

    def _tagset(self, measurement: Measurement, tags: TagSet) -> int:
        """The id of a tag set not seen in this spelling: sorted and without empty values it may be known."""
        plain = tuple(sorted((key, value) for key, value in tags if value))
        known = measurement.tagset_ids.get(plain)
        if known is not None:
            return known
        measurement.tagset_ids[plain] = len(measurement.tagsets)
        measurement.tagsets.append(plain)
        self._new_tagsets.append((measurement, plain))
        return len(measurement.tagsets) - 1

    def save(self, connection: DuckDBPyConnection) -> None:
        """Writes what was added, inside the caller's transaction."""
        for table, rows in self._additions().items():
            if rows:
                insert(connection, table, {name: _column([row[name] for row in rows]) for name in rows[0]})

    def _additions(self) -> dict[str, list[dict[str, Any]]]:
        first_host = len(self.hosts) - len(self._new_hosts)
        return {
            "hosts": [{"id": first_host + i, "name": name} for i, name in enumerate(self._new_hosts)],
            "measurements": [{"id": one.id, "name": one.name} for one in self._new_measurements],
            "fields": [
                {"id": one.id, "measurement_id": owner.id, "name": one.name, "is_text": one.text}
                for owner, one in self._new_fields
            ],
            "tagsets": [
                {
                    "id": owner.tagset_ids[tags],
                    "measurement_id": owner.id,
                    "tags": json.dumps(dict(tags), ensure_ascii=False),
                }
                for owner, tags in self._new_tagsets
            ],
        }

    def keep(self) -> None:
        """What was added is durable."""
        for added in (self._new_hosts, self._new_measurements, self._new_fields, self._new_tagsets):
            added.clear()

    def discard(self) -> None:
        """Takes back what was added since `keep`."""
        for name in reversed(self._new_hosts):
            del self._host_ids[name], self.hosts[-1]
        self.ranking.taken_back()
        for owner, tags in reversed(self._new_tagsets):
            del owner.tagset_ids[tags], owner.tagsets[-1]
            owner.ranking.taken_back()
        for owner, one in self._new_fields:
            del owner.fields[one.name]
        for measurement in reversed(self._new_measurements):
            del self.measurements[measurement.name], self.by_id[-1]
        self._fields -= len(self._new_fields)
        self._seen = ((), np.empty(0, np.int32))
        self.keep()


def load(connection: DuckDBPyConnection) -> Names:
    """The names of a store."""
    names = Names()
    for (host,) in connection.execute("SELECT name FROM hosts ORDER BY id").fetchall():
        names.host_codes([host])
    for (measurement,) in connection.execute("SELECT name FROM measurements ORDER BY id").fetchall():
        names.measurement(measurement)
    for owner, name, text in connection.execute(
        "SELECT measurement_id, name, is_text FROM fields ORDER BY id"
    ).fetchall():
        names.field(names.by_id[owner], name, text=text)
    for owner, tags in connection.execute(
        "SELECT measurement_id, tags FROM tagsets ORDER BY measurement_id, id"
    ).fetchall():
        names.tagset_codes(names.by_id[owner], [tagset_of(tags)])
    names.keep()
    return names


def tagset_of(text: str) -> TagSet:
    """A tag set from its stored text."""
    return tuple(sorted(json.loads(text).items()))


def _column(values: list[Any]) -> np.ndarray[Any, np.dtype[Any]]:
    return np.array(values, object) if isinstance(values[0], str) else np.array(values)
