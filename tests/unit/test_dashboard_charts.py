"""Frames into grids, JSON columns and sparklines."""

from __future__ import annotations

import json

import numpy as np
from fleetwatch_dashboard import charts, forecast, latest
from fleetwatch_storage.frames import Frame
from hypothesis import given
from hypothesis import strategies as st

from tests.support.store_rows import Row, frame


def test_a_grid_starts_on_a_step_and_ends_before_the_end() -> None:
    assert charts.grid(1_005, 4_000, 1_000).tolist() == [1_000, 2_000, 3_000]


def test_values_stand_on_their_step_and_the_rest_is_missing() -> None:
    times = charts.grid(0, 5_000, 1_000)

    placed = charts.place(np.array([1.0, 3.0, 9.0]), np.array([0, 2_000, 7_000]), times, 1_000)

    assert charts.numbers(placed) == [1.0, None, 3.0, None, None]


def test_many_series_are_placed_at_once() -> None:
    times = charts.grid(0, 2_000, 1_000)
    rows = np.array([0, 1, -1], np.int32)

    placed = charts.matrix(np.array([1.0, 2.0, 3.0]), np.array([0, 1_000, 0]), rows, 2, times, 1_000)

    assert [charts.numbers(row) for row in placed] == [[1.0, None], [None, 2.0]]


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=20))
def test_columns_are_valid_json_within_six_digits(values: list[float]) -> None:
    column = charts.numbers(np.array(values, np.float64))

    assert len(json.loads(json.dumps(column, allow_nan=False))) == len(values)
    for before, after in zip(values, column, strict=True):
        if after is not None and 1e-10 < abs(before) < 1e15:
            assert abs(after - before) <= abs(before) * 1e-5


def test_rounded_values_print_short() -> None:
    column = charts.numbers(np.array([0.1 + 0.2, 12.345678, 123456789.0, 1 / 3]))

    assert json.dumps(column) == "[0.3, 12.3457, 123457000.0, 0.333333]"


def test_a_sparkline_starts_and_ends_outside_its_box() -> None:
    points = charts.sparkline(np.array([0.0, 50.0, 100.0])).split()

    assert points == ["-2,22", "-2,19.5", "0,19.5", "1,10.2", "2,1", "4,1", "4,22"]


def test_a_sparkline_of_nothing_is_empty_and_values_beyond_the_top_are_cut() -> None:
    assert charts.sparkline(np.array([np.nan, np.nan])) == ""
    assert charts.sparkline(np.array([500.0])).split()[2] == "0,1"


def test_a_selection_keeps_fields_and_series_and_nothing_else() -> None:
    stored = frame(
        "cpu", [Row("a", 1, {"x": 1.0, "y": 2.0}, {"cpu": "cpu0"}), Row("a", 1, {"x": 3.0}, {"cpu": "cpu-total"})]
    )

    part = charts.selected(stored, ["x"], {"cpu": "cpu-total"})

    assert part is not None
    assert charts.columnar(part)["fields"] == {"x": [3.0]}
    assert charts.selected(stored, ["z"], {}) is None
    assert charts.selected(stored, [], {"cpu": "cpu9"}) is None


def test_text_columns_pass_unchanged() -> None:
    stored = frame("process_top", [Row("a", 1, {"name": "</script>"}), Row("b", 1, {"name": None})])

    assert charts.columnar(stored)["fields"]["name"] == ["</script>", None]


def test_the_largest_value_of_a_host_counts_only_series_that_still_send() -> None:
    rows = [
        Row("a", 1_000_000, {"used_percent": 40.0}, {"path": "/"}),
        Row("a", 1_000_000, {"used_percent": 60.0}, {"path": "/data"}),
        Row("a", 100_000, {"used_percent": 99.0}, {"path": "/mnt/unplugged"}),
        Row("b", 5_000, {"used_percent": 10.0}, {"path": "/"}),
    ]

    found = latest.largest(frame("disk", rows), "used_percent", "path")

    assert {host: (one.name, one.value) for host, one in found.items()} == {"a": ("/data", 60.0), "b": ("/", 10.0)}


def test_the_busiest_process_is_one_of_the_newest_table() -> None:
    rows = [
        Row("a", 20_000, {"cpu_percent": 5.0, "name": "now"}, {"rank": "1"}),
        Row("a", 10_000, {"cpu_percent": 90.0, "name": "gone"}, {"rank": "2"}),
    ]
    table = frame("process_top", rows)

    found = latest.top_rows(table, "cpu_percent")

    assert latest.text(table, "name", found["a"]) == "now"


def test_the_growth_of_a_disk_is_not_moved_by_a_cleanup() -> None:
    at = np.arange(0, 7 * forecast.DAY_MS, forecast.DAY_MS // 4, dtype=np.int64)
    used = at / forecast.DAY_MS * 5.0
    used[12:14] -= 40

    assert abs((forecast.growth_per_day(at, used) or 0) - 5.0) < 0.01
    assert forecast.days_until_full(50.0, 5.0) == 10.0
    assert forecast.days_until_full(50.0, -1.0) is None


def test_less_than_a_day_of_history_says_nothing_about_a_disk() -> None:
    at = np.arange(0, forecast.DAY_MS, 3_600_000, dtype=np.int64)

    assert forecast.growth_per_day(at, at * 1.0) is None


def test_an_empty_frame_has_no_values() -> None:
    none: Frame | None = None

    assert latest.column(none, "x") == {}
    assert latest.largest(none, "x", "path") == {}
    assert latest.top_rows(none, "x") == {}
