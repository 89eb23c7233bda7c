"""Rows of one measurement as the engine writes them: names replaced by ids, each series and time once. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fleetwatch_storage.embedded.names import Field
from fleetwatch_storage.frames import Codes, Numbers, Texts, Times

HOUR_MS = 3_600_000
Places: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rows:
    """`ts` (n,) unix ms, `host` and `inst` (n,) ids; `fields` hold (n,) columns, NaN or None where absent."""

    ts: Times
    host: Codes
    inst: Codes
    fields: dict[Field, Numbers | Texts]

    def __len__(self) -> int:
        return len(self.ts)

    @property
    def keys(self) -> Places:
        """One number per series."""
        return series_key(self.host, self.inst)

    def take(self, places: npt.NDArray[np.generic]) -> Rows:
        """The rows at these places or where this mask is true."""
        columns = {field: column[places] for field, column in self.fields.items()}
        return Rows(self.ts[places], self.host[places], self.inst[places], columns)

    def columns(self) -> dict[str, npt.NDArray[np.generic]]:
        """The rows as columns of a hot table."""
        named = {field.column: column for field, column in self.fields.items()}
        return {"ts": self.ts, "host_id": self.host, "inst_id": self.inst, **named}


def series_key(host: Codes, inst: Codes) -> Places:
    """One number per series of a measurement: its host's id in the upper half, its tag set's in the lower."""
    return host.astype(np.int64) << 32 | inst


def joined(parts: list[Rows]) -> Rows:
    """Several blocks of rows of one measurement after each other; a field some lack is absent there."""
    if len(parts) == 1:
        return parts[0]
    fields = {field: None for part in parts for field in part.fields}
    columns = {
        field: np.concatenate([part.fields.get(field, _absent(field, len(part))) for part in parts]) for field in fields
    }
    return Rows(
        np.concatenate([part.ts for part in parts]),
        np.concatenate([part.host for part in parts]),
        np.concatenate([part.inst for part in parts]),
        columns,
    )


def _absent(field: Field, rows: int) -> Numbers | Texts:
    return np.full(rows, None, np.object_) if field.text else np.full(rows, np.nan)


def merged(rows: Rows, series: Places) -> tuple[Rows, Places]:
    """The rows with each series and time once, later rows' present fields winning; and the series of what is left.

    `series` (n,) are small numbers, one per series.
    """
    if not len(rows) or np.bincount(series).max() <= 1:
        return rows, series
    order = np.lexsort((rows.ts, series))
    starts = np.ones(len(order), np.bool_)
    starts[1:] = (np.diff(series[order]) != 0) | (np.diff(rows.ts[order]) != 0)
    if starts.all():
        return rows, series
    run = np.cumsum(starts) - 1
    first = order[starts]
    columns = {field: _last_present(column[order], run, len(first)) for field, column in rows.fields.items()}
    return Rows(rows.ts[first], rows.host[first], rows.inst[first], columns), series[first]


def _last_present(column: Numbers | Texts, run: Places, runs: int) -> Numbers | Texts:
    """Per run of rows the last value present; NumPy's assignment keeps the last of several to one place."""
    text = column.dtype == object
    result = np.full(runs, None, np.object_) if text else np.full(runs, np.nan)
    there = np.flatnonzero(column != None) if text else np.flatnonzero(~np.isnan(column))  # noqa: E711 - elementwise
    result[run[there]] = column[there]
    return result


def hours(ts: Times) -> list[int]:
    """The starts of the hours in which these times are, unix ms."""
    if not len(ts):
        return []
    first, last = int(ts.min()) // HOUR_MS, int(ts.max()) // HOUR_MS
    return [one * HOUR_MS for one in ([first] if first == last else np.unique(ts // HOUR_MS).tolist())]


def by_hour(rows: Rows) -> Iterator[tuple[int, Rows]]:
    """The rows of each hour, with the hour's start in unix ms."""
    starts = hours(rows.ts)
    if len(starts) == 1:
        yield starts[0], rows
        return
    of_row = rows.ts - rows.ts % HOUR_MS
    for start in starts:
        yield start, rows.take(of_row == start)
