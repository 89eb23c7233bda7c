"""A simulated fleet, clock and receivers around the real alerting core: hours pass in milliseconds, nothing sleeps.

Rules are read from YAML, evaluated by the real desk on a real metadata database, and notifications go through the real
outbox; only the store (values are functions of time) and the sending are simulated.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from fleetwatch_alerting.desk import Desk
from fleetwatch_alerting.notification import Notification
from fleetwatch_alerting.outbox import Job, Outbox
from fleetwatch_alerting.outcome import Kind, Outcome
from fleetwatch_alerting.rules.loader import loads
from fleetwatch_storage import reduce
from fleetwatch_storage.errors import StorageError
from fleetwatch_storage.frames import Frame, TagSet
from fleetwatch_storage.hosts import Host
from fleetwatch_storage.metadata.alerts import Alert, list_alerts
from fleetwatch_storage.metadata.database import open_database, sqlite_url
from fleetwatch_storage.query import Matcher, Query
from fleetwatch_storage.store import Health, SeriesKey

T0 = 1_800_000_000_000
"""Where simulated time starts: a multiple of a minute."""

Curve = Callable[[float], float | None]
"""A value by seconds since the start; None: no sample."""

SENT = Outcome(Kind.SENT, "200")


@dataclass(frozen=True)
class Line:
    """One simulated series."""

    measurement: str
    field: str
    host: str
    tags: TagSet
    curve: Curve
    every_s: float


@dataclass
class SimulatedStore:
    """A StoreReader whose samples are computed when they are asked for."""

    lines: list[Line] = field(default_factory=list)
    known: dict[str, Host] = field(default_factory=dict)
    failing: StorageError | None = None
    queries: list[Query] = field(default_factory=list)

    def read(self, query: Query) -> Frame:
        if self.failing:
            raise self.failing
        self.queries.append(query)
        return reduce.answer(self._rows(query), query, {name: dict(one.tags) for name, one in self.known.items()})

    def _rows(self, query: Query) -> Frame:
        rows = [
            (at, line, value)
            for line in self.lines
            if line.measurement == query.measurement
            for at in _samples(line, reduce.first_needed_ms(query), query.end_ms)
            if (value := line.curve((at - T0) / 1000)) is not None
        ]
        hosts = sorted({line.host for _, line, _ in rows})
        tagsets = sorted({line.tags for _, line, _ in rows})
        names = {line.field for _, line, _ in rows} | set(query.fields)
        return Frame(
            query.measurement,
            np.array([at for at, _, _ in rows], np.int64),
            np.array([hosts.index(line.host) for _, line, _ in rows], np.int32),
            hosts,
            np.array([tagsets.index(line.tags) for _, line, _ in rows], np.int32),
            tagsets,
            {
                name: np.array([value if line.field == name else math.nan for _, line, value in rows], np.float64)
                for name in names
            },
        )

    def latest(self, measurements: Sequence[str] = ()) -> list[Frame]:
        raise NotImplementedError

    def series(self, measurement: str = "", where: Sequence[Matcher] = ()) -> list[SeriesKey]:
        raise NotImplementedError

    def hosts(self) -> list[Host]:
        if self.failing:
            raise self.failing
        return sorted(self.known.values(), key=lambda host: host.name)

    def health(self) -> Health:
        return Health(self.failing is None, True, "simulated")

    def close(self) -> None:
        pass


def _samples(line: Line, start_ms: int, end_ms: int) -> Iterable[int]:
    width = round(line.every_s * 1000)
    return range(start_ms + (T0 - start_ms) % width, end_ms, width)


@dataclass
class Delivered:
    """What one receiver was told, in order, and every attempt that was made."""

    accepted: list[tuple[float, Notification]] = field(default_factory=list)
    attempts: list[tuple[float, Job, Outcome]] = field(default_factory=list)
    answer: Callable[[float, Job], Outcome] = lambda _at, _job: SENT

    @property
    def story(self) -> list[tuple[float, list[tuple[str, str, str]]]]:
        """When, and for each alert shown: who, what changed, at which level."""
        return [
            (at, [(one.labels.get("host", one.rule), one.change, one.level) for one in told.alerts])
            for at, told in self.accepted
        ]

    @property
    def changes(self) -> list[tuple[float, str]]:
        """When, and the changes of all alerts shown, joined."""
        return [(at, "+".join(one.change or "same" for one in told.alerts)) for at, told in self.accepted]


class World:
    """`run(until_s)` lets simulated time pass; all times are seconds since the start."""

    def __init__(self, folder: Path, rules: str, *, seed: int = 1, lag_ms: int = 0) -> None:
        self.folder, self.now_s = folder, -1.0
        self.store = SimulatedStore()
        self.receivers: dict[str, Delivered] = {}
        self.engine = _hurried(folder)
        self.alive: dict[str, Curve] = {}
        self._seed, self._lag_ms, self._jump_ms = seed, lag_ms, 0
        self._rules, self._send_at_ms = rules, 0
        self.start()

    def start(self) -> None:
        """A new process on the same database."""
        self.desk = Desk(self.store, self.engine, "https://mon.example.com")
        self.outbox = Outbox(self.engine, "test", random.Random(self._seed))
        self.outbox.take_over(self.wall_ms)
        self._send_at_ms = 0
        self.use(self._rules)

    def kill(self, *, then_start: bool = True) -> None:
        """The process dies with all it has in memory."""
        self.engine.dispose()
        if then_start:
            self.engine = _hurried(self.folder)
            self.start()

    def use(self, rules: str) -> None:
        """Loads this rule file."""
        self._rules = rules
        hooks = {"HOOK": "https://hooks.example.com/x"}
        file = loads(rules, "rules.yaml", environment=hooks)
        self.desk.use(file, self.wall_ms, self.steady_ms)
        for one in file.receivers:
            self.receivers.setdefault(one.name, Delivered())

    @property
    def wall_ms(self) -> int:
        """The wall clock."""
        return T0 + round(self.now_s * 1000) + self._jump_ms

    @property
    def steady_ms(self) -> int:
        """The clock that does not jump."""
        return round(self.now_s * 1000)

    def jump(self, by_s: float) -> None:
        """The wall clock is set; samples follow it."""
        self._jump_ms += round(by_s * 1000)

    def host(self, name: str, *, tags: Mapping[str, str] | None = None, silent_from: float = math.inf) -> None:
        """A host that sends until `silent_from`."""
        self.store.known[name] = Host(name, tags=dict(tags or {}), first_seen_ms=T0 - 600_000, connected=True)
        self.alive[name] = lambda at: None if at > silent_from else at

    def series(
        self,
        metric: str,
        host: str,
        curve: Curve | float,
        *,
        every_s: float = 10,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """A series of a host; a number is a constant value. The host is made if it is not there."""
        if host not in self.store.known:
            self.host(host)
        measurement, _, name = metric.rpartition(".")
        given = curve if callable(curve) else lambda _at, value=curve: value
        whole = {"cpu": "cpu-total"} if measurement == "cpu" and not tags else {}
        tagset = tuple(sorted((dict(tags or {}) | whole).items()))
        self.store.lines.append(Line(measurement, name, host, tagset, given, every_s))

    def run(self, until_s: float, *, step_s: float = 1.0) -> None:
        """Lets time pass up to and including `until_s`."""
        while self.now_s + step_s <= until_s + 1e-9:
            self.now_s = round(self.now_s + step_s, 3)
            self.turn()

    def skip(self, to_s: float) -> None:
        """Time passes while no process runs."""
        self.now_s = to_s

    def turn(self) -> None:
        """Everything that happens at this moment."""
        self._hear()
        if self.wall_ms % self.desk.file.settings.every_ms == 0:
            self.desk.tick(self.wall_ms, self.steady_ms)
            self._send_at_ms = 0
        if self.desk.next_due_ms <= self.wall_ms:
            self.desk.reconcile(self.wall_ms)
            self._send_at_ms = 0
        while self._send_at_ms <= self.wall_ms:
            if self._deliver():
                self.desk.reconcile(self.wall_ms)
            due = [at for name in self.receivers if (at := self.outbox.next_due(name)) is not None]
            self._send_at_ms = min(due, default=1 << 62)

    def _hear(self) -> None:
        for name, curve in self.alive.items():
            if name in self.store.known and curve(self.now_s) is not None:
                host = self.store.known[name]
                self.store.known[name] = replace(host, last_seen_ms=self.wall_ms, goodbye_until_ms=0)

    def _deliver(self) -> bool:
        settled = False
        for name, receiver in self.receivers.items():
            for job in self.outbox.claim(name, self.wall_ms, 4, 60_000):
                outcome = receiver.answer(self.now_s, job)
                receiver.attempts.append((self.now_s, job, outcome))
                state = self.outbox.record(job, outcome, self.wall_ms, 1.0)
                if outcome.kind is Kind.SENT:
                    receiver.accepted.append((self.now_s, job.notification))
                settled = settled or state in ("sent", "dead")
        return settled

    def alerts(self, *states: str) -> list[Alert]:
        """Alerts as the dashboard sees them."""
        return list_alerts(self.engine, states=states or ("pending", "firing", "recovering"))

    def state(self, host: str = "a") -> str:
        """The state of the one alert of a host; inactive when there is none."""
        found = [one for one in self.alerts() if one.labels.get("host") == host]
        assert len(found) <= 1, found
        return found[0].state if found else "inactive"

    def rows(self, table: sa.Table) -> list[sa.RowMapping]:
        """All rows of a table."""
        with self.engine.connect() as connection:
            return list(connection.execute(sa.select(table)).mappings())


def _hurried(folder: Path) -> sa.Engine:
    """The metadata database without waiting for the disk: processes die in these worlds, machines do not."""
    engine = open_database(sqlite_url(folder))
    sa.event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
    engine.dispose()
    return engine


def steps(*parts: tuple[float, float | None]) -> Curve:
    """A curve of constant pieces: (from second, value), in order."""

    def curve(at: float) -> float | None:
        found: float | None = parts[0][1]
        for start, value in parts:
            if at >= start:
                found = value
        return found

    return curve


def rule_file(
    rules: str, *, every: str = "30s", settings: str = "", routes: str = "", receivers: str | None = None
) -> str:
    """A rule file with one webhook receiver `ops` that is told at once, unless the arguments say otherwise."""
    hooks = 'receivers: {ops: {webhook: {url: "${HOOK}"}}}' if receivers is None else receivers
    told = routes or "routes: [{to: [ops], group_wait: 0s, group_interval: 0s, repeat_interval: 1d}]"
    head = f"version: 1\nsettings: {{every: {every}, eval_delay: 0s, startup_grace: 0s{settings}}}\n"
    return f"{head}rules:\n{rules}\n{hooks}\n{told if receivers != '' else ''}\n"
