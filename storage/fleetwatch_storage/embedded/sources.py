"""SQL that reads rows from where they are: hot tables, sealed files, and hours that have both. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import groupby
from pathlib import Path

from fleetwatch_storage.embedded.database import literal
from fleetwatch_storage.embedded.layout import KEYS, HotTable, Layout, SealedFile, Tier
from fleetwatch_storage.embedded.names import Field
from fleetwatch_storage.embedded.plan import Part
from fleetwatch_storage.embedded.ranges import condition
from fleetwatch_storage.embedded.rows import HOUR_MS
from fleetwatch_storage.embedded.selection import Selection

Projection = Callable[[Collection[str]], list[str]]
"""The columns to read besides the keys, given the columns there are."""


class Sources:
    """The rows of one measurement in one layout."""

    def __init__(self, folder: Path, layout: Layout, measurement: int, selection: Selection) -> None:
        self._folder = folder
        self._layout = layout
        self._measurement = measurement
        self._selection = selection

    def of(self, selection: Selection) -> Sources:
        """The same rows of other series."""
        return Sources(self._folder, self._layout, self._measurement, selection)

    def raw(self, part: Part, fields: Sequence[Field]) -> list[str]:
        """Statements for the samples of these times, each series and time once, with the fields' columns."""
        where = condition("ts", part.times) + self._selection.condition()
        files = self._files(Tier.RAW, part)
        tables = {hour: group for (owner, hour), group in self._hot(part) if owner == self._measurement}
        alone = [file for file in files if file.start_ms not in tables]
        statements = self._from_files(alone, lambda columns: _samples(fields, columns), where)
        for hour, group in tables.items():
            under = [file for file in files if file.start_ms == hour]
            statements.append(self._hour(under, group, fields, where))
        return statements

    def rolled(self, part: Part, projection: Projection) -> list[str]:
        """Statements for the roll-ups of these times."""
        where = condition("ts", part.times) + self._selection.condition()
        return self._from_files(self._files(part.tier, part), projection, where)

    def _files(self, tier: Tier, part: Part) -> list[SealedFile]:
        start, end = part.times[0][0], part.times[-1][1]
        near = self._layout.files_between(tier, self._measurement, start, end)
        return [
            file for file in near if _meets(file.start_ms, file.end_ms, part) and self._selection.has_slice(file.slice)
        ]

    def _hot(self, part: Part) -> list[tuple[tuple[int, int], tuple[HotTable, ...]]]:
        return [(key, group) for key, group in self._layout.hot.items() if _meets(key[1], key[1] + HOUR_MS, part)]

    def _from_files(self, files: Iterable[SealedFile], projection: Projection, where: str) -> list[str]:
        """One statement for all files that have the same columns."""
        alike = groupby(sorted(files, key=lambda file: sorted(file.columns)), key=lambda file: file.columns)
        return [_select([*KEYS, *projection(columns)], parquet(self._folder, group), where) for columns, group in alike]

    def _hour(self, files: list[SealedFile], tables: tuple[HotTable, ...], fields: Sequence[Field], where: str) -> str:
        """The samples of one hour: where it has several layers, the newest that has a field gives it."""
        if not files and len(tables) == 1:
            return _select([*KEYS, *_samples(fields, tables[0].columns)], tables[0].name, where)
        layers = self._from_files(files, lambda columns: [*_samples(fields, columns), "0 AS layer"], where)
        layers += [
            _select([*KEYS, *_samples(fields, table.columns), f"{place} AS layer"], table.name, where)
            for place, table in enumerate(tables, 1)
        ]
        newest = [f"arg_max({field.column}, layer) AS {field.column}" for field in fields]
        keys = ", ".join(KEYS)
        return f"SELECT {', '.join([keys, *newest])} FROM ({union(layers)}) GROUP BY {keys}"


def parquet(folder: Path, files: Iterable[SealedFile], *, alike: bool = True) -> str:
    """The files as a relation; `alike` when all have the same columns."""
    paths = ", ".join(literal(str(folder / file.path)) for file in files)
    return f"read_parquet([{paths}]{'' if alike else ', union_by_name = true'})"


def union(statements: Iterable[str]) -> str:
    """All their rows."""
    return " UNION ALL ".join(statements)


def _select(columns: list[str], relation: str, where: str) -> str:
    return f"SELECT {', '.join(columns)} FROM {relation} WHERE {where}"


def _samples(fields: Sequence[Field], there: Collection[str]) -> list[str]:
    return [field.column if field.column in there else f"NULL::{_kind(field)} AS {field.column}" for field in fields]


def _kind(field: Field) -> str:
    return "VARCHAR" if field.text else "DOUBLE"


def _meets(start_ms: int, end_ms: int, part: Part) -> bool:
    return any(start_ms < end and end_ms > start for start, end in part.times)
