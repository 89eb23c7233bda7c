"""A batch on its way from a stream to the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from fleetwatch_proto.v1.ingest_pb2 import ProcessTable
from fleetwatch_storage.frames import Numbers, Times

from fleetwatch_collector.errors import Refused
from fleetwatch_collector.layout import Layout, Plan


class Source(Protocol):
    """The stream that a batch came on, as the later stages see it."""

    @property
    def host(self) -> str:
        """The name the host is stored under."""

    def base(self, schema_id: int, seq: int) -> Numbers | None:
        """The last row (columns,) of batch `seq` when that was the last one decoded of this schema, else None."""

    def keep_base(self, schema_id: int, seq: int, row: Numbers) -> None:
        """Remembers the last row of the last batch of a schema; the row is the caller's to give away."""

    def refuse(self, arrival: Arrival, refused: Refused) -> None:
        """The batch will not be stored."""

    def settle(self, arrival: Arrival) -> None:
        """The batch is durable, or set aside for good: it may be acknowledged."""

    def tell(self) -> None:
        """Sends what is due: called once after all batches of a commit are settled."""


@dataclass(slots=True, eq=False)
class Arrival:
    """One checked batch, still coded. `offset_ms` has one entry per row; `size` bytes count against the budgets.

    Nothing changes one; it is not frozen because making a frozen one costs three microseconds more for every message.
    """

    source: Source
    plan: Plan
    seq: int
    t0_ms: int
    offset_ms: Sequence[int]
    encoding: int
    values: bytes
    crc32: int
    base_seq: int
    table: ProcessTable | None
    size: int
    in_future: bool = False

    @property
    def host(self) -> str:
        """The name the host is stored under."""
        return self.source.host

    @property
    def newest_ms(self) -> int:
        """Time of the last row."""
        return self.t0_ms + self.offset_ms[-1]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Decoded rows of one layout: `values` (n, columns), `time` (n,); `arrivals` in row order, `counts` rows of each.

    `gaps` says whether any value is missing (NaN).
    """

    layout: Layout
    values: Numbers
    time: Times
    arrivals: Sequence[Arrival]
    counts: Sequence[int]
    gaps: bool

    @property
    def points(self) -> int:
        """How many values are there."""
        missing = int(np.count_nonzero(np.isnan(self.values))) if self.gaps else 0
        return self.values.size - missing
