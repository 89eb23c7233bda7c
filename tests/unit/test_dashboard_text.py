"""Numbers, lengths of time and times as people read and write them."""

from __future__ import annotations

import math

import pytest
from fleetwatch_dashboard import times, units
from fleetwatch_dashboard.problems import Problem
from hypothesis import given
from hypothesis import strategies as st

NOW_MS = 1_795_168_800_000


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (97.4, "percent", "97.4 %"),
        (0, "bytes", "0"),
        (1023, "bytes", "1\u2009023 B"),
        (9.5 * 2**30, "bytes", "9.5 GiB"),
        (44.2 * 2**20, "bytes/s", "44.2 MiB/s"),
        (412_000_000, "bit/s", "412 Mbit/s"),
        (1000, "mbit", "1 Gbit/s"),
        (71, "celsius", "71 °C"),
        (0.92, "milliseconds", "0.92 ms"),
        (1079.3, "percent", "1\u2009079 %"),
        (2_500_000, "count", "2.5 M"),
        (90, "seconds", "1 m 30 s"),
        (0.25, "seconds", "250 ms"),
        (None, "bytes", "–"),
        (math.nan, "percent", "–"),
        (math.inf, "", "–"),
    ],
)
def test_values_are_written_with_their_unit(value: float | None, unit: str, text: str) -> None:
    assert str(units.shown(value, unit)) == text


@given(st.floats(min_value=1, max_value=1e18))
def test_a_size_in_bytes_never_shows_more_than_four_digits_before_its_unit(value: float) -> None:
    text = units.shown(value, "bytes").text

    assert float(text.replace("\u2009", "")) < 1024


def test_a_share_just_below_everything_is_not_rounded_up() -> None:
    assert units.percent(99.7).text == "99"
    assert units.completeness(0.999999) == "99.99 %"
    assert units.completeness(1.0) == "100.00 %"


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0 s"),
        (59_400, "59 s"),
        (850_000, "14 m 10 s"),
        (5_520_000, "1 h 32 m"),
        (41 * 86_400_000, "41 d"),
        (-5, "0 s"),
    ],
)
def test_lengths_of_time_have_two_units(milliseconds: int, text: str) -> None:
    assert times.length(milliseconds) == text


def test_short_lengths_leave_seconds_out_once_there_are_minutes() -> None:
    assert times.brief(850_000) == "14 m"
    assert times.brief(42_000) == "42 s"


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("now", NOW_MS),
        ("-1h", NOW_MS - 3_600_000),
        ("1795168800", NOW_MS),
        ("1795168800.5", NOW_MS + 500),
        ("2026-11-20T10:00:00Z", NOW_MS),
        ("2026-11-20T11:00:00+01:00", NOW_MS),
        ("2026-11-20T11:00:00 01:00", NOW_MS),
        ("2026-11-20T10:00:00", NOW_MS),
    ],
)
def test_moments_are_understood_as_programs_write_them(text: str, at_ms: int) -> None:
    assert times.moment(text, NOW_MS, "from") == at_ms


@pytest.mark.parametrize(
    "text", ["", "yesterday", "-1", "-1y", "1e9", "-99999d", "9999999999", "<script>", "2026-13-01T00:00:00Z"]
)
def test_anything_else_is_refused_by_the_name_of_its_field(text: str) -> None:
    with pytest.raises(Problem) as refused:
        times.moment(text, NOW_MS, "from")

    assert refused.value.status == 400
    assert refused.value.document()["errors"][0]["field"] == "from"


def test_a_range_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(Problem, match="later than from"):
        times.span_of(now_ms=NOW_MS, start="now", end="-1h")


def test_a_span_is_the_link_it_came_from() -> None:
    moving = times.span_of(now_ms=NOW_MS, relative="6h")
    still = times.span_of(now_ms=NOW_MS, start="1795160000", end="1795163600")

    assert (moving.query, moving.label) == ("range=6h", "6 h")
    assert (still.query, still.label) == ("from=1795160000&to=1795163600", "1 h")


@given(st.integers(1000, times.MAX_SPAN_MS), st.integers(1, 2000))
def test_steps_never_give_more_points_than_asked_for(span_ms: int, points: int) -> None:
    step = times.step_for(span_ms, points)

    assert span_ms / step <= points
