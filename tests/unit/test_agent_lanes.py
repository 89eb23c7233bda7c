"""Which batch goes next: fresh ones first, history beside them, what was put off when it is due."""

from __future__ import annotations

from fleetwatch_agent.sender.lanes import LIVE_BATCHES, Lanes
from hypothesis import given
from hypothesis import strategies as st


class Waiting:
    """The waiting batches of a spool."""

    def __init__(self, seqs: list[int]) -> None:
        self.seqs = seqs

    def after(self, seq: int, limit: int) -> list[int]:
        return [one for one in self.seqs if one > seq][:limit]

    def lanes(self) -> Lanes:
        return Lanes(self.seqs[::-1][:LIVE_BATCHES], self.after)


def drain(lanes: Lanes, now: float = 0.0) -> list[tuple[int, bool]]:
    found = []
    while taken := lanes.take(now):
        found.append(taken)
    return found


def test_after_an_outage_fresh_batches_go_newest_first_and_history_takes_every_fourth_turn() -> None:
    lanes = Waiting(list(range(1, 1001))).lanes()

    order = drain(lanes)

    assert [seq for seq, _ in order[:8]] == [1000, 999, 998, 1, 997, 996, 995, 2]
    assert [backfill for _, backfill in order[:4]] == [False, False, False, True]
    assert sorted(seq for seq, _ in order) == list(range(1, 1001))
    assert sum(not backfill for _, backfill in order) == LIVE_BATCHES


def test_batches_closed_meanwhile_overtake_history() -> None:
    waiting = Waiting(list(range(1, 101)))
    lanes = waiting.lanes()
    for _ in range(60):
        lanes.take(0.0)
    waiting.seqs.append(101)
    lanes.refresh()

    soon = [lanes.take(0.0) for _ in range(2)]

    assert (101, False) in soon


def test_a_batch_put_off_comes_back_when_it_is_due() -> None:
    lanes = Waiting([1]).lanes()
    drain(lanes)
    lanes.again(1, 5.0)

    assert lanes.take(4.9) is None
    assert lanes.next_due_s() == 5.0
    assert lanes.take(5.0) == (1, False)
    assert lanes.next_due_s() is None


def test_an_empty_spool_has_nothing_and_then_what_comes() -> None:
    waiting = Waiting([])
    lanes = waiting.lanes()
    waiting.seqs += [1, 2]
    lanes.refresh()

    assert drain(lanes) == [(2, False), (1, False)]


@given(st.lists(st.integers(1, 500), unique=True), st.lists(st.integers(501, 600), unique=True), st.integers(0, 50))
def test_every_batch_is_handed_out_exactly_once(before: list[int], later: list[int], taken: int) -> None:
    waiting = Waiting(sorted(before))
    lanes = waiting.lanes()
    found = [one for _ in range(taken) if (one := lanes.take(0.0))]
    waiting.seqs = sorted(before + later)
    lanes.refresh()

    found += drain(lanes)

    assert sorted(seq for seq, _ in found) == sorted(before + later)
