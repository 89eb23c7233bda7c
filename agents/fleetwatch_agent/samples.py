"""The values that pass through the agent: what readers return, one row of it, a batch of rows."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

ABSENT = float("nan")
"""Stands in a row for a field that could not be read this time. Readers return this very object, so that a NaN that
was really measured is told apart and counted."""


@dataclass(frozen=True, slots=True)
class Series:
    """Identity and fields of one series of this host; `tags` are sorted by key."""

    measurement: str
    tags: tuple[tuple[str, str], ...]
    fields: tuple[str, ...]


Reading: TypeAlias = tuple[Series, Sequence[float]]
"""A series and one value for each of its fields."""

Values: TypeAlias = list[Reading]
Reader: TypeAlias = Callable[[], Values]
"""Reads one subsystem. Returns the same `Series` objects every time as long as the host does not change: comparing
two shapes is then a comparison of identities. May raise anything; the sampler isolates it."""

Shape: TypeAlias = tuple[Series, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """Everything read at one time: one row of a schema.

    `t_ms` unix milliseconds; `values` float64, one per column, NaN where absent; `points` the values that are present;
    `processes` a serialised ProcessTable, empty when the table was not due.
    """

    t_ms: int
    schema_id: int
    values: array[float]
    points: int
    processes: bytes = b""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that travel together under one sequence number; never changes.

    `columns` is zlib of the float64 values column by column (the wire's COLUMNS_ZLIB); `crc32` is taken over the values
    row by row.
    """

    seq: int
    schema_id: int
    t0_ms: int
    offsets_ms: tuple[int, ...]
    columns: bytes
    crc32: int
    points: int
    processes: bytes = b""

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return len(self.offsets_ms)


@dataclass(frozen=True, slots=True)
class Lost:
    """A range of batches that will never arrive; 0 to 0 when what was lost had no numbers of the present spool."""

    from_seq: int
    to_seq: int
    points: int
    reason: str
