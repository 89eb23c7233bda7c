"""Sending what is in the outbox: a task for each receiver, a few attempts at once, SQL in worker threads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from fleetwatch_alerting.outbox import LEASE_SLACK_MS, Job, Outbox
from fleetwatch_alerting.outcome import Kind, Outcome
from fleetwatch_alerting.receivers import Receiver

PARALLEL = 4
"""Attempts at once to one receiver; each is another group."""

_LEASE_MS = 60_000 + LEASE_SLACK_MS
_IDLE_S = 5.0
_GRACE_S = 4.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Counts:
    """What was delivered since the start."""

    sent: int = 0
    failed_attempts: int = 0


class Delivery:
    """Keeps every receiver supplied. One slow receiver delays neither another nor evaluation.

    `settled` is called (on the event loop) after an attempt that changed what a receiver knows or gave up.
    """

    def __init__(self, outbox: Outbox, now_ms: Callable[[], int], settled: Callable[[], None]) -> None:
        self._outbox, self._now_ms, self._settled = outbox, now_ms, settled
        self._lines: dict[str, _Line] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self.counts = Counts()

    def use(self, receivers: Mapping[str, Receiver]) -> None:
        """Takes these receivers from now on; attempts under way to earlier ones end as they would have."""
        for line in self._lines.values():
            leaving = asyncio.create_task(line.stop(grace_s=None))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
        self._lines = {name: _Line(name, one, self) for name, one in receivers.items()}

    def wake(self) -> None:
        """Looks at the outbox now: something was put in."""
        for line in self._lines.values():
            line.wake.set()

    async def stop(self) -> None:
        """Takes nothing out any more, waits a little for attempts under way, and gives the rest back."""
        await asyncio.gather(*(line.stop(grace_s=_GRACE_S) for line in self._lines.values()))
        self._lines = {}
        for leaving in self._leaving:
            leaving.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)

    async def claim(self, receiver: str, most: int) -> list[Job]:
        """The next jobs of a receiver."""
        return await asyncio.to_thread(self._outbox.claim, receiver, self._now_ms(), most, _LEASE_MS)

    async def next_due(self, receiver: str) -> float:
        """Seconds until the receiver's next job, as far as is known now."""
        due = await asyncio.to_thread(self._outbox.next_due, receiver)
        return _IDLE_S if due is None else min(_IDLE_S, max(0.01, (due - self._now_ms()) / 1000))

    async def attempt(self, receiver: Receiver, job: Job) -> None:
        """One attempt, and its outcome in the outbox; broken off, it gives the job back."""
        started = time.monotonic()
        try:
            outcome = await receiver.send(job)
        except asyncio.CancelledError:
            await asyncio.to_thread(self._outbox.release, [job])
            raise
        except Exception as error:
            log.exception("a receiver failed", receiver=job.notification.receiver)
            outcome = Outcome(Kind.REJECTED, "failed", type(error).__name__)
        taken_ms = (time.monotonic() - started) * 1000
        state = await asyncio.to_thread(self._outbox.record, job, outcome, self._now_ms(), taken_ms)
        self._note(job, outcome, state)

    def _note(self, job: Job, outcome: Outcome, state: str) -> None:
        one = job.notification
        said = {"receiver": one.receiver, "group": one.group_key, "key": one.idempotency_key, "attempt": job.attempt}
        if state == "sent":
            self.counts.sent += 1
            log.info("notification delivered", **said)
        else:
            self.counts.failed_attempts += outcome.kind is not Kind.PAUSE
            say = log.error if state == "dead" else log.warning
            words = "notification given up" if state == "dead" else "notification not delivered"
            say(words, **said, outcome=outcome.kind.value, status=outcome.status, error=outcome.error)
        if state in ("sent", "dead"):
            self._settled()


class _Line:
    """The task of one receiver."""

    def __init__(self, name: str, receiver: Receiver, delivery: Delivery) -> None:
        self._name, self._receiver, self._delivery = name, receiver, delivery
        self._attempts: set[asyncio.Task[None]] = set()
        self.wake = asyncio.Event()
        self.wake.set()
        self._task = asyncio.create_task(self._run())

    async def stop(self, grace_s: float | None) -> None:
        """Takes no more; attempts under way get `grace_s` seconds, or their whole time."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        try:
            if self._attempts:
                await asyncio.wait(self._attempts, timeout=grace_s)
        finally:
            for attempt in self._attempts:
                attempt.cancel()
            await asyncio.gather(*self._attempts, return_exceptions=True)
            await self._receiver.close()

    async def _run(self) -> None:
        while True:
            self.wake.clear()
            try:
                await self._fill()
                wait_s = await self._delivery.next_due(self._name) if len(self._attempts) < PARALLEL else _IDLE_S
            except Exception:
                log.exception("the outbox cannot be read", receiver=self._name)
                wait_s = _IDLE_S
            await self._woken(wait_s)

    async def _fill(self) -> None:
        claiming = asyncio.ensure_future(self._delivery.claim(self._name, PARALLEL - len(self._attempts)))
        try:
            jobs = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            self._start(await claiming)
            raise
        self._start(jobs)

    def _start(self, jobs: list[Job]) -> None:
        for job in jobs:
            attempt = asyncio.create_task(self._delivery.attempt(self._receiver, job))
            self._attempts.add(attempt)
            attempt.add_done_callback(self._ended)

    def _ended(self, attempt: asyncio.Task[None]) -> None:
        self._attempts.discard(attempt)
        self.wake.set()
        if not attempt.cancelled() and (error := attempt.exception()):
            log.error("the outcome of an attempt could not be kept", receiver=self._name, error=repr(error))

    async def _woken(self, within_s: float) -> None:
        try:
            async with asyncio.timeout(within_s):
                await self.wake.wait()
        except TimeoutError:
            pass
