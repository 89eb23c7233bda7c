"""The evaluation clock: APScheduler gives ticks, what time they stand for is worked out here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

_JUMP_FLOOR_MS = 5000
CATCH_UP_STEPS = 120


def aligned(at_ms: int, every_ms: int) -> int:
    """The last multiple of `every_ms` that is not after `at_ms`."""
    return at_ms - at_ms % every_ms


def delay_ms(configured_ms: int | None, interval_ms: int) -> int:
    """How far evaluation stays behind now: one collection interval and five seconds, at most thirty."""
    return min(30_000, interval_ms + 5000) if configured_ms is None else configured_ms


def missed_ticks(last_ms: int | None, t: int, every_ms: int) -> int:
    """How many evaluations were left out between the last and this one."""
    return 0 if last_ms is None else max(0, (t - last_ms) // every_ms - 1)


def replayed(last_ms: int, t: int, every_ms: int, max_catchup_ms: int) -> list[int]:
    """The evaluations between the last kept one and `t` (both left out) to be made up for after a restart.

    They are the ones that were missed; after long breaks with a short `every` each stands for several, so that there
    are never more than a few hundred.
    """
    start = max(last_ms, t - max_catchup_ms)
    stride = every_ms * max(1, -(-(t - start) // (every_ms * CATCH_UP_STEPS)))
    return list(range(aligned(start, every_ms) + stride, t, stride))


@dataclass(slots=True)
class JumpWatch:
    """Notices that the wall clock moved otherwise than time did (a step, or the machine slept)."""

    wall_ms: int | None = None
    steady_ms: int | None = None

    def jump_ms(self, wall_ms: int, steady_ms: int, every_ms: int) -> int:
        """By how much the wall clock jumped since the last call; 0 when it did not by more than two intervals."""
        before = (self.wall_ms, self.steady_ms)
        self.wall_ms, self.steady_ms = wall_ms, steady_ms
        if before[0] is None or before[1] is None:
            return 0
        jump = (wall_ms - before[0]) - (steady_ms - before[1])
        return jump if abs(jump) > max(2 * every_ms, _JUMP_FLOOR_MS) else 0


class Ticker:
    """Calls `tick` at every multiple of `every_ms`; never twice at once, and late ticks melt into one."""

    def __init__(self, tick: Callable[[], Awaitable[None]], every_ms: int) -> None:
        self._tick, self._every_ms = tick, every_ms
        self._scheduler = AsyncIOScheduler(timezone=UTC)

    def start(self) -> None:
        """Starts on the running event loop."""
        self._scheduler.add_job(
            self._tick, self._trigger(), id="tick", coalesce=True, max_instances=1, misfire_grace_time=None
        )
        self._scheduler.start()

    def change(self, every_ms: int) -> None:
        """Another interval from now on."""
        if every_ms != self._every_ms:
            self._every_ms = every_ms
            self._scheduler.reschedule_job("tick", trigger=self._trigger())

    def stop(self) -> None:
        """No further ticks; one under way goes on."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def _trigger(self) -> IntervalTrigger:
        """Steps from the epoch, so that ticks are aligned."""
        return IntervalTrigger(seconds=self._every_ms / 1000, start_date=datetime.fromtimestamp(0, UTC), timezone=UTC)
