"""Samples for the spool: content that is a function of a number, so that what comes back can be checked."""

from __future__ import annotations

import os
import random
import sqlite3
from array import array
from pathlib import Path

from fleetwatch_agent import wire
from fleetwatch_agent.samples import Batch, Sample
from fleetwatch_agent.spool import Limits, Spool
from fleetwatch_agent.stamps import Stamps

WIDTH = 40
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""A folder whose fsync costs nothing."""

START_MS = 1_700_000_000_000
SCHEMA = 77


def sample(
    number: int, schema_id: int = SCHEMA, width: int = WIDTH, processes: bytes = b"", step_ms: int = 10_000
) -> Sample:
    """The sample of a number; incompressible enough to fill a disk."""
    noise = array("d", random.Random(number).randbytes(8 * (width - 1)).replace(b"\xff", b"\x3f"))
    noise.insert(0, float(number))
    return Sample(START_MS + number * step_ms, schema_id, noise, width, processes)


def numbers(batch: Batch) -> list[int]:
    """The numbers of the samples of a batch, checked against their content."""
    found = []
    for row in wire.rows_of(batch.columns, batch.rows):
        number = round(row[0])
        assert row.tobytes() == sample(number, width=len(row)).values.tobytes(), "altered"
        found.append(number)
    assert batch.crc32 == wire.crc(wire.rows_of(batch.columns, batch.rows))
    return found


def open_spool(folder: Path, size: int = 1 << 26, memory: int = 1 << 20, **more: object) -> Spool:
    spool = Spool(folder, Limits(size), memory, **more)  # type: ignore[arg-type]
    spool.put_schema(SCHEMA, b"schema")
    return spool


def append(spool: Spool, number: int, ship: bool = True, schema_id: int = SCHEMA, processes: bytes = b"") -> None:
    taken = sample(number, schema_id, processes=processes)
    spool.append(taken, ship, Stamps().used(taken.t_ms))


def waiting(spool: Spool) -> list[Batch]:
    return [batch for seq in spool.after(0, 1_000_000) if (batch := spool.get(seq))]


def damage(path: Path, offset: int, data: bytes = b"\xde\xad\xbe\xef" * 256) -> None:
    """Overwrites a piece of the main file of a closed spool."""
    sqlite3.connect(path).execute("PRAGMA wal_checkpoint(TRUNCATE)").connection.close()
    with path.open("r+b") as file:
        file.seek(offset, os.SEEK_SET)
        file.write(data)
