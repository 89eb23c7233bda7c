"""Batches and samples as rows of the spool's tables."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Sequence
from typing import Any

from fleetwatch_agent import wire
from fleetwatch_agent.samples import Batch, Sample

_SIGN = 1 << 63
INSERT_BATCH = "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
INSERT_ROW = "INSERT INTO open_rows VALUES (?, ?, ?, ?, ?)"


def signed(schema_id: int) -> int:
    """SQLite's integers have a sign, schema ids have none."""
    return schema_id - 2 * _SIGN if schema_id >= _SIGN else schema_id


def unsigned(number: int) -> int:
    """The schema id again."""
    return number + 2 * _SIGN if number < 0 else number


def batch_of(samples: Sequence[Sample], seq: int) -> Batch:
    """Samples of one schema in the order of their times as a batch; the process table is the last one's."""
    rows = [sample.values for sample in samples]
    first = samples[0]
    return Batch(
        seq=seq,
        schema_id=first.schema_id,
        t0_ms=first.t_ms,
        offsets_ms=tuple(sample.t_ms - first.t_ms for sample in samples),
        columns=wire.columns_zlib(rows),
        crc32=wire.crc(rows),
        points=sum(sample.points for sample in samples),
        processes=samples[-1].processes,
    )


def batch_row(batch: Batch) -> tuple[object, ...]:
    """What INSERT_BATCH takes."""
    return (
        batch.seq,
        signed(batch.schema_id),
        batch.t0_ms,
        array("I", batch.offsets_ms).tobytes(),
        batch.columns,
        batch.crc32,
        batch.points,
        zlib.compress(batch.processes) if batch.processes else b"",
    )


def batch_from(row: Sequence[Any]) -> Batch:
    """A batch from a row of the table, checked against its checksum.

    Raises:
        ValueError: it is not what was written.
    """
    seq, schema_id, t0_ms, offsets, data, crc32, points, processes = row
    try:
        offsets_ms = tuple(array("I", offsets))
        table = zlib.decompress(processes) if processes else b""
    except (zlib.error, TypeError) as error:
        raise ValueError(f"batch {seq}: {error}") from error
    if not offsets_ms or wire.crc(wire.rows_of(data, len(offsets_ms))) != crc32:
        raise ValueError(f"batch {seq}: checksum differs")
    return Batch(seq, unsigned(schema_id), t0_ms, offsets_ms, data, crc32, points, table)


def sample_row(sample: Sample) -> tuple[object, ...]:
    """What INSERT_ROW takes. Not compressed: it lives for seconds, and its page is written whole in any case."""
    return sample.t_ms, signed(sample.schema_id), sample.values.tobytes(), sample.points, sample.processes


def sample_from(row: Sequence[Any]) -> Sample:
    """A sample from a row of the table.

    Raises:
        ValueError: it is not what was written.
    """
    t_ms, schema_id, data, points, processes = row
    try:
        return Sample(t_ms, unsigned(schema_id), array("d", data), points, processes)
    except (ValueError, TypeError) as error:
        raise ValueError(f"row at {t_ms}: {error}") from error
