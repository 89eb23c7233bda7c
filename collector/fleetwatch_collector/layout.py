"""What the columns of a row mean, worked out once per schema.

A **layout** is a schema without its tags: which columns belong to which measurement and fields. Hosts whose disks and
interfaces only have other names share one, and their rows are stacked and taken apart together. A **plan** is a layout
with the tags of one schema.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
from fleetwatch_storage.frames import TagSet

from fleetwatch_collector.schemas import Columns

_MOST_SHARED_TAGSETS = 100_000


@dataclass(frozen=True, slots=True)
class Block:
    """Neighbouring series of one measurement with the same fields: columns `first_column` on, series by series."""

    measurement: str
    fields: tuple[str, ...]
    first_column: int
    first_series: int
    series: int

    @property
    def end_column(self) -> int:
        """The column after the last one."""
        return self.first_column + self.series * len(self.fields)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Layout:
    """The blocks of a row of `columns` float64 values."""

    blocks: tuple[Block, ...]
    columns: int


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Plan:
    """One schema, ready to be applied. `tagsets` by series; `series` (n,) int64: sorted hashes of the series' names.

    `digest` is of the message that it was made from: who sends the same one again has sent the same content.
    """

    schema_id: int
    digest: bytes
    layout: Layout
    tagsets: tuple[TagSet, ...]
    series: npt.NDArray[np.int64]


class Plans:
    """All plans in use. Kept as long as somebody holds them: sessions do, and agents that were here lately."""

    def __init__(self) -> None:
        self._plans: WeakValueDictionary[int, Plan] = WeakValueDictionary()
        self._layouts: WeakValueDictionary[tuple[Block, ...], Layout] = WeakValueDictionary()
        self._tagsets: dict[TagSet, TagSet] = {}

    def find_or_make(self, schema_id: int, message: bytes, columns: Callable[[], Sequence[Columns]]) -> Plan:
        """The plan of a schema; `columns` reads and checks the message, unless the very same one was read before."""
        digest = hashlib.blake2b(message, digest_size=16).digest()
        plan = self._plans.get(schema_id)
        if plan is not None and plan.digest == digest:
            return plan
        read = columns()
        if plan is None:
            plan = self._plans[schema_id] = self._make(schema_id, digest, read)
        return plan

    def __len__(self) -> int:
        return len(self._plans)

    def _make(self, schema_id: int, digest: bytes, series: Sequence[Columns]) -> Plan:
        blocks = make_blocks(series)
        layout = self._layouts.get(blocks)
        if layout is None:
            layout = self._layouts[blocks] = Layout(blocks, blocks[-1].end_column)
        if len(self._tagsets) > _MOST_SHARED_TAGSETS:
            self._tagsets.clear()
        tagsets = tuple(self._tagsets.setdefault(one.tags, one.tags) for one in series)
        hashes = np.array([hash((one.measurement, one.tags)) for one in series], np.int64)
        return Plan(schema_id, digest, layout, tagsets, np.unique(hashes))


def make_blocks(series: Sequence[Columns]) -> tuple[Block, ...]:
    """The blocks of a schema, in column order."""
    blocks = []
    column = place = 0
    for (measurement, fields), group in itertools.groupby(series, lambda one: (one.measurement, one.fields)):
        block = Block(measurement, fields, column, place, len(list(group)))
        blocks.append(block)
        column, place = block.end_column, place + block.series
    return tuple(blocks)
