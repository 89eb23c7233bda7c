"""Answers as people and programs read them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from fleetwatch.answer import csv_rows, evenly, rfc3339, summary_rows, to_json, with_unit
from fleetwatch.console import printable
from fleetwatch.sparkline import sparkline
from fleetwatch_storage.frames import Frame

MINUTE_MS = 60_000
START_MS = 1_767_225_600_000


def frame() -> Frame:
    """Two hosts, three minutes; the second host has no value in the middle."""
    return Frame(
        measurement="mem",
        time=np.array([0, 1, 2, 0, 2], np.int64) * MINUTE_MS + START_MS,
        host=np.array([0, 0, 0, 1, 1], np.int32),
        hosts=("a", "b"),
        tagset=np.zeros(5, np.int32),
        tagsets=((("site", "x"),),),
        fields={"used": np.array([1024.0, 2048.0, 3072.0, 1.0, math.nan])},
    )


def test_a_series_is_summed_up_with_the_catalogues_unit() -> None:
    first, second = summary_rows(frame())

    assert first == ["a", "site=x", "mem.used", "3 KiB", "1 KiB", "2 KiB", "3 KiB", "▁▅█"]
    assert second[3] == "1 B"


def test_csv_has_a_column_per_tag_and_field_and_leaves_absent_values_empty() -> None:
    header, rows = csv_rows(frame())

    assert header == ["time", "host", "site", "used"]
    assert rows[0] == ["2026-01-01T00:00:00Z", "a", "x", 1024.0]
    assert rows[-1] == ["2026-01-01T00:02:00Z", "b", "x", ""]


def test_json_has_null_where_there_is_no_value() -> None:
    found = json.loads(json.dumps(to_json(frame()), allow_nan=False))

    assert found["units"] == {"used": "bytes"}
    assert found["series"][1] == {
        "host": "b",
        "tags": {"site": "x"},
        "time_ms": [START_MS, START_MS + 2 * MINUTE_MS],
        "values": {"used": [1.0, None]},
    }


def test_a_missing_step_is_a_gap_in_the_line() -> None:
    time = np.array([0, 10, 20, 50], np.int64)

    line = evenly(time, np.array([1.0, 2.0, 3.0, 4.0]))

    assert [math.isnan(value) for value in line] == [False, False, False, True, True, False]
    assert sparkline(line) == "▁▃▆  █"


def test_a_spike_survives_in_a_narrow_sparkline() -> None:
    values = [0.0] * 1000
    values[517] = 9.0

    assert sparkline(values, width=10).count("█") == 1


@pytest.mark.parametrize(("values", "line"), [([], ""), ([math.nan], ""), ([5.0, 5.0], "▁▁"), ([0.0, 1.0], "▁█")])
def test_sparklines_of_little(values: list[float], line: str) -> None:
    assert sparkline(values) == line


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (12.345, "percent", "12.35 %"),
        (0.0, "bytes", "0 B"),
        (1536.0, "bytes", "1.5 KiB"),
        (-2048.0, "bytes", "-2 KiB"),
        (1_234_567.0, "", "1,234,567"),
    ],
)
def test_figures_with_units(value: float, unit: str, text: str) -> None:
    assert with_unit(value, unit) == text


def test_times_have_milliseconds_only_where_there_are_any() -> None:
    assert rfc3339(START_MS) == "2026-01-01T00:00:00Z"
    assert rfc3339(START_MS + 5) == "2026-01-01T00:00:00.005Z"


def test_a_host_name_cannot_move_our_cursor() -> None:
    assert printable("web\x1b[2J\n1") == "web\ufffd[2J\ufffd1"
