"""An answer of a store as table rows, JSON and CSV. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from fleetwatch_proto.catalog import BY_NAME
from fleetwatch_storage.frames import Frame, Numbers, Series, Texts, Times, split

from fleetwatch.console import tag_text
from fleetwatch.sparkline import sparkline

SUMMARY_COLUMNS = ("host", "tags", "metric", "last", "min", "avg", "max", "")
SUFFIXES = {
    "percent": " %",
    "seconds": " s",
    "milliseconds": " ms",
    "microseconds": " µs",
    "celsius": " °C",
    "watts": " W",
}
BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


def summary_rows(frame: Frame) -> list[list[str]]:
    """One row per series and column: who, last, smallest, mean, largest, and a sparkline."""
    return [_summary(frame.measurement, one, name) for one in split(frame) for name in one.fields]


def _summary(measurement: str, series: Series, name: str) -> list[str]:
    head = [series.host, tag_text(series.tags), f"{measurement}.{name}"]
    values = series.fields[name]
    if values.dtype == object:
        return [*head, str(values[-1]), "", "", "", ""]
    unit = unit_of(measurement, name)
    there = values[~np.isnan(values)]
    if not len(there):
        return [*head, "", "", "", "", ""]
    figures = (there[-1], there.min(), there.mean(), there.max())
    return [*head, *(with_unit(float(value), unit) for value in figures), sparkline(evenly(series.time, values))]


def evenly(time: Times, values: Numbers | Texts) -> list[float]:
    """The values with NaN where a step is missing, so that a gap is seen as a gap."""
    if len(time) < 3:
        return [float(value) for value in values]
    width = int(np.median(np.diff(time))) or 1
    index = np.round((time - time[0]) / width).astype(np.int64)
    if index[-1] > 100_000:
        return [float(value) for value in values]
    line = np.full(int(index[-1]) + 1, np.nan)
    line[index] = values
    return [float(value) for value in line]


def unit_of(measurement: str, column: str) -> str:
    """The catalogue's unit of a column (`field` or `field:aggregate`); "" when unknown."""
    known = BY_NAME.get(measurement)
    field = known.field(column.partition(":")[0]) if known else None
    return field.unit if field else ""


def with_unit(value: float, unit: str) -> str:
    """A figure as people read it."""
    if unit == "bytes":
        return _bytes(value)
    number = f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
    return number + SUFFIXES.get(unit, "")


def _bytes(value: float) -> str:
    power = min(len(BINARY) - 1, int(math.log(abs(value), 1024))) if abs(value) >= 1 else 0
    return f"{value / 1024**power:.4g} {BINARY[power]}B"


def csv_rows(frame: Frame) -> tuple[list[str], list[list[object]]]:
    """Header and one row per time and series; times are RFC 3339 in UTC, absent values are empty."""
    names = list(frame.fields)
    keys = sorted({key for tags in frame.tagsets for key, _ in tags})
    rows = [
        [rfc3339(int(time)), one.host, *(dict(one.tags).get(key, "") for key in keys), *_cells(one, names, index)]
        for one in split(frame)
        for index, time in enumerate(one.time)
    ]
    return ["time", "host", *keys, *names], rows


def _cells(series: Series, names: Sequence[str], index: int) -> list[object]:
    return ["" if (value := plain(series.fields[name][index])) is None else value for name in names]


def to_json(frame: Frame) -> dict[str, object]:
    """The whole answer; times are unix milliseconds, absent values null."""
    return {
        "measurement": frame.measurement,
        "resolution_ms": frame.resolution_ms,
        "units": {name: unit_of(frame.measurement, name) for name in frame.fields},
        "series": [
            {
                "host": one.host,
                "tags": dict(one.tags),
                "time_ms": [int(time) for time in one.time],
                "values": {name: [plain(value) for value in column] for name, column in one.fields.items()},
            }
            for one in split(frame)
        ],
    }


def plain(value: Any) -> float | str | None:
    """A cell as JSON has it."""
    if value is None or isinstance(value, str):
        return value
    return None if math.isnan(value) else float(value)


def rfc3339(ms: int) -> str:
    """`2026-01-31T12:00:00Z`, with milliseconds where there are any."""
    form = "milliseconds" if ms % 1000 else "seconds"
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec=form).replace("+00:00", "Z")
