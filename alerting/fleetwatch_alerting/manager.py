"""The alert manager: the desk on the evaluation clock, delivery beside it, the rule file watched.

asyncio; the desk and all SQL run in worker threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import sqlalchemy as sa
import structlog
from fleetwatch_proto.settings import ConfigError
from fleetwatch_storage.store import StoreReader

from fleetwatch_alerting import egress, pack, receivers
from fleetwatch_alerting.clock import Clock
from fleetwatch_alerting.delivery import Delivery
from fleetwatch_alerting.desk import Desk, DeskClosed
from fleetwatch_alerting.egress import Egress
from fleetwatch_alerting.engine import Phase
from fleetwatch_alerting.errors import Problem, RuleFileError
from fleetwatch_alerting.outbox import Outbox
from fleetwatch_alerting.rules import load
from fleetwatch_alerting.rules.schema import RuleFile
from fleetwatch_alerting.scheduler import Ticker
from fleetwatch_alerting.settings import AlertingSettings

_WATCH_S = 2.0
_LONGEST_WAIT_S = 30.0

log = structlog.get_logger(__name__)


class AlertManager:
    """Evaluates the rules on the stored series and tells the receivers.

    `start` returns when the rules are loaded and the clock runs. `stop` ends within ten seconds; what was not delivered
    is delivered after the next start. The store and the database belong to the caller.
    """

    def __init__(
        self, settings: AlertingSettings, store: StoreReader, database: sa.Engine, clock: Clock | None = None
    ) -> None:
        self._clock = clock or Clock()
        self._path = settings.rules or pack.DEFAULT
        self._egress = Egress(_networks(settings.egress_allow))
        self._desk = Desk(store, database, settings.external_url)
        self._outbox = Outbox(database, settings.alerting_owner or socket.gethostname())
        self._delivery = Delivery(self._outbox, self._clock.wall_ms, self._look_again)
        self._ticker: Ticker | None = None
        self._look = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._waiting = {"outbox": 0.0, "outbox_age_seconds": 0.0, "dead": 0.0}
        self._problems: tuple[Problem, ...] = ()

    @property
    def rules(self) -> RuleFile:
        """The rule file in use."""
        return self._desk.file

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the rule file as it now stands; the rules loaded before go on running."""
        return self._problems

    async def start(self) -> None:
        """Loads the rules and starts evaluating and delivering.

        Raises:
            RuleFileError: the rule file cannot be used.
        """
        seen = _stamp(self._path)
        file = await asyncio.to_thread(load, self._path)
        await asyncio.to_thread(self._outbox.take_over, self._clock.wall_ms())
        await self._use(file)
        self._ticker = Ticker(self._tick, file.settings.every_ms)
        self._ticker.start()
        self._tasks = [
            asyncio.create_task(self._forever("telling", self._tell_when_due)),
            asyncio.create_task(self._forever("watching the rules", lambda: self._watch(seen))),
        ]
        log.info("alerting started", rules=len(file.enabled), receivers=len(file.receivers), file=str(self._path))

    async def stop(self) -> None:
        """Stops evaluating, lets attempts under way end, keeps the rest for the next start."""
        if self._ticker is not None:
            self._ticker.stop()
        await asyncio.to_thread(self._desk.close)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._delivery.stop()

    def vitals(self) -> dict[str, float]:
        """The fields of the measurement `fleetwatch_alerting`."""
        figures, counts = self._desk.figures, self._delivery.counts
        return {
            "rules": float(len(self._desk.file.enabled)),
            "firing": float(self._desk.count(Phase.FIRING, Phase.RECOVERING)),
            "pending": float(self._desk.count(Phase.PENDING)),
            "evaluation_seconds": figures.evaluation_s,
            "missed_ticks": float(figures.missed_ticks),
            "rule_errors": float(figures.rule_errors),
            "sent": float(counts.sent),
            "failed_attempts": float(counts.failed_attempts),
            **self._waiting,
        }

    async def _use(self, file: RuleFile) -> None:
        await asyncio.to_thread(self._desk.use, file, self._clock.wall_ms(), self._clock.steady_ms())
        await asyncio.to_thread(self._outbox.unpause, [one.name for one in file.receivers])
        self._delivery.use({one.name: receivers.build(one, self._egress) for one in file.receivers})
        self._look_again()

    async def _tick(self) -> None:
        try:
            await asyncio.to_thread(self._desk.tick, self._clock.wall_ms(), self._clock.steady_ms())
            await self._after_telling()
        except DeskClosed:
            return
        except Exception:
            log.exception("an evaluation failed; the next one goes on from the same state")

    async def _tell_when_due(self) -> None:
        """Looks at all groups when one of them becomes due, and after every delivery."""
        wait_s = (self._desk.next_due_ms - self._clock.wall_ms()) / 1000
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(max(wait_s, 0.0), _LONGEST_WAIT_S)):
                await self._look.wait()
        self._look.clear()
        await asyncio.to_thread(self._desk.reconcile, self._clock.wall_ms())
        await self._after_telling()

    async def _after_telling(self) -> None:
        self._waiting = dict(await asyncio.to_thread(self._outbox.figures, self._clock.wall_ms()))
        self._delivery.wake()

    def _look_again(self) -> None:
        self._look.set()

    async def _watch(self, seen: tuple[int, ...]) -> None:
        """Loads the rule file again whenever it changes."""
        while True:
            await asyncio.sleep(_WATCH_S)
            now = await asyncio.to_thread(_stamp, self._path)
            if now != seen:
                seen = now
                await self.reload()

    async def reload(self) -> None:
        """Loads the rule file again; one that cannot be used changes nothing but `problems`."""
        try:
            file = await asyncio.to_thread(load, self._path)
        except RuleFileError as error:
            self._problems = error.problems
            said = [str(problem) for problem in error.problems[:20]]
            log.error("the rule file cannot be used; the rules loaded before go on", problems=said)
            return
        self._problems = ()
        await self._use(file)
        if self._ticker is not None:
            self._ticker.change(file.settings.every_ms)
        log.info("rules loaded again", rules=len(file.enabled), receivers=len(file.receivers))

    async def _forever(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except Exception:
                log.exception("alerting failed and goes on", at=what)
                await asyncio.sleep(_WATCH_S)


def _networks(texts: tuple[str, ...]) -> tuple[egress.Network, ...]:
    try:
        return egress.allow_list(texts)
    except ValueError as error:
        raise ConfigError(f"egress_allow: {error}") from error


def _stamp(path: Path) -> tuple[int, ...]:
    """Changes when the file does; also when an editor puts another in its place."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino
