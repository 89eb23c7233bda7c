"""A batch as it came, checked against its schema and the limits before a byte of it is decoded. Pure."""

from __future__ import annotations

import itertools

from fleetwatch_proto.v1.ingest_pb2 import BITMAP_F64, Batch, Nack

from fleetwatch_collector.arrivals import Arrival, Source
from fleetwatch_collector.decode import ENCODINGS
from fleetwatch_collector.errors import Refused
from fleetwatch_collector.layout import Plan
from fleetwatch_collector.processes import table_problem
from fleetwatch_collector.settings import CollectorSettings

LARGEST_SEQ = 2**62
_LARGEST_TIME_MS = 2**53
_OVERHEAD_BYTES = 512
_TABLE_ROW_BYTES = 256


def check_batch(batch: Batch, source: Source, plan: Plan, settings: CollectorSettings, now_ms: int) -> Arrival:
    """The batch as it goes on to be decoded.

    Raises:
        Refused: POISON it contradicts itself or its schema; TOO_BIG, EXPIRED.
    """
    offsets = tuple(batch.offset_ms)
    _check_rows(batch, offsets)
    size = len(offsets) * plan.layout.columns * 8
    if size > settings.max_inflated:
        raise Refused(
            Nack.TOO_BIG,
            f"{len(offsets)} rows of {plan.layout.columns} columns are {size} bytes; at most {settings.max_inflated}",
        )
    table = batch.processes if batch.HasField("processes") else None
    if table is not None:
        if problem := table_problem(table):
            raise Refused(Nack.POISON, problem)
        size += len(table.pid) * _TABLE_ROW_BYTES
    newest_ms = batch.t0_ms + offsets[-1]
    if newest_ms < now_ms - settings.max_age * 1000:
        raise Refused(Nack.EXPIRED, f"the samples end at {newest_ms} unix ms, more than {settings.max_age:.0f} s ago")
    return Arrival(
        source=source,
        plan=plan,
        seq=batch.seq,
        t0_ms=batch.t0_ms,
        offset_ms=offsets,
        encoding=batch.encoding,
        values=batch.values,
        crc32=batch.crc32,
        base_seq=batch.base_seq if batch.encoding == BITMAP_F64 else 0,
        table=table,
        size=size + _OVERHEAD_BYTES,
        in_future=newest_ms > now_ms + settings.max_future * 1000,
    )


def _check_rows(batch: Batch, offsets: tuple[int, ...]) -> None:
    if not 1 <= batch.seq <= LARGEST_SEQ:
        raise Refused(Nack.POISON, f"sequence number {batch.seq} is out of range")
    if batch.encoding not in ENCODINGS:
        raise Refused(Nack.POISON, f"encoding {batch.encoding} is unknown")
    if not offsets or offsets[0] != 0:
        raise Refused(Nack.POISON, "the offsets of the rows do not begin with 0")
    if len(offsets) > 1 and any(later <= earlier for earlier, later in itertools.pairwise(offsets)):
        raise Refused(Nack.POISON, "the offsets of the rows do not rise")
    if abs(batch.t0_ms) > _LARGEST_TIME_MS:
        raise Refused(Nack.POISON, f"time {batch.t0_ms} is out of range")
