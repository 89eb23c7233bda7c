"""What a damaged spool file still gives."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetwatch_agent.samples import Batch, Lost, Sample
from fleetwatch_agent.spool import rows
from fleetwatch_agent.stamps import Stamps

_KEEP_ASIDE = 2


@dataclass(slots=True)
class Salvage:
    """What could be read. `lost` holds ranges that were still to be reported, and what the damage took."""

    batches: list[Batch] = field(default_factory=list)
    schemas: dict[int, bytes] = field(default_factory=dict)
    lost: list[Lost] = field(default_factory=list)
    stamps: Stamps = field(default_factory=Stamps)


def set_aside(path: Path) -> Path:
    """Renames a damaged file and its log out of the way, keeps the newest few; returns the new path."""
    aside = path.with_name(f"{path.stem}.corrupt-{time.time_ns() // 1_000_000}")
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    old = sorted(one for one in path.parent.glob(f"{path.stem}.corrupt-*") if not one.name.endswith(("-wal", "-shm")))
    for one in old[:-_KEEP_ASIDE]:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{one}{suffix}").unlink(missing_ok=True)
    return aside


def read(path: Path, gathered: Sequence[Sample] | None = None) -> Salvage:
    """Reads every batch that still has its checksum, from the front and, past damage, from the back.

    `gathered` are the rows of the open batch where the caller still has them; else they are read, too.
    """
    found = Salvage()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        found.schemas = {rows.unsigned(number): data for number, data in _all(db, "SELECT id, data FROM schemas")}
        found.lost = [Lost(0, 0, points, reason) for points, reason in _all(db, "SELECT points, reason FROM lost")]
        for (stamps,) in _all(db, "SELECT stamps FROM state"):
            found.stamps = Stamps.unpack(stamps)
        batches = {batch.seq: batch for batch in _readable(db)}
        opened = list(_opened(db)) if gathered is None else gathered
    closed = [batches[seq] for seq in sorted(batches)]
    found.lost.append(_missing(closed))
    found.batches = closed + [rows.batch_of([sample], 0) for sample in opened]
    for sample in opened:
        found.stamps = found.stamps.used(sample.t_ms)
    return found


def _readable(db: sqlite3.Connection) -> Iterator[Batch]:
    for order in ("ASC", "DESC"):
        for row in _all(db, f"SELECT * FROM batches ORDER BY seq {order}"):
            with contextlib.suppress(ValueError):
                yield rows.batch_from(row)


def _opened(db: sqlite3.Connection) -> Iterator[Sample]:
    """The rows that were not closed yet."""
    for row in _all(db, "SELECT * FROM open_rows ORDER BY t_ms"):
        with contextlib.suppress(ValueError):
            yield rows.sample_from(row)


def _all(db: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    """Rows until the end or the first damage."""
    with contextlib.suppress(sqlite3.Error):
        for row in db.execute(query):  # noqa: UP028 - an error of the consumer must not be swallowed here
            yield row


def _missing(batches: list[Batch]) -> Lost:
    """What the damage took, as far as it can be told: the gaps between what was found, at their average size.

    The range carries no numbers: those of the damaged spool mean nothing in the new one.
    """
    if not batches:
        return Lost(0, 0, 0, "corrupt")
    gaps = batches[-1].seq - batches[0].seq + 1 - len(batches)
    average = sum(batch.points for batch in batches) / len(batches)
    return Lost(0, 0, round(gaps * average), "corrupt")
