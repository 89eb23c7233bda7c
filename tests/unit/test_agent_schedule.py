"""Ticks on time: phase, no drift, the pace a collector asks for."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
from fleetwatch_agent.readers import Named
from fleetwatch_agent.sampler import Plan, Sampler
from fleetwatch_agent.samples import Series, Values
from fleetwatch_agent.schedule import Pace, next_tick, phase_ms
from fleetwatch_agent.spool import Limits, Spool
from fleetwatch_agent.vitals import Vitals
from hypothesis import given
from hypothesis import strategies as st

from tests.support.agent_host import Clock

SERIES = Series("system", (), ("load1",))


class TurningWaker:
    """Waiting turns the clock, with the jitter and the delays a busy host has."""

    def __init__(self, clock: Clock, late_ms: list[int]) -> None:
        self.clock, self.late_ms = clock, late_ms

    def wait(self, seconds: float) -> None:
        self.clock.advance(round(max(0.0, seconds) * 1000) + (self.late_ms.pop(0) if self.late_ms else 0))

    def wake(self) -> None:
        return


@pytest.fixture
def clock() -> Clock:
    return Clock(boot_ms=123_456)


def make(
    tmp_path: Path, clock: Clock, interval_ms: int = 10_000, readers: list[Named] | None = None, **plan: int
) -> Sampler:
    steady = Named("steady", lambda: [(SERIES, (1.0,))], slow=False)
    spool = Spool(tmp_path / "state", Limits(1 << 22), 1 << 16)
    told = Plan("web-1", interval_ms, plan.get("gather_ms", 10_000), plan.get("slow_ms", 10_000))
    return Sampler(told, readers or [steady], lambda: b"", lambda: None, spool, clock.clocks, Vitals())


def run(
    sampler: Sampler, clock: Clock, ticks: int, late_ms: list[int] | None = None, waker: TurningWaker | None = None
) -> list[tuple[int, int]]:
    """Times of ticks on the boot clock, with the stamp of each."""
    sampler._waker = waker or TurningWaker(clock, late_ms or [])  # type: ignore[assignment]
    seen: list[tuple[int, int]] = []
    tick = sampler.tick

    def noted() -> object:
        at = clock.boot
        sample = tick()
        seen.append((at, sample.t_ms if sample else -1))
        if len(seen) >= ticks:
            sampler.stop()
        return sample

    sampler.tick = noted  # type: ignore[method-assign, assignment]
    sampler.run()
    return seen


@given(st.integers(0, 10**12), st.sampled_from([1000, 10_000, 60_000]), st.text(min_size=1))
def test_the_next_tick_lies_on_the_phase_within_one_interval(now: int, interval: int, host: str) -> None:
    phase = phase_ms(host, interval)

    due = next_tick(now, interval, phase)

    assert now < due <= now + interval
    assert due % interval == phase


def test_hosts_are_spread_over_the_interval() -> None:
    phases = {phase_ms(f"host-{n}", 10_000) // 1000 for n in range(200)}

    assert phases == set(range(10))


def test_the_first_sample_comes_after_a_second_and_then_ticks_keep_their_phase(tmp_path: Path, clock: Clock) -> None:
    late = [0, 3, 40, 0, 700, 1, 0, 0, 2500, 0] * 20

    seen = run(make(tmp_path, clock), clock, 100, late)

    assert seen[0][0] == 123_456 + 1000
    phase = phase_ms("web-1", 10_000)
    delays = [(at - phase) % 10_000 for at, _ in seen[1:]]
    assert max(delays) <= 2500
    assert (seen[-1][0] - seen[1][0]) // 10_000 == pytest.approx(98, abs=1), "lateness does not add up"


def test_a_suspended_host_leaves_out_what_it_missed(tmp_path: Path, clock: Clock) -> None:
    seen = run(make(tmp_path, clock), clock, 6, [0, 0, 0, 3_600_000])

    gaps = [two - one for (one, _), (two, _) in pairwise(seen)]
    assert sum(gap > 3_000_000 for gap in gaps) == 1
    assert all(at % 10_000 == phase_ms("web-1", 10_000) for at, _ in seen[-2:])


def test_late_ticks_are_counted(tmp_path: Path, clock: Clock) -> None:
    sampler = make(tmp_path, clock)

    run(sampler, clock, 5, [0, 0, 600])

    assert sampler._vitals.late_ticks == 1


def test_a_clock_set_back_is_counted_and_no_stamp_repeats(tmp_path: Path, clock: Clock) -> None:
    sampler = make(tmp_path, clock)
    before = run(sampler, clock, 20)
    clock.wall -= 100_000
    sampler._stopping = False
    after = []
    for _ in range(20):
        clock.advance(10_000)
        sample = Sampler.tick(sampler)
        after.append(sample.t_ms if sample else -1)

    assert sampler._vitals.clock_steps == 1
    assert not {time for _, time in before} & set(after)


def test_the_stamps_survive_a_restart_with_the_clock_set_back(tmp_path: Path, clock: Clock) -> None:
    first = make(tmp_path, clock)
    before = {Sampler.tick(first).t_ms for _ in range(10) if clock.advance(10_000) is None}  # type: ignore[union-attr]
    first._spool.close()
    clock.wall -= 100_000

    second = make(tmp_path, clock)
    after = {Sampler.tick(second).t_ms for _ in range(10) if clock.advance(10_000) is None}  # type: ignore[union-attr]

    assert len(before) == len(after) == 10
    assert not before & after


def test_a_pace_is_bounded_and_falls_back_by_itself() -> None:
    pace = Pace(10_000).ask(now_ms=0, interval_ms=5, each_row=True, for_s=60)

    assert pace.interval_ms(59_999) == 1000, "nothing faster than a second"
    assert pace.ships_each(59_999)
    assert pace.interval_ms(60_000) == 10_000
    assert not pace.ships_each(60_000)
    assert pace.ask(0, 0, True, 60).interval_ms(1) == 10_000, "0 keeps the setting"
    assert pace.ask(0, 1000, True, 0).interval_ms(1) == 10_000, "0 seconds end the wish"


def test_a_faster_pace_takes_effect_at_once_and_rows_ship_one_by_one(tmp_path: Path, clock: Clock) -> None:
    sampler = make(tmp_path, clock)
    sampler.set_pace(1000, True, 5)

    seen = run(sampler, clock, 10)

    gaps = [two - one for (one, _), (two, _) in pairwise(seen)]
    assert gaps.count(1000) >= 3
    assert gaps[-1] == 10_000, "back to the setting"
    assert sampler._spool.figures().batches == 10


def test_a_wish_that_comes_while_waiting_brings_all_following_samples_forward(tmp_path: Path, clock: Clock) -> None:
    sampler = make(tmp_path, clock)
    waker = TurningWaker(clock, [])
    wait, waits = waker.wait, []

    def wait_and_hear(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            sampler.set_pace(1000, True, 60)
            clock.advance(1)
        else:
            wait(seconds)

    waker.wait = wait_and_hear  # type: ignore[method-assign]

    seen = run(sampler, clock, 6, waker=waker)

    assert [two - one for (one, _), (two, _) in pairwise(seen)][1:] == [1000] * 4


def test_fast_rows_gather_until_the_time_is_full(tmp_path: Path, clock: Clock) -> None:
    sampler = make(tmp_path, clock, interval_ms=1000)

    run(sampler, clock, 31)

    batches = [sampler._spool.get(seq) for seq in sampler._spool.after(0, 100)]
    assert [batch.rows for batch in batches if batch] == [1, 10, 10, 10], "the first is sent at once"


def test_a_failing_reader_costs_its_own_values_only(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[Values | Exception] = [[(SERIES, (1.0,))], OSError("gone"), OSError("gone"), [(SERIES, (2.0,))]]

    def fickle() -> Values:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    other = Series("kernel", (), ("oom_kill",))
    readers = [Named("fickle", fickle, slow=False), Named("other", lambda: [(other, (7.0,))], slow=False)]
    sampler = make(tmp_path, clock, readers=readers)

    samples = [sampler.sample(n, n) for n in range(4)]

    assert [len(sample.values) for sample in samples if sample] == [2, 2, 2, 2], "columns stay"
    assert [sample.points for sample in samples if sample] == [2, 1, 1, 2]
    assert all(sample.values[1] == 7.0 for sample in samples if sample)
    assert sampler._vitals.reader_errors == 2
    assert sum("reader failed" in record.getMessage() for record in caplog.records) == 1, "logged once per change"


def test_slow_readers_run_at_their_own_pace_with_their_fields_absent_between(tmp_path: Path, clock: Clock) -> None:
    calls = []
    slow = Named("slow", lambda: calls.append(1) or [(SERIES, (5.0,))], slow=True)  # type: ignore[func-returns-value]
    sampler = make(tmp_path, clock, interval_ms=1000, readers=[slow])
    sampler.prime()

    rows = [sampler.sample(now, now).values[0] for now in range(0, 20_000, 1000)]  # type: ignore[union-attr]

    assert len(calls) == 3
    assert [n for n, value in enumerate(rows) if value == 5.0] == [0, 10]
    assert math.isnan(rows[1])


def test_a_new_series_makes_a_new_schema_and_an_old_shape_its_old_one(tmp_path: Path, clock: Clock) -> None:
    disks = [1]
    series = [Series("disk", (("path", f"/{n}"),), ("used",)) for n in range(3)]
    reader = Named("disk", lambda: [(series[n], (1.0,)) for n in range(disks[0])], slow=False)
    sampler = make(tmp_path, clock, readers=[reader])

    ids = []
    for count in (1, 2, 1):
        disks[0] = count
        clock.advance(10_000)
        sample = Sampler.tick(sampler)
        ids.append(sample.schema_id if sample else 0)

    assert ids[0] == ids[2] != ids[1]
    assert all(sampler._spool.schema(one) for one in ids)


def test_nan_of_a_reader_is_counted_as_dropped(tmp_path: Path, clock: Clock) -> None:
    reader = Named("odd", lambda: [(SERIES, (float("inf"),))], slow=False)
    sampler = make(tmp_path, clock, readers=[reader])

    sample = sampler.sample(0, 0)

    assert sample is not None
    assert sample.points == 0
    assert sampler._vitals.dropped_values == 1
    assert math.isnan(sample.values[0])
