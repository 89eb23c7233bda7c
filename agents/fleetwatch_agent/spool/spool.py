"""The spool as the rest of the agent sees it: always there, on disk when the disk can be used, else in memory."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from fleetwatch_agent.samples import Batch, Lost, Sample
from fleetwatch_agent.spool import salvage
from fleetwatch_agent.spool.errors import SpoolUnusable, Trouble
from fleetwatch_agent.spool.figures import Figures, Limits
from fleetwatch_agent.spool.file import SpoolFile
from fleetwatch_agent.stamps import Stamps

_log = logging.getLogger(__name__)
_BALLAST_BYTES = 4 * 1024**2
_RETRY_S = 30.0
T = TypeVar("T")


class Spool:
    """Thread-safe: one lock is held for the time of each call, so a caller may wait for another's fsync.

    While the disk cannot be used, samples are held in memory under a spool id of their own, oldest dropped first, and
    the disk is tried again twice a minute; what was held then moves to disk under new numbers. Calls never fail because
    of the disk.

    Raises (when made):
        SpoolNewer: the file was written by a later version of the agent.
    """

    def __init__(
        self,
        folder: Path,
        limits: Limits,
        memory_bytes: int,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder = folder
        self._path = folder / "spool.db"
        self._limits = limits
        self._memory_limits = Limits(memory_bytes)
        self._clock = clock
        self._lock = threading.RLock()
        self._schema_data: dict[int, bytes] = {}  # what the next samples need, wherever they go
        self._trouble = ""
        self._try_again_at = 0.0
        self.on_change = on_change
        """Called with the lock held after something was closed or the spool id changed; must not block."""
        self._now = self._open()

    # Writing

    def put_schema(self, schema_id: int, data: bytes) -> None:
        """Remembers the serialised Schema of an id; before the first sample that uses it."""
        with self._lock:
            self._schema_data = {schema_id: data}
            self._write(lambda spool: spool.put_schema(schema_id, data))

    def append(self, sample: Sample, ship: bool, stamps: Stamps) -> None:
        """Keeps one sample; on disk with fsync on return unless `figures().durable` says otherwise."""
        with self._lock:
            self._return_to_disk()
            before = self._now.next_seq
            self._write(lambda spool: spool.append(sample, ship, stamps))
            if self._now.next_seq != before:
                self.on_change()

    def flush(self) -> None:
        """Closes the batch that is being gathered, so that it can be sent."""
        with self._lock:
            self._write(lambda spool: spool.flush())
            self.on_change()

    def acknowledge(self, spool_id: str, up_to: int, also: Sequence[int] = ()) -> None:
        """Forgets batches that are stored; without effect when the spool has changed since they were sent."""
        self._of(spool_id, lambda spool: spool.acknowledge(up_to, also))

    def bury(self, spool_id: str, seq: int, reason: str, detail: str) -> None:
        """Sets a batch aside that will never be taken, and counts it as lost."""
        self._of(spool_id, lambda spool: spool.bury(seq, reason, detail))

    def sending(self, spool_id: str, seqs: set[int]) -> None:
        """Says which batches are on their way: those are not given up."""
        with self._lock:
            if spool_id == self._now.spool_id:
                self._now.in_flight = seqs

    def forget_lost(self, spool_id: str, numbers: Sequence[int]) -> None:
        """Drops lost ranges that were reported."""
        self._of(spool_id, lambda spool: spool.forget_lost(numbers))

    def close(self) -> None:
        """Closes the file. What is in memory only gets a last chance to reach the disk."""
        with self._lock:
            if not self._now.durable:
                self._try_again_at = 0.0
                self._return_to_disk()
            with contextlib.suppress(SpoolUnusable):
                self._now.close()

    # Reading

    @property
    def stamps(self) -> Stamps:
        """The state of the time stamps."""
        with self._lock:
            return self._now.stamps

    @property
    def spool_id(self) -> str:
        """Names the present sequence of numbers; changes when samples go to memory and back."""
        return str(self._now.spool_id)

    @property
    def trouble(self) -> str:
        """Why samples are not on disk; empty when they are."""
        return self._trouble

    def get(self, seq: int) -> Batch | None:
        """A batch, or None when it is not there any more."""
        return self._read(lambda spool: spool.get(seq), None)

    def after(self, seq: int, limit: int) -> list[int]:
        """Numbers of waiting batches greater than `seq`, rising."""
        return self._read(lambda spool: spool.after(seq, limit), [])

    def latest(self, limit: int) -> list[int]:
        """The last numbers of waiting batches, falling."""
        return self._read(lambda spool: spool.latest(limit), [])

    def schema(self, schema_id: int) -> bytes | None:
        """The serialised Schema of an id."""
        return self._read(lambda spool: spool.schema(schema_id), None)

    def lost(self, limit: int) -> list[tuple[int, Lost]]:
        """Lost ranges not yet reported."""
        return self._read(lambda spool: spool.lost(limit), [])

    def figures(self) -> Figures:
        """How the spool stands."""
        with self._lock:
            return self._now.figures()

    # Keeping going

    def _write(self, work: Callable[[SpoolFile], T]) -> T:
        try:
            return work(self._now)
        except SpoolUnusable as error:
            return self._rescue(error, work)

    def _rescue(self, error: SpoolUnusable, work: Callable[[SpoolFile], T]) -> T:
        """Makes room, makes a new file, or goes to memory; then does the work there."""
        try:
            if error.trouble is Trouble.CORRUPT and self._now.durable:
                gathered = self._now.gathered
                with contextlib.suppress(SpoolUnusable):
                    self._now.close()
                self._now = self._replace_corrupt(str(error), gathered)
                self.on_change()
                return work(self._now)
            if error.trouble is Trouble.FULL and self._now.durable:
                (self._folder / "ballast").unlink(missing_ok=True)
                self._now.give_up(0.1)
                return work(self._now)
        except (SpoolUnusable, OSError) as second:
            error = second if isinstance(second, SpoolUnusable) else SpoolUnusable(Trouble.BROKEN, str(second))
        stamps = self._now.stamps
        with contextlib.suppress(SpoolUnusable):
            self._now.close()
        self._now = self._in_memory(str(error), stamps)
        self.on_change()
        return work(self._now)

    def _read(self, work: Callable[[SpoolFile], T], otherwise: T) -> T:
        """Reads; an unreadable file answers as an empty one until the next write finds out and mends it."""
        with self._lock:
            try:
                return work(self._now)
            except SpoolUnusable:
                return otherwise

    def _of(self, spool_id: str, work: Callable[[SpoolFile], None]) -> None:
        with self._lock:
            if spool_id == self._now.spool_id:
                with contextlib.suppress(SpoolUnusable):
                    work(self._now)

    # Opening

    def _open(self) -> SpoolFile:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return self._open_disk()
        except (OSError, SpoolUnusable) as error:
            return self._in_memory(str(error), Stamps())

    def _open_disk(self) -> SpoolFile:
        try:
            spool = SpoolFile(self._path, self._limits)
        except SpoolUnusable as error:
            if error.trouble is not Trouble.CORRUPT:
                raise
            spool = self._replace_corrupt(str(error))
        self._take_ballast()
        return spool

    def _replace_corrupt(self, why: str, gathered: Sequence[Sample] | None = None) -> SpoolFile:
        """A new file with what the damaged one still gives; `gathered` are its open rows when they are known."""
        aside = salvage.set_aside(self._path)
        found = salvage.read(aside, gathered)
        _log.error(
            "spool damaged", extra={"why": why, "kept_as": aside, "batches_saved": len(found.batches), "spool": "new"}
        )
        spool = SpoolFile(self._path, self._limits)
        spool.adopt(found.batches, found.lost, found.schemas | self._schema_data, found.stamps)
        return spool

    def _in_memory(self, why: str, stamps: Stamps) -> SpoolFile:
        if why != self._trouble:
            _log.error("samples are held in memory only", extra={"why": why, "state_dir": self._folder})
        self._trouble = why
        self._try_again_at = self._clock() + _RETRY_S
        spool = SpoolFile(None, self._memory_limits)
        spool.adopt([], [], self._schema_data, stamps)
        return spool

    def _return_to_disk(self) -> None:
        """Moves what was held in memory to disk, when it is time to try and the disk allows."""
        if self._now.durable or self._clock() < self._try_again_at:
            return
        self._try_again_at = self._clock() + _RETRY_S
        held = self._now
        spool: SpoolFile | None = None
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            spool = self._open_disk()
            moved = _move(held, spool)
        except (OSError, SpoolUnusable) as error:
            self._trouble = str(error)
            if spool is not None:
                with contextlib.suppress(SpoolUnusable):
                    spool.close()
            return
        _log.info("samples are kept on disk again", extra={"batches_moved": moved})
        self._trouble, self._now = "", spool
        held.close()
        self.on_change()

    def _take_ballast(self) -> None:
        """Keeps 4 MiB that are let go when the disk is full, because deleting and committing need space too."""
        ballast = self._folder / "ballast"
        disk = os.statvfs(self._folder)
        if ballast.exists() or disk.f_bavail * disk.f_frsize < 4 * _BALLAST_BYTES or not hasattr(os, "posix_fallocate"):
            return
        with contextlib.suppress(OSError):
            descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, _BALLAST_BYTES)
            finally:
                os.close(descriptor)


def _move(held: SpoolFile, spool: SpoolFile) -> int:
    """Copies everything that waits to another spool, under its numbers; returns how many batches."""
    held.flush()
    batches = [batch for seq in held.after(0, held.next_seq) if (batch := held.get(seq))]
    lost = [Lost(0, 0, one.points, one.reason) for _, one in held.lost(-1)]
    spool.adopt(batches, lost, held.schemas(), held.stamps)
    return len(batches)
