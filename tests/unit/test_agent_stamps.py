"""Time stamps never repeat, whatever the wall clock does."""

from __future__ import annotations

from fleetwatch_agent.stamps import CLASSES, Stamps, stamp, stepped
from hypothesis import example, given
from hypothesis import strategies as st

DAY_MS = 86_400_000
STEPS = st.lists(st.integers(-3_600_000, 3_600_000), min_size=1, max_size=200)


def given_stamps(steps: list[int]) -> list[int | None]:
    state, wall, found = Stamps(), 1_700_000_000_000, []
    for step in steps:
        wall += step
        state, time = stamp(state, wall)
        found.append(time)
    return found


@given(STEPS)
@example([10_000] * 5 + [-50_000] + [10_000] * 10)
def test_no_stamp_is_given_twice_however_the_clock_jumps(steps: list[int]) -> None:
    found = [time for time in given_stamps(steps) if time is not None]

    assert len(found) == len(set(found))


@given(STEPS)
def test_a_stamp_is_at_most_half_a_class_from_the_clock(steps: list[int]) -> None:
    wall = 1_700_000_000_000
    for step, time in zip(steps, given_stamps(steps), strict=True):
        wall += step
        assert time is None or abs(time - wall) <= CLASSES // 2


def test_rounding_to_the_clock_alone_would_repeat_stamps() -> None:
    """The negative control: the same walk without classes uses old stamps again."""
    wall, seen, repeated = 1_700_000_000_000, set(), 0
    for step in [10_000] * 5 + [-50_000] + [10_000] * 10:
        wall += step
        repeated += wall in seen
        seen.add(wall)

    assert repeated > 0
    assert None not in given_stamps([10_000] * 5 + [-50_000] + [10_000] * 10)


def test_a_clock_set_back_more_often_than_there_are_classes_drops_samples() -> None:
    back = [step for _ in range(CLASSES + 1) for step in (10_000, -10_000)]

    found = given_stamps([0, *back])

    assert None in found
    assert given_stamps([0, *back, 60_000])[-1] is not None, "later time is free again"


def test_clocks_a_year_ahead_do_not_silence_the_host_for_ever() -> None:
    ahead = [step for _ in range(CLASSES) for step in (365 * DAY_MS, -365 * DAY_MS)]

    found = given_stamps([0, *ahead, 10_000, 10_000])

    assert None not in found[-2:]


def test_the_state_survives_packing_and_damage_gives_a_fresh_one() -> None:
    state, _ = stamp(Stamps(), 1_700_000_000_000)

    assert Stamps.unpack(state.pack()) == state
    assert Stamps.unpack(b"short") == Stamps()


def test_two_states_merge_to_what_neither_may_use_again() -> None:
    one, _ = stamp(Stamps(), 1_700_000_000_000)
    two, time = stamp(Stamps(), 1_600_000_000_000)

    merged = one.merged(two)

    assert merged.highest == tuple(map(max, one.highest, two.highest))
    assert stamp(merged, 1_600_000_000_000)[1] != time


def test_a_jump_of_more_than_two_seconds_is_a_step() -> None:
    assert stepped(1000, 4000)
    assert stepped(4000, 1000)
    assert not stepped(1000, 2500)
