"""One spool: an SQLite file, or the same tables in memory."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fleetwatch_agent.samples import Batch, Lost, Sample
from fleetwatch_agent.spool import overflow, rows
from fleetwatch_agent.spool.errors import SpoolUnusable, Trouble, translated
from fleetwatch_agent.spool.figures import Figures, Limits
from fleetwatch_agent.spool.gather import grouped
from fleetwatch_agent.spool.tables import connect
from fleetwatch_agent.stamps import Stamps

_ACKS_AT_ONCE = 64
_LOOSE_PAGES = 128
_LEAST_BYTES = 256 * 1024


class SpoolFile:
    """Keeps samples, gives batches numbers, forgets what was acknowledged. Not thread-safe; see `spool.Spool`.

    A sample is on disk when `append` returns. Rows of one schema gather in an open batch, which gets its number and
    becomes unchangeable when it is closed; only closed batches can be sent.

    Every method raises SpoolUnusable when the file cannot be used; nothing of that call was kept then.
    """

    def __init__(self, path: Path | None, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        self._acked: set[int] = set()
        self.in_flight: set[int] = set()
        self.newest: Batch | None = None
        self.durable = path is not None
        with translated():
            self._db = connect(path)
            try:
                self._load()
            except BaseException:
                self._db.close()
                raise

    def _load(self) -> None:
        state = self._db.execute("SELECT spool_id, next_seq, stamps FROM state").fetchone()
        if state is None:
            raise sqlite3.OperationalError("no such state")
        self.spool_id, self.next_seq, stamps = state
        self.stamps = Stamps.unpack(stamps)
        self._recount()
        self._schemas = {rows.unsigned(number) for (number,) in self._db.execute("SELECT id FROM schemas")}
        self._open: list[Sample] = []
        for row in self._db.execute("SELECT * FROM open_rows ORDER BY rowid").fetchall():
            try:
                self._open.append(rows.sample_from(row))
            except ValueError as error:
                raise SpoolUnusable(Trouble.CORRUPT, str(error)) from error
            self.stamps = self.stamps.used(self._open[-1].t_ms)
        (self._page,) = self._db.execute("PRAGMA page_size").fetchone()
        self._settled = self._used()

    # Writing

    def put_schema(self, schema_id: int, data: bytes) -> None:
        """Remembers the serialised Schema of a schema id."""
        if schema_id in self._schemas:
            return
        with self._transaction():
            self._db.execute(
                "DELETE FROM schemas "
                "WHERE id NOT IN (SELECT schema_id FROM batches UNION SELECT schema_id FROM open_rows)"
            )
            self._db.execute("INSERT OR REPLACE INTO schemas VALUES (?, ?)", (rows.signed(schema_id), data))
        self._schemas = {rows.unsigned(number) for (number,) in self._db.execute("SELECT id FROM schemas")}

    def append(self, sample: Sample, ship: bool, stamps: Stamps) -> None:
        """Keeps one sample and the state of the stamps; durable on return. `ship` closes the batch behind it."""
        groups, gathered = grouped(self._open, sample, ship)
        acked = frozenset(self._acked)
        with self._transaction():
            self._delete(acked)
            closed = self._close(groups)
            if gathered:
                self._db.execute(rows.INSERT_ROW, rows.sample_row(sample))
            gone = self._number(len(closed), stamps, sample.t_ms) if closed else 0
        self._forget(acked)
        self._settle(closed, gone)
        self._open, self.stamps = gathered, stamps

    def flush(self) -> None:
        """Closes the batch that is being gathered."""
        if self._open:
            with self._transaction():
                closed = self._close([self._open])
                gone = self._number(1, self.stamps, self._open[-1].t_ms)
            self._settle(closed, gone)
            self._open = []

    def adopt(self, batches: Iterable[Batch], lost: Iterable[Lost], schemas: dict[int, bytes], stamps: Stamps) -> None:
        """Takes over what another spool held, under new numbers, in one transaction."""
        stamps = self.stamps.merged(stamps)
        with self._transaction():
            seq = self.next_seq
            for schema_id, data in schemas.items():
                self._db.execute("INSERT OR REPLACE INTO schemas VALUES (?, ?)", (rows.signed(schema_id), data))
            for batch in batches:
                row = rows.batch_row(batch)
                self._db.execute(rows.INSERT_BATCH, (seq, *row[1:]))
                seq += 1
            for one in lost:  # under a number of this spool, or a collector could not tell news from repetition
                overflow.record(self._db, [Lost(seq, seq, one.points, one.reason)])
                seq += 1
            self._db.execute("UPDATE state SET next_seq = ?, stamps = ?", (seq, stamps.pack()))
        self.next_seq, self.stamps = seq, stamps
        self._schemas |= schemas.keys()
        self._recount()

    def acknowledge(self, up_to: int, also: Sequence[int]) -> None:
        """Forgets batches that are stored.

        They are deleted with the next write; a kill before that means only that they are sent twice.
        """
        found = [seq for seq in also if seq > up_to and self._holds(seq)]
        with translated():
            found += [seq for (seq,) in self._db.execute("SELECT seq FROM batches WHERE seq <= ?", (up_to,))]
        self._acked.update(found)
        self.in_flight.difference_update(found)
        if len(self._acked) >= _ACKS_AT_ONCE:
            self.apply_acks()

    def apply_acks(self) -> None:
        """Deletes at once what was acknowledged, and gives space back when much is loose."""
        acked = frozenset(self._acked)
        with self._transaction():
            self._delete(acked)
        self._forget(acked)
        with translated():
            if self._db.execute("PRAGMA freelist_count").fetchone()[0] > _LOOSE_PAGES:
                # As a script: a single execute takes only the first step of it and frees one page.
                self._db.executescript(f"PRAGMA incremental_vacuum({_LOOSE_PAGES})")

    def bury(self, seq: int, reason: str, detail: str) -> None:
        """Moves a batch that will never be taken to the dead letters and counts it as lost."""
        with self._transaction():
            overflow.bury(self._db, seq, reason, detail)
        self._recount()
        self.in_flight.discard(seq)

    def give_up(self, share: float) -> None:
        """Drops the oldest batches worth this share of the space in use."""
        self.apply_acks()
        with self._transaction():
            room = overflow.Room(self._used, int(self._used() * (1 - share)), self.in_flight)
            overflow.make_room(self._db, room, 0, not self.durable)
        self._recount()

    def forget_lost(self, numbers: Sequence[int]) -> None:
        """Drops ranges that were reported."""
        with self._transaction():
            self._db.executemany("DELETE FROM lost WHERE id = ?", [(number,) for number in numbers])

    def close(self) -> None:
        """Applies acknowledgements and closes the file; what is open stays open on disk."""
        try:
            if self._acked:
                self.apply_acks()
        finally:
            self._db.close()

    # Reading

    @property
    def gathered(self) -> list[Sample]:
        """The rows of the open batch."""
        return self._open

    def get(self, seq: int) -> Batch | None:
        """A batch, or None when it is acknowledged, given up, or damaged; a damaged one is buried."""
        if seq in self._acked:
            return None
        if self.newest is not None and self.newest.seq == seq:
            return self.newest if self._holds(seq) else None
        with translated():
            row = self._db.execute("SELECT * FROM batches WHERE seq = ?", (seq,)).fetchone()
        if row is None:
            return None
        try:
            return rows.batch_from(row)
        except ValueError as error:
            self.bury(seq, "corrupt", str(error))
            return None

    def after(self, seq: int, limit: int) -> list[int]:
        """Numbers of waiting batches greater than `seq`, rising."""
        with translated():
            found = self._db.execute(
                "SELECT seq FROM batches WHERE seq > ? ORDER BY seq LIMIT ?", (seq, limit + len(self._acked))
            )
            return [number for (number,) in found if number not in self._acked][:limit]

    def latest(self, limit: int) -> list[int]:
        """The last numbers of waiting batches, falling."""
        with translated():
            found = self._db.execute("SELECT seq FROM batches ORDER BY seq DESC LIMIT ?", (limit + len(self._acked),))
            return [number for (number,) in found if number not in self._acked][:limit]

    def schema(self, schema_id: int) -> bytes | None:
        """The serialised Schema."""
        with translated():
            found = self._db.execute("SELECT data FROM schemas WHERE id = ?", (rows.signed(schema_id),)).fetchone()
        return found[0] if found else None

    def schemas(self) -> dict[int, bytes]:
        """All schemas."""
        with translated():
            return {rows.unsigned(number): data for number, data in self._db.execute("SELECT id, data FROM schemas")}

    def lost(self, limit: int) -> list[tuple[int, Lost]]:
        """Ranges not yet reported, with the numbers `forget_lost` takes."""
        with translated():
            found = self._db.execute(
                "SELECT id, from_seq, to_seq, points, reason FROM lost ORDER BY id LIMIT ?", (limit,)
            )
            return [(number, Lost(*rest)) for number, *rest in found]

    def figures(self) -> Figures:
        """How the spool stands now; costs no query."""
        return Figures(
            spool_id=self.spool_id,
            next_seq=self.next_seq,
            batches=self._count - len(self._acked),
            bytes=self._settled,
            lost_points=self._lost_points,
            durable=self.durable,
        )

    # Within a transaction

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _close(self, groups: list[list[Sample]]) -> list[Batch]:
        """Makes a batch of each group; what was open is closed by this."""
        closed = [rows.batch_of(group, self.next_seq + number) for number, group in enumerate(groups)]
        self._db.executemany(rows.INSERT_BATCH, map(rows.batch_row, closed))
        if closed and self._open:
            self._db.execute("DELETE FROM open_rows")
        return closed

    def _number(self, closed: int, stamps: Stamps, now_ms: int) -> int:
        """Keeps the numbers given and the stamps, and makes room; returns how many batches went.

        Between, the stamps of open rows say as much as this state would: that spares a page in most commits.
        """
        self._db.execute("UPDATE state SET next_seq = ?, stamps = ?", (self.next_seq + closed, stamps.pack()))
        return self._make_room(now_ms)

    def _delete(self, seqs: Collection[int]) -> None:
        if seqs:
            self._db.executemany("DELETE FROM batches WHERE seq = ?", [(seq,) for seq in seqs])

    def _make_room(self, now_ms: int) -> int:
        room = overflow.Room(self._used, self._limit(), self.in_flight)
        return overflow.make_room(self._db, room, now_ms, not self.durable)

    def _used(self) -> int:
        """Bytes of pages that hold something."""
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        (loose,) = self._db.execute("PRAGMA freelist_count").fetchone()
        return int((pages - loose) * self._page)

    def _limit(self) -> int:
        """The size set; what is in use already when the disk has little left, so that the spool does not grow."""
        if self._path is None or not self._limits.keep_free:
            return self._limits.size
        disk = os.statvfs(self._path)
        keep_free = max(self._limits.keep_free, disk.f_blocks * disk.f_frsize // 20)
        enough = disk.f_bavail * disk.f_frsize > keep_free
        return self._limits.size if enough else min(self._limits.size, max(self._settled, _LEAST_BYTES))

    def _holds(self, seq: int) -> bool:
        with translated():
            return self._db.execute("SELECT 1 FROM batches WHERE seq = ?", (seq,)).fetchone() is not None

    # After a commit

    def _forget(self, acked: Collection[int]) -> None:
        self._acked.difference_update(acked)
        self._count -= len(acked)

    def _recount(self) -> None:
        with translated():
            (self._count,) = self._db.execute("SELECT count(*) FROM batches").fetchone()
            (self._lost_points,) = self._db.execute("SELECT lost_points FROM state").fetchone()

    def _settle(self, closed: list[Batch], gone: int) -> None:
        self._count += len(closed)
        self.next_seq += len(closed)
        if gone:
            self._recount()
        if closed:
            self.newest = closed[-1]
            self._settled = self._used()
