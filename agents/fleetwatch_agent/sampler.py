"""Reads the host on time and puts what was read into the spool."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from fleetwatch_agent.clocks import Clocks, Waker
from fleetwatch_agent.readers import Named
from fleetwatch_agent.samples import ABSENT, Sample, Shape, Values
from fleetwatch_agent.schedule import Pace, next_tick, phase_ms
from fleetwatch_agent.shape import flatten, message
from fleetwatch_agent.spool import Spool
from fleetwatch_agent.stamps import stamp, stepped
from fleetwatch_agent.vitals import Vitals

_log = logging.getLogger(__name__)
_FIRST_AFTER_MS = 1000
_LATE_MS = 250
_KNOWN_SHAPES = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """What the sampler is told: durations in milliseconds."""

    host: str
    interval_ms: int
    gather_ms: int
    slow_ms: int


class Sampler:
    """One thread runs `run`; `set_pace` and `stop` may be called from others and from signal handlers."""

    def __init__(
        self,
        plan: Plan,
        readers: list[Named],
        take_table: Callable[[], bytes],
        new_tick: Callable[[], None],
        spool: Spool,
        clocks: Clocks,
        vitals: Vitals,
    ) -> None:
        self._plan = plan
        self._slots = [Slot(one, plan.slow_ms if one.slow else 0, vitals) for one in readers]
        self._take_table = take_table
        self._new_tick = new_tick
        self._spool = spool
        self._clocks = clocks
        self._vitals = vitals
        self._waker = Waker()
        self._stopping = False
        self._pace = Pace(plan.interval_ms)
        self._shape: Shape = ()
        self._schema_id = 0
        self._schemas: dict[Shape, tuple[int, bytes]] = {}
        self._ticked_ms = 0
        self._open_since_ms: int | None = 0  # long ago: the first sample is sent at once
        self._offset_ms = clocks.wall_ms() - clocks.boot_ms()

    # Running

    def run(self) -> None:
        """Samples until `stop`: readings to measure rates from, one sample a second later, then on the schedule."""
        self.prime()
        now = self._clocks.boot_ms()
        due = now + _FIRST_AFTER_MS
        while self._wait_until(due):
            self.tick()
            due = self._next()

    def stop(self) -> None:
        """Ends `run` after the sample under way."""
        self._stopping = True
        self._waker.wake()

    def set_pace(self, interval_ms: int, each_row: bool, for_s: int) -> None:
        """What a collector asks for; falls back to the setting by itself after `for_s` seconds."""
        self._pace = self._pace.ask(self._clocks.boot_ms(), interval_ms, each_row, for_s)
        self._waker.wake()

    def _next(self) -> int:
        now = self._clocks.boot_ms()
        interval = self._pace.interval_ms(now)
        # Two samples in a hurry would measure rates over next to no time.
        return next_tick(max(now, self._ticked_ms + interval // 2), interval, phase_ms(self._plan.host, interval))

    def _wait_until(self, due: int) -> bool:
        """False when it is time to stop. A changed pace can bring the sample forward."""
        pace = self._pace
        while not self._stopping:
            late_ms = self._clocks.boot_ms() - due
            if late_ms >= 0:
                self._vitals.late_ticks += late_ms > _LATE_MS
                return True
            if self._pace is not pace:
                pace = self._pace
                due = min(due, self._next())
            self._waker.wait((due - self._clocks.boot_ms()) / 1000)
        return False

    # One sample

    def prime(self) -> None:
        """Reads everything once and throws it away, so that rates exist from the first sample on."""
        self._new_tick()
        now = self._clocks.boot_ms()
        for slot in self._slots:
            slot.read(now, prime=True)

    def tick(self) -> Sample | None:
        """Reads, stamps and spools one sample; None when no stamp was free and it had to be dropped."""
        now, wall = self._clocks.boot_ms(), self._clocks.wall_ms()
        self._ticked_ms = now
        self._watch_clock(wall - now)
        sample = self.sample(now, wall)
        if sample is not None:
            stamps, time = stamp(self._spool.stamps, wall)
            if time is None:
                self._vitals.unstamped += sample.points
                return None
            sample = Sample(time, sample.schema_id, sample.values, sample.points, sample.processes)
            self._spool.append(sample, self._ships(sample, now), stamps)
        self._vitals.sample_ms = float(self._clocks.boot_ms() - now)
        return sample

    def sample(self, now_ms: int, wall_ms: int) -> Sample | None:
        """Reads one sample without spooling it; None when no reader gave anything."""
        self._new_tick()
        readings: Values = []
        for slot in self._slots:
            readings += slot.read(now_ms)
        shape, row, points, dropped = flatten(readings)
        self._vitals.dropped_values += dropped
        if not row:
            return None
        return Sample(wall_ms, self._schema(tuple(shape)), row, points, self._take_table())

    @property
    def shape(self) -> Shape:
        """The columns of the last sample."""
        return self._shape

    def _schema(self, shape: Shape) -> int:
        if shape == self._shape:
            return self._schema_id
        known = self._schemas.get(shape)
        if known is None:
            schema = message(shape)
            known = schema.id, schema.SerializeToString()
            if len(self._schemas) >= _KNOWN_SHAPES:
                self._schemas.clear()
            self._schemas[shape] = known
        # At every change, not only the first time: the spool forgets schemas that nothing waiting needs.
        self._spool.put_schema(*known)
        self._shape, self._schema_id = shape, known[0]
        return known[0]

    def _ships(self, sample: Sample, now_ms: int) -> bool:
        """Whether the batch is complete with this sample."""
        since = now_ms if self._open_since_ms is None else self._open_since_ms
        interval = self._pace.interval_ms(now_ms)
        full = now_ms - since + interval + interval // 2 > self._plan.gather_ms
        ships = full or bool(sample.processes) or self._pace.ships_each(now_ms)
        self._open_since_ms = None if ships else since
        return ships

    def _watch_clock(self, offset_ms: int) -> None:
        if stepped(self._offset_ms, offset_ms):
            self._vitals.clock_steps += 1
            _log.warning("wall clock jumped", extra={"by_ms": offset_ms - self._offset_ms})
        self._offset_ms = offset_ms


class Slot:
    """One reader with what it last gave: a failure costs its own values only and keeps the columns as they are."""

    def __init__(self, reader: Named, every_ms: int, vitals: Vitals) -> None:
        self._reader = reader
        self._every_ms = every_ms
        self._vitals = vitals
        self._due_ms = 0
        self._blank: Values = []
        self._shape: Shape = ()
        self._error = ""

    def read(self, now_ms: int, prime: bool = False) -> Values:
        """What the reader gives; its fields absent when it fails or is not due."""
        if now_ms < self._due_ms:
            return self._blank
        if self._every_ms and not prime:
            # Ticks jitter: half a second early is on time.
            self._due_ms = now_ms + self._every_ms - 500
        try:
            values = self._reader.read()
        except Exception as error:  # noqa: BLE001 - one reader's fault must not cost the others' samples
            self._fail(f"{type(error).__name__}: {error}")
            return self._blank
        if self._error:
            _log.info("reader works again", extra={"reader": self._reader.name})
            self._error = ""
        self._remember(values)
        return values

    def _fail(self, error: str) -> None:
        self._vitals.reader_errors += 1
        if error != self._error:
            _log.warning("reader failed", extra={"reader": self._reader.name, "error": error}, exc_info=not self._error)
            self._error = error

    def _remember(self, values: Values) -> None:
        shape = tuple([series for series, _ in values])
        if shape != self._shape:
            self._shape = shape
            self._blank = [(series, (ABSENT,) * len(series.fields)) for series in shape]
