"""Where the rows are: hot tables per measurement and hour, sealed files per tier; an immutable picture for readers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from duckdb import DuckDBPyConnection

from fleetwatch_storage.embedded.rows import HOUR_MS

KEYS = ("ts", "host_id", "inst_id")
"""Columns every table and file has."""

MINUTE_MS = 60_000
SLICE_HOSTS = 1000
"""Files hold the hosts of one slice of ids: it bounds what sealing sorts at once, and lets queries leave files out."""


class Tier(StrEnum):
    """How fine the rows of a file are."""

    RAW = "raw"
    MINUTE = "1m"
    FIVE_MINUTES = "5m"
    HOUR = "1h"

    @property
    def width_ms(self) -> int:
        """Width of a row; 0 for samples as taken."""
        return {"raw": 0, "1m": MINUTE_MS, "5m": 5 * MINUTE_MS, "1h": HOUR_MS}[self.value]


ROLL_UPS = (Tier.MINUTE, Tier.FIVE_MINUTES, Tier.HOUR)


@dataclass(frozen=True, slots=True)
class HotTable:
    """Rows of one hour that are not sealed. Of several for one hour that of the highest generation is the newest."""

    measurement: int
    hour_ms: int
    generation: int
    columns: frozenset[str]

    @property
    def name(self) -> str:
        return f"hot_{self.measurement}_{self.hour_ms // HOUR_MS}_{self.generation}"


@dataclass(frozen=True, slots=True)
class SealedFile:
    """A Parquet file with all rows of a tier, measurement and slice of hosts in `[start_ms, end_ms)`, sealed once."""

    path: str
    tier: Tier
    measurement: int
    start_ms: int
    end_ms: int
    slice: int
    generation: int
    rows: int
    bytes: int
    columns: frozenset[str]


@dataclass(frozen=True, slots=True)
class Layout:
    """`hot`: tables of a measurement and hour, oldest first; `files`: files of a tier and measurement by time."""

    hot: Mapping[tuple[int, int], tuple[HotTable, ...]] = field(default_factory=dict)
    files: Mapping[tuple[Tier, int], tuple[SealedFile, ...]] = field(default_factory=dict)

    def with_table(self, table: HotTable) -> Layout:
        """With a table added, or replaced by one with more columns."""
        key = (table.measurement, table.hour_ms)
        others = tuple(one for one in self.hot.get(key, ()) if one.generation != table.generation)
        return replace(self, hot={**self.hot, key: (*others, table)})

    def without_tables(self, tables: Iterable[HotTable]) -> Layout:
        """With these tables gone."""
        names = {one.name for one in tables}
        left = {key: tuple(one for one in group if one.name not in names) for key, group in self.hot.items()}
        return replace(self, hot={key: group for key, group in left.items() if group})

    def with_files(self, gone: Iterable[SealedFile], new: Iterable[SealedFile]) -> Layout:
        """With some files in place of others."""
        paths = {one.path for one in gone}
        groups = {key: [one for one in group if one.path not in paths] for key, group in self.files.items()}
        for one in new:
            groups.setdefault((one.tier, one.measurement), []).append(one)
        ordered = {key: tuple(sorted(group, key=_by_time)) for key, group in groups.items() if group}
        return replace(self, files=ordered)

    def files_between(self, tier: Tier, measurement: int, start_ms: int, end_ms: int) -> list[SealedFile]:
        """The files of a tier that may hold rows of the range."""
        return [
            one for one in self.files.get((tier, measurement), ()) if one.start_ms < end_ms and one.end_ms > start_ms
        ]

    def has(self, files: Sequence[SealedFile]) -> bool:
        """Whether these files of one tier and measurement are all part of it."""
        there = {one.path for one in self.files.get((files[0].tier, files[0].measurement), ())}
        return all(file.path in there for file in files)

    def tables(self) -> list[HotTable]:
        """All hot tables."""
        return [table for group in self.hot.values() for table in group]

    def all_files(self) -> list[SealedFile]:
        """All sealed files."""
        return [file for group in self.files.values() for file in group]


def _by_time(file: SealedFile) -> tuple[int, int]:
    return file.start_ms, file.slice


def load(connection: DuckDBPyConnection) -> Layout:
    """The layout as the database has it."""
    layout = Layout().with_files((), _files(connection))
    for table in _tables(connection):
        layout = layout.with_table(table)
    return layout


def _tables(connection: DuckDBPyConnection) -> list[HotTable]:
    """The hot tables; DuckDB tells their columns faster in their definitions than in its list of columns."""
    tables = []
    for name, definition in connection.execute("SELECT table_name, sql FROM duckdb_tables()").fetchall():
        if match := re.fullmatch(r"hot_(\d+)_(\d+)_(\d+)", name):
            measurement, hour, generation = map(int, match.groups())
            columns = frozenset((*KEYS, *re.findall(r"\bf\d+\b", definition)))
            tables.append(HotTable(measurement, hour * HOUR_MS, generation, columns))
    return sorted(tables, key=lambda table: (table.measurement, table.hour_ms, table.generation))


def _files(connection: DuckDBPyConnection) -> list[SealedFile]:
    rows = connection.execute("SELECT * FROM files").fetchall()
    return [_file(*row) for row in rows]


def _file(path: str, tier: str, *numbers_and_columns: Any) -> SealedFile:
    *numbers, columns = numbers_and_columns
    measurement, start_ms, end_ms, part, generation, rows, size = numbers
    names = frozenset(columns.split(","))
    return SealedFile(path, Tier(tier), measurement, start_ms, end_ms, part, generation, rows, size, names)


def record(connection: DuckDBPyConnection, gone: Iterable[SealedFile], new: Iterable[SealedFile]) -> None:
    """Changes the database's list of files, inside the caller's transaction."""
    for file in gone:
        connection.execute("DELETE FROM files WHERE path = ?", [file.path])
    for file in new:
        row = [file.path, file.tier.value, file.measurement, file.start_ms, file.end_ms, file.slice, file.generation]
        row += [file.rows, file.bytes, ",".join(sorted(file.columns))]
        connection.execute(f"INSERT INTO files VALUES ({', '.join('?' * len(row))})", row)
