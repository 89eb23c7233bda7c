"""The alert manager's core: evaluates, keeps, and puts into the outbox what is to be told, in one transaction.

Blocking; the manager calls it in worker threads. Memory only follows the database: a transaction that fails leaves the
alerts as they were, and the next evaluation goes on from there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import sqlalchemy as sa
import structlog
from fleetwatch_storage.errors import StorageError
from fleetwatch_storage.hosts import Host
from fleetwatch_storage.metadata.database import transaction
from fleetwatch_storage.store import StoreReader

from fleetwatch_alerting import book, facts
from fleetwatch_alerting import fleet as fleets
from fleetwatch_alerting.alert import Alert, Labels
from fleetwatch_alerting.engine import Change, Phase, shifted
from fleetwatch_alerting.errors import AlertingError
from fleetwatch_alerting.evaluate import Changed, Round, evaluate, remembering, stalled
from fleetwatch_alerting.reconcile import reconcile
from fleetwatch_alerting.rules.schema import RuleFile
from fleetwatch_alerting.scheduler import JumpWatch, aligned, delay_ms, missed_ticks, replayed
from fleetwatch_alerting.timing import NEVER

_PRUNE_EVERY_MS = 3_600_000

log = structlog.get_logger(__name__)


class DeskClosed(AlertingError):
    """The desk was closed while it made up for missed evaluations; the next start does it again."""


@dataclass(slots=True)
class Figures:
    """What the desk has done, for the manager's own health."""

    evaluation_s: float = 0.0
    missed_ticks: int = 0
    rule_errors: int = 0


@dataclass(slots=True)
class _Live:
    """What changes from evaluation to evaluation."""

    alerts: dict[str, dict[Labels, Alert]] = field(default_factory=dict)
    last_ms: int | None = None
    grace_until_ms: int = 0
    failing: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    pruned_ms: int = 0
    started: bool = False


class Desk:
    """Evaluates the rules of one file at a time. One thread at a time is let in."""

    def __init__(self, store: StoreReader, engine: sa.Engine, external_url: str = "") -> None:
        self._store, self._engine, self._default_url = store, engine, external_url
        self._lock = threading.Lock()
        self._live = _Live()
        self._jumps = JumpWatch()
        self._file = RuleFile("")
        self._closing = False
        self.figures = Figures()
        self.next_due_ms = NEVER

    @property
    def file(self) -> RuleFile:
        """The rule file in use."""
        return self._file

    def use(self, file: RuleFile, now: int, steady: int) -> None:
        """Takes a rule file: alerts of rules that are gone end, those of changed rules go on under the new ones."""
        with self._lock:
            with transaction(self._engine) as connection:
                alerts, orphans = book.load(connection, file.enabled)
                book.end_orphans(connection, orphans, now, file.enabled)
                book.keep_rules(connection, file)
                book.drop_receivers(connection, [receiver.name for receiver in file.receivers])
                last_ms = book.last_tick(connection)
            self._live.alerts, self._file = alerts, file
            if not self._live.started:
                self._live.last_ms = last_ms
                self._live.grace_until_ms = steady + file.settings.startup_grace_ms

    def tick(self, now: int, steady: int) -> bool:
        """One evaluation, after making up for missed ones at the first; False when its time has not come."""
        with self._lock:
            if self._closing:
                return False
            started = time.perf_counter()
            hosts, error = self._hosts()
            fleet = fleets.at(hosts, now)
            settings = self._file.settings
            t = aligned(now - delay_ms(settings.eval_delay_ms, fleet.interval_ms), settings.every_ms)
            self._follow_clock(now, steady, t)
            if self._live.last_ms is not None and t <= self._live.last_ms:
                return False
            rounds = [] if error else self._replay(hosts, t, now)
            rounds.append(self._round(hosts, error, t, now, steady, _after(self._live.alerts, rounds)))
            self._keep(rounds, hosts, now)
            self._note(rounds[-1], steady)
            self.figures.evaluation_s = time.perf_counter() - started
            return True

    def reconcile(self, now: int) -> None:
        """Enqueues what has become due since the last evaluation; nothing before the first one."""
        with self._lock:
            if self._live.started and not self._closing:
                with transaction(self._engine) as connection:
                    self.next_due_ms = self._reconcile(connection, self._firing(self._live.alerts), now)

    def close(self) -> None:
        """Evaluates nothing any more; returns when an evaluation under way has ended."""
        self._closing = True
        with self._lock:
            pass

    def count(self, *phases: Phase) -> int:
        """How many alerts are in these states."""
        return sum(
            one.state.phase in phases for some in list(self._live.alerts.values()) for one in list(some.values())
        )

    @property
    def external_url(self) -> str:
        """Where links lead."""
        return self._file.settings.external_url or self._default_url

    def _hosts(self) -> tuple[Sequence[Host], StorageError | None]:
        try:
            return self._store.hosts(), None
        except StorageError as error:
            return (), error

    def _round(
        self,
        hosts: Sequence[Host],
        error: StorageError | None,
        t: int,
        now: int,
        steady: int,
        alerts: dict[str, dict[Labels, Alert]],
    ) -> Round:
        if error is not None:
            return stalled(self._file.enabled, alerts, t, error)
        grace = steady < self._live.grace_until_ms
        # Silence is measured by the server's clock now; only then is "one sample" heard at once.
        return evaluate(self._file.enabled, alerts, self._store.read, t, fleets.at(hosts, now), grace=grace)

    def _replay(self, hosts: Sequence[Host], t: int, now: int) -> list[Round]:
        """The evaluations missed while the manager was not running; longer breaks stop the timers."""
        live, settings = self._live, self._file.settings
        if live.started or live.last_ms is None:
            return []
        rounds: list[Round] = []
        beyond = t - live.last_ms - settings.max_catchup_ms
        if beyond > 0:
            live.alerts, live.last_ms = _moved(live.alerts, beyond), live.last_ms + beyond
        for at in replayed(live.last_ms, t, settings.every_ms, settings.max_catchup_ms):
            if self._closing:
                raise DeskClosed
            known = _after(live.alerts, rounds)
            rounds.append(
                evaluate(self._file.enabled, known, self._store.read, at, fleets.at(hosts, now, replayed=True))
            )
        if rounds:
            log.info("evaluations made up for", from_ms=rounds[0].t, to_ms=rounds[-1].t, evaluations=len(rounds))
        return rounds

    def _follow_clock(self, now: int, steady: int, t: int) -> None:
        """A clock that jumped moves no timer and starts the grace time again."""
        live, every_ms = self._live, self._file.settings.every_ms
        jump = self._jumps.jump_ms(now, steady, every_ms)
        if not live.started and live.last_ms is not None and live.last_ms > t:
            jump = t - every_ms - live.last_ms
        if not jump:
            return
        jump = aligned(jump, every_ms)
        log.warning("the wall clock jumped", by_ms=jump)
        live.alerts = _moved(live.alerts, jump)
        live.last_ms = None if live.last_ms is None else live.last_ms + jump
        live.grace_until_ms = steady + self._file.settings.startup_grace_ms

    def _keep(self, rounds: Sequence[Round], hosts: Sequence[Host], now: int) -> None:
        changes = self._rendered(_merged(rounds), rounds[-1].t, hosts, now)
        alerts = _after(self._live.alerts, [Round(rounds[-1].t, changes)])
        with transaction(self._engine) as connection:
            book.keep(connection, changes)
            book.keep_tick(connection, rounds[-1].t)
            due = self._reconcile(connection, self._firing(alerts), now)
            if now - self._live.pruned_ms > _PRUNE_EVERY_MS:
                book.prune(connection, now)
                self._live.pruned_ms = now
        if self._live.started:
            self.figures.missed_ticks += missed_ticks(self._live.last_ms, rounds[-1].t, self._file.settings.every_ms)
        self._live.alerts, self._live.last_ms, self._live.started = alerts, rounds[-1].t, True
        self.next_due_ms = due

    def _rendered(self, changes: list[Changed], t: int, hosts: Sequence[Host], now: int) -> list[Changed]:
        fired = [one.alert for one in changes if any(event.change is Change.FIRING for event in one.events)]
        by_name = {host.name: host for host in hosts}
        found = self._facts(fired, by_name, t) if fired else {}
        return [book.rendered(one, found.get(one.alert.fingerprint, {}), now, self.external_url) for one in changes]

    def _facts(self, fired: Sequence[Alert], hosts: Mapping[str, Host], t: int) -> Mapping[str, Mapping[str, str]]:
        try:
            return facts.gather(fired, hosts, remembering(self._store.read), t)
        except Exception:
            log.exception("the facts of an alert could not be gathered")
            return {}

    def _reconcile(self, connection: sa.Connection, firing: Iterable[Alert], now: int) -> int:
        return reconcile(connection, firing, self._file, now, self.external_url)

    @staticmethod
    def _firing(alerts: dict[str, dict[Labels, Alert]]) -> list[Alert]:
        return [one for some in alerts.values() for one in some.values() if one.state.is_firing]

    def _note(self, done: Round, steady: int) -> None:
        """Counts and logs failures, each when it begins and when it ends."""
        self.figures.rule_errors += len(done.failed)
        failing, refused = frozenset(done.failed), frozenset(done.refused)
        for uid in failing - self._live.failing:
            error = done.failed[uid]
            unexpected = None if isinstance(error, StorageError) else error
            log.error("a rule cannot be evaluated", rule=uid, error=str(error), exc_info=unexpected)
        for uid in self._live.failing - failing:
            log.info("a rule can be evaluated again", rule=uid)
        for uid in refused - self._live.refused:
            log.error("a rule has too many alerts; further ones are left out", rule=uid, left_out=done.refused[uid])
        if done.unavailable:
            self._live.grace_until_ms = max(self._live.grace_until_ms, steady + self._file.settings.startup_grace_ms)
        self._live.failing, self._live.refused = failing, refused


def _after(alerts: dict[str, dict[Labels, Alert]], rounds: Sequence[Round]) -> dict[str, dict[Labels, Alert]]:
    """The alerts that are not inactive after these rounds."""
    if not rounds:
        return alerts
    found = {uid: dict(some) for uid, some in alerts.items()}
    for one in (change.alert for done in rounds for change in done.changed):
        mine = found.setdefault(one.rule.uid, {})
        if one.state.is_idle:
            mine.pop(one.group, None)
        else:
            mine[one.group] = one
    return found


def _moved(alerts: dict[str, dict[Labels, Alert]], by_ms: int) -> dict[str, dict[Labels, Alert]]:
    return {
        uid: {group: replace(one, state=shifted(one.state, by_ms)) for group, one in some.items()}
        for uid, some in alerts.items()
    }


def _merged(rounds: Sequence[Round]) -> list[Changed]:
    """One change for each alert: how it is at the end, and all its events."""
    found: dict[str, Changed] = {}
    for one in (change for done in rounds for change in done.changed):
        before = found.get(one.alert.fingerprint)
        found[one.alert.fingerprint] = Changed(one.alert, (*before.events, *one.events) if before else one.events)
    return list(found.values())
