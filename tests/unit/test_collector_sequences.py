"""Sequence numbers: what is acknowledged is never more than what was settled."""

from __future__ import annotations

from fleetwatch_collector.completeness import Counts, Spool
from fleetwatch_collector.sequences import MOST_RANGES, Acknowledged, Ranges
from fleetwatch_storage.hosts import Completeness
from hypothesis import given, settings
from hypothesis import strategies as st

PAIRS = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 5)), max_size=40)


@settings(deadline=None)
@given(
    added=PAIRS,
    removed=st.lists(st.integers(1, 45), max_size=10),
    asked=st.tuples(st.integers(1, 45), st.integers(0, 20)),
)
def test_ranges_are_sets_of_numbers(added: list[tuple[int, int]], removed: list[int], asked: tuple[int, int]) -> None:
    ranges, model = Ranges(), set[int]()

    for first, more in added:
        numbers = set(range(first, first + more + 1))
        assert ranges.add(first, first + more) == len(numbers - model)
        model |= numbers
    for number in removed:
        assert ranges.remove(number) == (number in model)
        model.discard(number)

    first, last = asked[0], asked[0] + asked[1]
    inside = {number for number in model if first <= number <= last}
    assert ranges.count(first, last) == len(inside)
    missing = {number for start, end in ranges.missing(first, last) for number in range(start, end + 1)}
    assert missing == set(range(first, last + 1)) - inside
    assert [number in ranges for number in range(60)] == [number in model for number in range(60)]
    assert ranges.last == max(model, default=0)
    run = first
    while run in model:
        run += 1
    assert ranges.run_from(first) == run - 1


@settings(deadline=None)
@given(seqs=st.permutations(list(range(5, 30))), lost=st.lists(st.integers(5, 29), max_size=4), every=st.integers(1, 5))
def test_an_acknowledgement_covers_exactly_what_is_settled(seqs: list[int], lost: list[int], every: int) -> None:
    acknowledged, told = Acknowledged(5), set[int]()
    settled = set(range(5))

    for place, seq in enumerate(seqs):
        if seq in lost:
            acknowledged.add_range(seq, seq)
        else:
            acknowledged.add(seq)
        settled.add(seq)
        if place % every == 0:
            told |= {*acknowledged.take_also(), *range(acknowledged.up_to + 1)}
            assert told <= settled
            assert settled - told <= set(lost)

    assert acknowledged.up_to == 29


def test_many_gaps_are_forgotten_and_never_invented() -> None:
    acknowledged = Acknowledged(1)

    for seq in range(3, 3 * MOST_RANGES, 2):
        acknowledged.add(seq)
    acknowledged.add(1)

    assert acknowledged.up_to == 1
    acknowledged.add(2)
    assert acknowledged.up_to in (2, 3)


def _total(counts: Counts) -> tuple[int, int, int, int, int]:
    return counts.expected, counts.received, counts.duplicates, counts.late, counts.lost


def test_a_spool_is_counted_from_where_it_was_first_seen() -> None:
    counts = Counts()
    spool = Spool.first_seen(first_unacked=11, next_seq=14)

    spool.announced(11, 14, counts)
    for seq in (13, 11, 11, 12, 14):
        spool.taken(seq, counts)

    assert _total(counts) == (4, 4, 1, 2, 0)
    assert spool.up_to == 14


def test_what_an_agent_forgot_was_acknowledged_unless_it_says_lost() -> None:
    counts = Counts()
    spool = Spool(up_to=10)

    spool.lost(12, 13, counts)
    spool.announced(first_unacked=16, next_seq=18, counts=counts)

    assert _total(counts) == (7, 3, 0, 0, 2)
    assert spool.up_to == 15


def test_a_lost_range_is_news_once_and_what_comes_after_all_was_not_lost() -> None:
    counts = Counts()
    spool = Spool.first_seen(1, 1)

    first = spool.lost(1, 10, counts)
    again = spool.lost(3, 10, counts)
    spool.taken(5, counts)
    spool.taken(5, counts)

    assert (first, again) == (10, 0)
    assert _total(counts) == (10, 1, 1, 0, 9)


def test_counts_never_leave_what_a_database_holds() -> None:
    counts = Counts(expected=2**63, lost=-5)

    total = counts.added_to(Completeness(expected=2**61, lost=1))

    assert (total.expected, total.lost) == (2**62, 0)
    assert counts == Counts()
