"""The engine on its own: invariants over any history of values, gaps and errors."""

from __future__ import annotations

from dataclasses import replace

from fleetwatch_alerting.engine import (
    Change,
    Event,
    Health,
    Missing,
    Observation,
    Phase,
    Reason,
    State,
    end,
    frozen,
    shifted,
    step,
)
from fleetwatch_alerting.rules.schema import Comparison, Level, NoData, Rule, RuleType, Severity
from hypothesis import given, settings
from hypothesis import strategies as st

MINUTE = 60_000


def rule(
    *levels: Level, comparison: Comparison = Comparison.ABOVE, keep_ms: int = 0, nodata: NoData = NoData.KEEP
) -> Rule:
    return Rule(
        "R", "R", RuleType.THRESHOLD, "m.f", comparison, levels or (Level(Severity.WARNING, 80, 75),),
        keep_firing_ms=keep_ms, nodata=nodata, series_gone_ms=5 * MINUTE,
    )  # fmt: skip


def play(made: Rule, seen: list[Observation], every: int = MINUTE) -> tuple[list[State], list[Event]]:
    """States after each evaluation, and all events."""
    states, events, state = [], [], State()
    for index, one in enumerate(seen):
        state, changed = step(made, state, index * every, one)
        states.append(state)
        events.extend(changed)
    return states, events


values = st.one_of(
    st.floats(0, 100, allow_nan=False).map(Observation),
    st.sampled_from([Observation(v) for v in (74.9, 75.0, 79.9, 80.0, 80.1, 90.0, 95.1)]),
    st.sampled_from([Observation(missing=one) for one in Missing]),
    st.floats(0, 100, allow_nan=False).map(lambda value: Observation(value, allowed=False)),
)
rules = st.builds(
    lambda low, gap, more, for_a, for_b, keep, rising, nodata: rule(
        Level(Severity.WARNING, low if rising else 100 - low, low - gap if rising else 100 - low + gap, for_a),
        Level(
            Severity.CRITICAL, low + more if rising else 100 - low - more,
            low + more - gap if rising else 100 - low - more + gap, for_b,
        ),
        comparison=Comparison.ABOVE if rising else Comparison.BELOW, keep_ms=keep, nodata=nodata,
    ),
    st.integers(50, 80), st.integers(0, 10), st.integers(0, 15),
    *[st.sampled_from([0, MINUTE, 90_000, 5 * MINUTE])] * 2,
    st.sampled_from([0, 2 * MINUTE]), st.booleans(), st.sampled_from(NoData),
)  # fmt: skip
histories = st.lists(values, max_size=40)


@given(rules, histories)
@settings(max_examples=300, deadline=None)
def test_firing_and_resolved_alternate_and_levels_move_by_events_only(made: Rule, seen: list[Observation]) -> None:
    _, events = play(made, seen)

    level: Severity | None = None
    for event in events:
        match event.change:
            case Change.FIRING:
                assert level is None
                level = event.state.level
            case Change.RESOLVED:
                assert level is not None
                level = None
            case Change.ESCALATED | Change.DEESCALATED:
                assert level is not None
                assert event.previous is level
                assert event.state.level is not None
                assert (event.state.level.rank > level.rank) is (event.change is Change.ESCALATED)
                level = event.state.level


@given(rules, histories)
@settings(max_examples=300, deadline=None)
def test_a_state_says_what_its_events_said(made: Rule, seen: list[Observation]) -> None:
    states, _ = play(made, seen)

    for state in states:
        assert (state.fired_at is not None) is state.is_firing
        assert (state.level is None) is state.is_idle
        assert (state.clear_since is not None) is (state.phase is Phase.RECOVERING)
        assert not state.is_idle or (state.since == {} and state.active_at is None)
        assert state.active_at is None or state.fired_at is None or state.active_at <= state.fired_at


@given(rules, histories)
@settings(max_examples=200, deadline=None)
def test_firing_needs_a_breach_for_its_time_without_the_gaps(made: Rule, seen: list[Observation]) -> None:
    state, breaching_ms = State(), dict.fromkeys(Severity, 0)
    for index, one in enumerate(seen):
        state, events = step(made, state, index * MINUTE, one)
        if one.value is None:
            if (made.nodata is NoData.OK and one.missing is Missing.SERIES) or state.is_idle:
                breaching_ms = dict.fromkeys(Severity, 0)
            continue
        for level in made.levels:
            wrong = one.value > level.threshold if made.comparison.rising else one.value < level.threshold
            breaching_ms[level.severity] = breaching_ms[level.severity] + MINUTE if wrong and one.allowed else 0
        for event in events:
            if event.change is Change.FIRING:
                assert event.state.level is not None
                level = made.level(event.state.level)
                assert level is not None
                assert breaching_ms[level.severity] - MINUTE >= level.for_ms


@given(rules, histories, st.integers(0, 40))
@settings(max_examples=200, deadline=None)
def test_a_gap_of_any_length_delays_but_never_changes_what_happens(
    made: Rule, seen: list[Observation], gap: int
) -> None:
    known = [one for one in seen if one.value is not None]
    cut = min(gap, len(known))
    silent = [Observation(missing=Missing.HOST)] * gap

    _, without = play(made, known)
    _, within = play(made, known[:cut] + silent + known[cut:])

    assert [(one.change, one.state.level) for one in within] == [(one.change, one.state.level) for one in without]


@given(rules, histories)
@settings(max_examples=100, deadline=None)
def test_errors_never_tell_anything(made: Rule, seen: list[Observation]) -> None:
    states, _ = play(made, seen)
    if not states:
        return

    after, events = step(made, states[-1], len(states) * MINUTE, Observation(missing=Missing.ERROR))

    assert events == ()
    assert (after.phase, after.level, after.health) == (states[-1].phase, states[-1].level, Health.ERROR)


@given(rules, histories)
@settings(max_examples=100, deadline=None)
def test_the_same_history_gives_the_same_story(made: Rule, seen: list[Observation]) -> None:
    assert play(made, seen) == play(made, seen)


@given(rules, histories, st.integers(-(10**9), 10**9))
@settings(max_examples=100, deadline=None)
def test_a_moved_clock_changes_nothing_but_times(made: Rule, seen: list[Observation], by: int) -> None:
    half = len(seen) // 2
    states, _ = play(made, seen[:half])
    state = states[-1] if states else State()
    plain, moved = [], []
    other = shifted(state, by)
    for index, one in enumerate(seen[half:], start=half):
        state, some = step(made, state, index * MINUTE, one)
        other, others = step(made, other, index * MINUTE + by, one)
        plain += [event.change for event in some]
        moved += [event.change for event in others]

    assert moved == plain


def test_without_freezing_a_gap_would_fire_too_early() -> None:
    made = rule(Level(Severity.WARNING, 80, 80, 5 * MINUTE))
    seen = [Observation(95)] * 3 + [Observation(missing=Missing.SERIES)] * 3 + [Observation(95)]
    states, events = play(made, seen)

    thawed = replace(states[-1], since={Severity.WARNING: 0})
    later, would = step(made, thawed, 7 * MINUTE, Observation(95))

    assert [event.change for event in events] == [Change.PENDING]
    assert [event.change for event in would] == [Change.FIRING]
    assert later.phase is Phase.FIRING


def test_the_peak_is_the_worst_value_and_the_value_is_the_one_now() -> None:
    made = rule(keep_ms=2 * MINUTE)

    _, events = play(made, [Observation(v) for v in (81, 99, 85, 70, 60, 50)])

    resolved = events[-1].state
    assert (resolved.value_at_fire, resolved.peak, resolved.value) == (81, 99, 50)


def test_below_has_its_peak_at_the_bottom() -> None:
    made = rule(Level(Severity.WARNING, 10, 15), comparison=Comparison.BELOW)

    _, events = play(made, [Observation(v) for v in (9, 2, 5, 20)])

    assert events[-1].state.peak == 2


def test_at_least_is_left_just_below_its_threshold() -> None:
    made = rule(Level(Severity.WARNING, 3, 3), comparison=Comparison.AT_LEAST)

    _, events = play(made, [Observation(v) for v in (3, 3, 2.9)])

    assert [event.change for event in events] == [Change.FIRING, Change.RESOLVED]


def test_a_healthy_value_may_stand_for_a_missing_one() -> None:
    made = rule(nodata=NoData.OK)

    states, events = play(made, [Observation(90), Observation(missing=Missing.SERIES)])

    assert [event.change for event in events] == [Change.FIRING, Change.RESOLVED]
    assert states[-1].health is Health.NODATA


def test_an_alert_ends_from_outside_only_if_it_fired() -> None:
    firing, pending = play(rule(), [Observation(90)])[0][0], State(phase=Phase.PENDING, level=Severity.WARNING)

    ended, events = end(firing, MINUTE, Reason.RULE_REMOVED)
    quiet, nothing = end(pending, MINUTE, Reason.RULE_REMOVED)

    assert ended.is_idle
    assert quiet.is_idle
    assert [(event.change, event.reason) for event in events] == [(Change.RESOLVED, Reason.RULE_REMOVED)]
    assert nothing == ()


def test_frozen_moves_only_the_timers() -> None:
    state = State(Phase.FIRING, Severity.WARNING, since={Severity.WARNING: 5}, active_at=5, fired_at=6, clear_since=7)

    moved = frozen(state, 10)

    assert (moved.since, moved.clear_since) == ({Severity.WARNING: 15}, 17)
    assert (moved.active_at, moved.fired_at) == (5, 6)
