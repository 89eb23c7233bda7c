"""What is given up when the spool is full: history is thinned first, then the oldest goes. Nothing goes uncounted."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from fleetwatch_agent.samples import Lost

KEEP_EVERY = 6
THIN_AFTER_MS = 3600 * 1000
_CHUNK = 64
_MOST_RANGES = 20_000
_MOST_DEAD_BYTES = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class Room:
    """How much may be used.

    `used` tells the bytes in use, `limit` how many may be; `spared` batches are on their way and not given up.
    """

    used: Callable[[], int]
    limit: int
    spared: Collection[int] = ()


def make_room(db: sqlite3.Connection, room: Room, now_ms: int, in_memory: bool) -> int:
    """Deletes until the limit is kept, within the caller's transaction. Returns how many batches went.

    Of batches older than an hour every sixth stays; when that is not enough the oldest go. The newest batch always
    stays.
    """
    deleted = 0
    while room.used() > room.limit:
        victims = [] if in_memory else _history(db, now_ms - THIN_AFTER_MS, room.spared)
        reason = "thinned"
        if not victims:
            victims, reason = _oldest(db, room.spared), "memory" if in_memory else "overflow"
        if not victims:
            break
        give_up(db, victims, reason)
        deleted += len(victims)
    return deleted


def give_up(db: sqlite3.Connection, victims: list[tuple[int, int]], reason: str) -> None:
    """Deletes batches, given as sorted (seq, points), and records what was lost."""
    db.executemany("DELETE FROM batches WHERE seq = ?", [(seq,) for seq, _ in victims])
    record(db, ranges(victims, reason))


def record(db: sqlite3.Connection, lost: Iterable[Lost]) -> None:
    """Adds ranges to what has to be reported. Past a bound neighbours are joined: their points stay exact."""
    rows = [(one.from_seq, one.to_seq, one.points, one.reason) for one in lost]
    db.executemany("INSERT INTO lost (from_seq, to_seq, points, reason) VALUES (?, ?, ?, ?)", rows)
    db.execute("UPDATE state SET lost_points = lost_points + ?", (sum(row[2] for row in rows),))
    (count, last) = db.execute("SELECT count(*), max(id) FROM lost").fetchone()
    if count > _MOST_RANGES:
        db.execute(
            "INSERT INTO lost (from_seq, to_seq, points, reason) "
            "SELECT min(from_seq), max(to_seq), sum(points), reason FROM lost GROUP BY reason, id / 64"
        )
        db.execute("DELETE FROM lost WHERE id <= ?", (last,))


def ranges(victims: list[tuple[int, int]], reason: str) -> list[Lost]:
    """Consecutive batches joined: sorted (seq, points) to ranges whose ends are included."""
    found: list[Lost] = []
    for seq, points in victims:
        if found and found[-1].to_seq == seq - 1:
            found[-1] = Lost(found[-1].from_seq, seq, found[-1].points + points, reason)
        else:
            found.append(Lost(seq, seq, points, reason))
    return found


def bury(db: sqlite3.Connection, seq: int, reason: str, detail: str) -> bool:
    """Moves a batch that nobody will take to the dead letters, which are bounded; False when it is not there."""
    row = db.execute("SELECT points, data FROM batches WHERE seq = ?", (seq,)).fetchone()
    if row is None:
        return False
    db.execute("INSERT INTO dead (seq, reason, detail, data) VALUES (?, ?, ?, ?)", (seq, reason, detail[:500], row[1]))
    give_up(db, [(seq, row[0])], reason)
    while db.execute("SELECT total(length(data)) FROM dead").fetchone()[0] > _MOST_DEAD_BYTES:
        db.execute("DELETE FROM dead WHERE id = (SELECT min(id) FROM dead)")
    return True


def _history(db: sqlite3.Connection, before_ms: int, spared: Collection[int]) -> list[tuple[int, int]]:
    """The next batches to thin, and notes how far thinning has come."""
    found = db.execute(
        "SELECT seq, points FROM batches WHERE seq > (SELECT thinned_to FROM state) AND seq % ? <> 0 AND t0_ms < ? "
        "AND seq < (SELECT max(seq) FROM batches) ORDER BY seq LIMIT ?",
        (KEEP_EVERY, before_ms, 4 * _CHUNK),
    ).fetchall()
    if found:
        db.execute("UPDATE state SET thinned_to = ?", (found[-1][0],))
    return [one for one in found if one[0] not in spared]


def _oldest(db: sqlite3.Connection, spared: Collection[int]) -> list[tuple[int, int]]:
    found = db.execute(
        "SELECT seq, points FROM batches WHERE seq < (SELECT max(seq) FROM batches) ORDER BY seq LIMIT ?",
        (_CHUNK + len(spared),),
    ).fetchall()
    return [one for one in found if one[0] not in spared][:_CHUNK]
