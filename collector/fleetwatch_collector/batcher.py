"""One commit per flush over all hosts; nothing is acknowledged before it."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import structlog
from fleetwatch_storage.errors import RejectedRow, StoreUnavailable, WriteRejected
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.store import Store

from fleetwatch_collector import acknowledging
from fleetwatch_collector.arrivals import Arrival, Rows, Source
from fleetwatch_collector.assemble import frames_of
from fleetwatch_collector.clock import now_ms
from fleetwatch_collector.errors import unforeseen
from fleetwatch_collector.metrics import Tally
from fleetwatch_collector.processes import process_frame
from fleetwatch_collector.quarantine import Quarantine
from fleetwatch_collector.settings import CollectorSettings

T = TypeVar("T")

_FIRST_PAUSE_S = 0.5
_LONGEST_ASKED_S = 3600.0

_log = structlog.get_logger()


@dataclass(slots=True)
class Portion:
    """What one commit holds: decoded rows, and rows that are set aside instead of being stored."""

    rows: list[Rows] = field(default_factory=list)
    aside: list[RejectedRow] = field(default_factory=list)
    size: int = 0

    @property
    def arrivals(self) -> list[Arrival]:
        """All batches of it."""
        return [arrival for one in self.rows for arrival in one.arrivals]

    def refuse(self) -> None:
        """Asks for all of it again, later."""
        for arrival in self.arrivals:
            arrival.source.refuse(arrival, unforeseen())

    def frames(self) -> list[Frame]:
        """Its frames; work for the commit thread."""
        tables = process_frame([arrival for arrival in self.arrivals if not arrival.in_future])
        return frames_of(self.rows) + ([] if tables is None else [tables])


@dataclass(frozen=True, slots=True, eq=False)
class _Names:
    """The batches of a commit by host and sequence number: their ids in the log, spelled only when it is written."""

    arrivals: Sequence[Arrival]

    def __repr__(self) -> str:
        return " ".join(f"{arrival.host}/{arrival.seq}" for arrival in self.arrivals)


@dataclass(frozen=True, slots=True, eq=False)
class _Submitted:
    frames: list[Frame]
    durable: asyncio.Future[WriteRejected | None]


def pause_s(attempt: int, rng: random.Random, longest_s: float, retry_after_s: float | None) -> float:
    """How long to wait before attempt `attempt` + 1: full jitter, never sooner than the store asked for."""
    jitter = rng.uniform(0.0, min(longest_s, _FIRST_PAUSE_S * 2.0 ** min(attempt, 16)))
    return max(jitter, min(retry_after_s or 0.0, _LONGEST_ASKED_S))


class Batcher:
    """Gathers decoded rows and commits them; the same frames again and again while the store is away.

    `add`, `submit` and what they call back run on the event loop's thread; frames are built and written in one worker
    thread, which is the store's only writer.
    """

    def __init__(
        self,
        store: Store,
        settings: CollectorSettings,
        tally: Tally,
        quarantine: Quarantine,
        told: Callable[[str, int], None],
        rng: random.Random,
    ) -> None:
        self._store, self._settings, self._tally = store, settings, tally
        self._quarantine, self._told, self._rng = quarantine, told, rng
        self._rows: deque[tuple[Rows, list[RejectedRow], int]] = deque()
        self._submitted: deque[_Submitted] = deque()
        self._waiting_bytes = 0
        self._enough = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fleetwatch-commit")
        self._unacknowledged = 0
        self._all_acknowledged = asyncio.Event()
        self._all_acknowledged.set()
        self.last_commit_s = 0.0
        self.trouble = ""

    def add(self, rows: Rows, aside: list[RejectedRow]) -> None:
        """Takes decoded rows into the next commit."""
        size = sum(arrival.size for arrival in rows.arrivals)
        self._rows.append((rows, aside, size))
        self._waiting_bytes += size
        if self._waiting_bytes >= self._settings.flush_bytes:
            self._enough.set()

    async def submit(self, frames: list[Frame]) -> WriteRejected | None:
        """Frames in a commit of their own, in turn with the agents'; returns once durable, with what was refused."""
        durable: asyncio.Future[WriteRejected | None] = asyncio.get_running_loop().create_future()
        self._submitted.append(_Submitted(frames, durable))
        self._enough.set()
        return await durable

    async def run(self) -> None:
        """Commits every flush interval, or sooner when there is much; runs until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._settings.flush_interval):
                    await self._enough.wait()
            except TimeoutError:
                pass
            await self.flush()

    async def flush(self) -> None:
        """Commits all there is, by turns one portion of agents' rows and one submission."""
        async with self._one_at_a_time:
            self._enough.clear()
            while self._rows or self._submitted:
                if self._rows:
                    await self._commit_portion(self._take_portion())
                if self._submitted:
                    await self._commit_submitted(self._submitted.popleft())

    async def drain(self, within_s: float) -> bool:
        """Flushes and waits for the store's commit lag; False when the time did not suffice."""
        try:
            async with asyncio.timeout(within_s):
                await self.flush()
                await self._all_acknowledged.wait()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Lets the worker thread go; a write that hangs is left behind."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        for submitted in self._submitted:
            submitted.durable.cancel()

    def _take_portion(self) -> Portion:
        portion = Portion()
        while self._rows and (not portion.rows or portion.size + self._rows[0][2] <= self._settings.commit_bytes):
            rows, aside, size = self._rows.popleft()
            portion.rows.append(rows)
            portion.aside += aside
            portion.size += size
        self._waiting_bytes -= portion.size
        return portion

    async def _commit_portion(self, portion: Portion) -> None:
        try:
            frames = await self._in_thread(portion.frames)
        except Exception:  # noqa: BLE001 - one batch that nobody foresaw must not stop all others
            _log.exception("rows cannot be put together; their agents are asked to send them again")
            portion.refuse()
            return
        self._unacknowledged += 1
        self._all_acknowledged.clear()

        async def commit() -> None:
            rejected = await self._write(frames)
            aside = portion.aside + (rejected.rows if rejected else [])
            if aside:
                await self._set_aside(aside, len(portion.aside) + (rejected.count if rejected else 0))

        await acknowledging.acknowledge_after_commit(
            commit, self._store.commit_lag_s, lambda: self._acknowledge(portion, frames)
        )

    async def _commit_submitted(self, submitted: _Submitted) -> None:
        rejected: list[WriteRejected | None] = []

        async def commit() -> None:
            rejected.append(await self._write(submitted.frames))

        def durable() -> None:
            if not submitted.durable.done():
                submitted.durable.set_result(rejected[0])

        await acknowledging.acknowledge_after_commit(commit, self._store.commit_lag_s, durable)

    def _acknowledge(self, portion: Portion, frames: Sequence[Frame]) -> None:
        self._unacknowledged -= 1
        if not self._unacknowledged:
            self._all_acknowledged.set()
        sources: dict[Source, None] = {}
        arrivals = portion.arrivals
        for arrival in arrivals:
            arrival.source.settle(arrival)
            sources[arrival.source] = None
        for source in sources:
            source.tell()
        self._tally.batches += len(arrivals)
        self._tally.points += sum(one.points for one in portion.rows)
        _log.debug("committed", commit=self._tally.commits, batches=_Names(arrivals), frames=len(frames))

    async def _write(self, frames: Sequence[Frame]) -> WriteRejected | None:
        """Writes until the store has it; what the store refused for good, or None."""
        attempt = 0
        while True:
            started = time.monotonic()
            try:
                await self._in_thread(lambda: self._store.write(frames))
                self._committed(started)
                return None
            except WriteRejected as rejected:
                self._committed(started)
                return rejected
            except StoreUnavailable as away:
                pause = pause_s(attempt, self._rng, self._settings.retry_max, away.retry_after_s)
                self._in_trouble(f"{away.reason}: {away}", known=True)
            except Exception as error:  # noqa: BLE001 - whatever a store's library raises, the rows are held and retried
                pause = pause_s(attempt, self._rng, self._settings.retry_max, None)
                self._in_trouble(f"unexpected: {error!r}", known=False)
            attempt += 1
            self._tally.retries += 1
            await asyncio.sleep(pause)

    def _committed(self, started: float) -> None:
        self.last_commit_s = time.monotonic() - started
        self._tally.commits += 1
        self._tally.commit_seconds += self.last_commit_s
        if self.trouble:
            _log.info("store takes writes again", after=self.trouble)
            self.trouble = ""

    def _in_trouble(self, what: str, *, known: bool) -> None:
        if what != self.trouble:
            report = _log.warning if known else _log.exception
            report("store does not take writes; samples are held and nothing is acknowledged", reason=what)
        self.trouble = what

    async def _set_aside(self, rows: list[RejectedRow], count: int) -> None:
        await self._in_thread(lambda: self._quarantine.keep(rows, now_ms()))
        self._tally.quarantined_lines += count
        self._told(rows[0].reason if rows else "unknown", count)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
