"""From checked batches to decoded rows, many at a time: what arrives within a turn is decoded together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import structlog
from fleetwatch_proto.v1.ingest_pb2 import BITMAP_F64, Nack
from fleetwatch_storage.frames import Numbers, Times

from fleetwatch_collector import decode
from fleetwatch_collector.arrivals import Arrival, Rows, Source
from fleetwatch_collector.errors import Refused, unforeseen
from fleetwatch_collector.layout import Layout

TURN_S = 0.02

_log = structlog.get_logger()

_Spot = tuple[Source, int, int]
_Shape = tuple[Layout, int, int]


class Intake:
    """Collects batches for `TURN_S`, decodes them, and hands the rows on. Event loop's thread only."""

    def __init__(self, decoded: Callable[[list[Rows]], None]) -> None:
        self._decoded = decoded
        self._waiting: list[Arrival] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, arrival: Arrival) -> None:
        """Takes a batch into the current turn."""
        self._waiting.append(arrival)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TURN_S, self.turn)

    def turn(self) -> None:
        """Decodes what is waiting, now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._decoded(self._decode(waiting))

    def _decode(self, waiting: list[Arrival]) -> list[Rows]:
        try:
            return decode_arrivals(waiting)
        except Exception:  # noqa: BLE001 - one batch that nobody foresaw must not stop all others
            _log.exception("batches cannot be decoded; their agents are asked to send them again")
            for arrival in waiting:
                arrival.source.refuse(arrival, unforeseen())
            return []


def decode_arrivals(arrivals: Sequence[Arrival]) -> list[Rows]:
    """Rows of all batches that are what they say; the others are refused at their source.

    A batch that is relative to one before it is decoded after that one.
    """
    turn = _Turn()
    for depth in _by_depth(arrivals):
        for (layout, encoding, rows), group in _by_shape(depth).items():
            turn.decode(layout, encoding, rows, group)
    turn.keep_bases(arrivals)
    return turn.rows


def _by_depth(arrivals: Sequence[Arrival]) -> list[list[Arrival]]:
    """Arrivals in rounds: each only needs rows of rounds before it."""
    depths: list[list[Arrival]] = []
    last: dict[tuple[Source, int], int] = {}
    for arrival in arrivals:
        key = (arrival.source, arrival.plan.schema_id)
        depth = last.get(key, -1) + 1 if arrival.base_seq else 0
        last[key] = depth
        if depth == len(depths):
            depths.append([])
        depths[depth].append(arrival)
    return depths


def _by_shape(arrivals: Sequence[Arrival]) -> dict[_Shape, list[Arrival]]:
    shapes: dict[_Shape, list[Arrival]] = {}
    for arrival in arrivals:
        shapes.setdefault((arrival.plan.layout, arrival.encoding, len(arrival.offset_ms)), []).append(arrival)
    return shapes


@dataclass(slots=True)
class _Turn:
    rows: list[Rows] = field(default_factory=list)
    last_rows: dict[_Spot, Numbers] = field(default_factory=dict)

    def decode(self, layout: Layout, encoding: int, rows: int, group: Sequence[Arrival]) -> None:
        if encoding == BITMAP_F64:
            group, bases = self._with_bases(group)
            if not group:
                return
        else:
            bases = [None] * len(group)
        payloads = [arrival.values for arrival in group]
        checksums = [arrival.crc32 for arrival in group]
        found = decode.decode(encoding, rows, layout.columns, payloads, bases, checksums)
        values = found.values
        if found.problems:
            group, values = _without(group, values, found.problems)
        if group:
            self._remember(group, values)
            self.rows.append(_rows(layout, group, values))

    def keep_bases(self, arrivals: Sequence[Arrival]) -> None:
        """Gives every source the last row that was decoded of it."""
        latest: dict[tuple[Source, int], int] = {}
        for arrival in arrivals:
            if (arrival.source, arrival.plan.schema_id, arrival.seq) in self.last_rows:
                latest[arrival.source, arrival.plan.schema_id] = arrival.seq
        for (source, schema_id), seq in latest.items():
            source.keep_base(schema_id, seq, self.last_rows[source, schema_id, seq].copy())

    def _remember(self, group: Sequence[Arrival], values: Numbers) -> None:
        for index, arrival in enumerate(group):
            self.last_rows[arrival.source, arrival.plan.schema_id, arrival.seq] = values[index, -1]

    def _with_bases(self, group: Sequence[Arrival]) -> tuple[list[Arrival], list[Numbers | None]]:
        chosen: list[Arrival] = []
        bases: list[Numbers | None] = []
        for arrival in group:
            base = self._base(arrival) if arrival.base_seq else None
            if arrival.base_seq and base is None:
                detail = f"relative to batch {arrival.base_seq}, which is not the last one taken: send it whole"
                arrival.source.refuse(arrival, Refused(Nack.RETRY, detail))
            else:
                chosen.append(arrival)
                bases.append(base)
        return chosen, bases

    def _base(self, arrival: Arrival) -> Numbers | None:
        schema_id = arrival.plan.schema_id
        row = self.last_rows.get((arrival.source, schema_id, arrival.base_seq))
        return arrival.source.base(schema_id, arrival.base_seq) if row is None else row


def _without(group: Sequence[Arrival], values: Numbers, problems: dict[int, str]) -> tuple[list[Arrival], Numbers]:
    """The group without its invalid batches, which are refused.

    A wrong checksum of a relative batch may only mean that the two sides differ in what came before: it is asked for
    again, whole.
    """
    for index, problem in problems.items():
        arrival = group[index]
        relative = arrival.base_seq != 0 and problem == decode.CHECKSUM
        arrival.source.refuse(arrival, Refused(Nack.RETRY if relative else Nack.POISON, problem))
    good = [index for index in range(len(group)) if index not in problems]
    return [group[index] for index in good], values[good]


def _rows(layout: Layout, group: Sequence[Arrival], values: Numbers) -> Rows:
    flat = values.reshape(-1, layout.columns)
    finite = np.isfinite(flat)
    gaps = not finite.all()
    if gaps:
        flat = np.where(finite, flat, np.nan)
    counts = [values.shape[1]] * len(group)
    return Rows(layout, flat, _times(group, values.shape[1]), group, counts, gaps)


def _times(group: Sequence[Arrival], rows: int) -> Times:
    start = np.array([arrival.t0_ms for arrival in group], np.int64)
    if rows == 1:
        return start
    offsets = np.array([arrival.offset_ms for arrival in group], np.int64)
    return (start[:, None] + offsets).ravel()
