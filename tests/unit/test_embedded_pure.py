"""The embedded store's pure parts: ranges of time, merging rows, rings, plans, retention."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from fleetwatch_storage.embedded import EmbeddedSettings, ranges
from fleetwatch_storage.embedded.compaction import due
from fleetwatch_storage.embedded.kinds import Kept, kept
from fleetwatch_storage.embedded.layout import HotTable, Layout, SealedFile, Tier
from fleetwatch_storage.embedded.names import Field, Names
from fleetwatch_storage.embedded.plan import parts
from fleetwatch_storage.embedded.retention import estimate_bytes
from fleetwatch_storage.embedded.ring import Ring
from fleetwatch_storage.embedded.rows import Rows, by_hour, merged
from fleetwatch_storage.query import Query, Transform
from hypothesis import given
from hypothesis import strategies as st

HOUR, MIN = 3_600_000, 60_000
A, B = Field(1, "a", False), Field(2, "b", False)
some_ranges = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=6).map(ranges.united)


def inside(found: ranges.Ranges) -> set[int]:
    return {at for start, end in found for at in range(start, end)}


@given(some_ranges, some_ranges)
def test_ranges_are_sets_of_times(left: ranges.Ranges, right: ranges.Ranges) -> None:
    assert inside(ranges.common(left, right)) == inside(left) & inside(right)
    assert inside(ranges.without(left, right)) == inside(left) - inside(right)
    assert inside(ranges.united([*left, *right])) == inside(left) | inside(right)


@given(some_ranges, some_ranges)
def test_ranges_stay_sorted_and_apart(left: ranges.Ranges, right: ranges.Ranges) -> None:
    for found in (ranges.united([*left, *right]), ranges.common(left, right), ranges.without(left, right)):
        assert all(start < end for start, end in found)
        assert all(one[1] <= after[0] for one, after in itertools.pairwise(found))


def rows(ts: list[int], series: list[int], **columns: list[float]) -> Rows:
    fields = {Field(place, name, False): np.array(column) for place, (name, column) in enumerate(columns.items(), 1)}
    return Rows(np.array(ts, np.int64), np.array(series, np.int32), np.zeros(len(ts), np.int32), fields)


NAN = float("nan")


def test_rows_of_the_same_series_and_time_become_one_the_later_winning() -> None:
    block = rows([5, 5, 6, 5], [0, 0, 0, 1], a=[1, NAN, 3, 4], b=[NAN, 2, NAN, NAN])

    found, series = merged(block, np.array([0, 0, 0, 1]))

    assert list(zip(found.ts.tolist(), series.tolist(), strict=True)) == [(5, 0), (6, 0), (5, 1)]
    assert [column.tolist()[0] for column in found.fields.values()] == [1.0, 2.0]


def test_rows_that_differ_are_left_as_they_are() -> None:
    block = rows([5, 6], [0, 0], a=[1, 2])

    assert merged(block, np.array([0, 0]))[0] is block


def test_rows_are_split_by_hour() -> None:
    block = rows([HOUR - 1, 3 * HOUR, HOUR, HOUR + 5], [0, 1, 2, 3], a=[1, 2, 3, 4])

    assert [(hour, part.host.tolist()) for hour, part in by_hour(block)] == [(0, [0]), (HOUR, [2, 3]), (3 * HOUR, [1])]


def ring(depth: int, series: int) -> Ring:
    made = Ring(depth)
    made.resize(series)
    return made


def append(target: Ring, at: int, values: dict[int, float]) -> None:
    series = np.array(list(values), np.int64)
    block = Rows(
        np.full(len(series), at), series.astype(np.int32), series.astype(np.int32), {A: np.array(list(values.values()))}
    )
    target.append(block, series)


def times(target: Ring, start: int, end: int, before: int | None = None) -> list[tuple[int, int]] | None:
    every = np.arange(target.size)
    found = target.between(every, start, end, start if before is None else before, [A])
    return None if found is None else list(zip(found.series.tolist(), found.time.tolist(), strict=True))


def test_a_ring_answers_while_it_holds_all_and_says_so_when_it_does_not() -> None:
    held = ring(3, 2)
    for at in (10, 20, 30, 40):
        append(held, at, {0: 1.0} if at == 20 else {0: 1.0, 1: 2.0})

    assert times(held, 20, 50) == [(0, 20), (0, 30), (0, 40), (1, 30), (1, 40)]
    assert times(held, 10, 50) is None, "series 0 has lost what was at 10"


def test_a_ring_that_missed_a_row_vouches_only_for_what_came_after() -> None:
    held = ring(4, 1)
    append(held, 10, {0: 1.0})
    append(held, 30, {0: 1.0})
    held.missed(np.array([0]), np.array([20]))

    assert times(held, 15, 50) is None
    assert times(held, 21, 50) == [(0, 30)]
    assert times(held, 25, 50, before=5) is None, "the sample before 25 is the one it missed"


def test_a_ring_made_less_deep_keeps_the_newest_rows() -> None:
    held = ring(5, 1)
    for at in (10, 20, 30, 40, 50, 60):
        append(held, at, {0: float(at)})

    smaller = held.deepened(2)

    assert times(smaller, 50, 70) == [(0, 50), (0, 60)]
    assert times(smaller, 40, 70) is None
    assert smaller.last(np.array([0]))[A].tolist() == [60.0]
    assert times(smaller.deepened(4), 50, 70) == [(0, 50), (0, 60)]


def file(tier: Tier, start: int, end: int, part: int = 0) -> SealedFile:
    return SealedFile(f"{tier}-{start}-{end}-{part}", tier, 0, start * HOUR, end * HOUR, part, 1, 10, 100, frozenset())


SEALED = Layout().with_files((), [file(tier, hour, hour + 1) for tier in Tier for hour in range(4)])
GAUGE = Kept(count=True, spread=True, last=False, increase=False)


def planned(layout: Layout, start: int, end: int, **options: object) -> dict[str, ranges.Ranges]:
    query = Query("m", ("f",), start, end, **options)  # type: ignore[arg-type]
    return {str(part.tier): part.times for part in parts(query, [GAUGE], layout, 0, start)}


def test_a_stepped_question_uses_the_coarsest_roll_up_that_fits() -> None:
    assert planned(SEALED, 0, 4 * HOUR, step_ms=HOUR) == {"1h": [(0, 4 * HOUR)]}
    assert planned(SEALED, 0, 4 * HOUR, step_ms=10 * MIN) == {"5m": [(0, 4 * HOUR)]}
    assert planned(SEALED, 0, 4 * HOUR, step_ms=7 * MIN) == {"1m": [(0, 4 * HOUR)]}


@pytest.mark.parametrize(
    "options",
    [
        {"step_ms": 90_000},
        {"step_ms": 0},
        {"step_ms": HOUR, "aggregates": ("median",)},
        {"step_ms": MIN, "transform": Transform.DELTA},
    ],
)
def test_what_roll_ups_would_answer_differently_is_answered_from_samples(options: dict[str, object]) -> None:
    assert planned(SEALED, 0, 4 * HOUR, **options) == {"raw": [(0, 4 * HOUR)]}


def test_the_edges_of_a_range_are_samples() -> None:
    found = planned(SEALED, 90_000, 2 * HOUR + 30_000, step_ms=MIN)

    assert found == {"raw": [(90_000, 2 * MIN), (2 * HOUR, 2 * HOUR + 30_000)], "1m": [(2 * MIN, 2 * HOUR)]}


def test_an_hour_with_late_rows_is_samples_until_it_is_sealed_again() -> None:
    late = SEALED.with_table(HotTable(0, HOUR, 0, frozenset()))

    assert planned(late, 0, 4 * HOUR, step_ms=MIN) == {
        "raw": [(HOUR, 2 * HOUR)],
        "1m": [(0, HOUR), (2 * HOUR, 4 * HOUR)],
    }


def test_where_samples_are_gone_the_finest_roll_up_stands_in() -> None:
    old = Layout().with_files((), [file(Tier.FIVE_MINUTES, 0, 2), file(Tier.MINUTE, 1, 2), file(Tier.RAW, 2, 3)])

    assert planned(old, 0, 3 * HOUR) == {"raw": [(2 * HOUR, 3 * HOUR)], "1m": [(HOUR, 2 * HOUR)], "5m": [(0, HOUR)]}


def test_files_of_a_closed_day_are_brought_together_by_slice() -> None:
    files = [file(Tier.MINUTE, hour, hour + 1, part) for hour in range(26) for part in (0, 1)]
    layout = Layout().with_files((), [*files, file(Tier.RAW, 0, 1), file(Tier.RAW, 1, 2)])

    groups = due(layout, 25 * HOUR, 0)

    assert [(len(group), group[0].slice, group[-1].end_ms) for group in groups] == [
        (24, 0, 24 * HOUR),
        (24, 1, 24 * HOUR),
    ]
    assert due(layout, 24 * HOUR, HOUR) == []
    assert due(layout.with_table(HotTable(0, 3 * HOUR, 0, frozenset())), 25 * HOUR, 0) == []


def test_kinds_decide_what_is_kept() -> None:
    names = Names()
    cpu, net, app = (names.measurement(name) for name in ("cpu", "net", "app"))

    assert kept(cpu, Field(1, "usage_active", False)).aggregates == {"avg", "min", "max", "sum", "count"}
    assert kept(net, Field(1, "bytes_sent", False)).aggregates == {"count", "last"}
    assert kept(app, Field(1, "x", False)).aggregates == {"avg", "min", "max", "sum", "count", "last"}
    assert kept(app, Field(1, "x", True)).aggregates == set()


def test_the_estimate_grows_with_points_and_time() -> None:
    small = estimate_bytes(EmbeddedSettings(), 1000)
    large = estimate_bytes(EmbeddedSettings(keep_raw_s=14 * 86400.0), 2000)

    assert set(small) == {"raw", "1m", "5m", "1h", "hot"}
    assert large["raw"] == pytest.approx(4 * small["raw"], rel=1e-6)
    assert large["1m"] == pytest.approx(2 * small["1m"], rel=1e-6)


def test_names_taken_back_leave_no_trace(tmp_path: Path) -> None:
    names = Names()
    first = names.measurement("a")
    names.host_codes(["h1"])
    names.keep()

    names.host_codes(("h2", "h1"))
    names.tagset_codes(first, [(("k", "v"),)])
    names.field(first, "f", text=False)
    names.measurement("b")
    names.discard()

    assert (names.hosts, list(names.measurements), first.fields, first.tagsets) == (["h1"], ["a"], {}, [])
    assert names.field(first, "g", text=True).id == 0


def test_tag_sets_in_any_spelling_are_the_same() -> None:
    names = Names()
    one = names.measurement("m")

    codes = names.tagset_codes(
        one, [(("a", "1"), ("b", "2")), (("b", "2"), ("a", "1")), (("a", "1"), ("b", "2"), ("c", ""))]
    )

    assert codes.tolist() == [0, 0, 0]
