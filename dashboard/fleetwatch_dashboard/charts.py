"""Frames as charts want them: regular grids, columns of JSON, points of sparklines. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from fleetwatch_storage.frames import Codes, Frame, Numbers, Texts, Times

HEIGHT = 20
"""Height of a sparkline's box; its width is the number of points less one."""

SIGNIFICANT = 6
"""Digits kept of a value in a chart."""


def grid(start_ms: int, end_ms: int, step_ms: int) -> Times:
    """Starts of the steps that touch `[start_ms, end_ms)`, aligned to the epoch as stepped answers are."""
    return np.arange(start_ms // step_ms * step_ms, end_ms, step_ms, dtype=np.int64)


def place(values: Numbers, at: Times, times: Times, step_ms: int) -> Numbers:
    """Values on the grid `times`, NaN where there is none; values outside are left out."""
    out = np.full(len(times), np.nan)
    if not len(times) or not len(at):
        return out
    index = (at - times[0]) // step_ms
    inside = (index >= 0) & (index < len(times))
    out[index[inside]] = values[inside]
    return out


def matrix(values: Numbers, at: Times, row: Codes, rows: int, times: Times, step_ms: int) -> Numbers:
    """Values of many series at once, (rows, len(times)); `row` (n,) says whose a value is, negative: nobody's."""
    out = np.full((rows, len(times)), np.nan)
    if not len(times) or not len(at):
        return out
    index = (at - times[0]) // step_ms
    inside = (index >= 0) & (index < len(times)) & (row >= 0)
    out[row[inside], index[inside]] = values[inside]
    return out


def floats(column: Numbers | Texts) -> Numbers:
    """A column that is known to hold numbers, as such."""
    return np.asarray(column, np.float64)


def numbers(values: Numbers) -> list[float | None]:
    """A column as JSON has it: null for NaN and infinities, SIGNIFICANT digits."""
    finite = np.isfinite(values)
    return _nulls(_rounded(np.where(finite, values, 0.0)), finite)


def exact(values: Numbers | Texts) -> list[Any]:
    """A column as JSON has it, nothing rounded."""
    if values.dtype == object:
        return list(values)
    return _nulls(floats(values), np.isfinite(floats(values)))


def columnar(frame: Frame) -> dict[str, Any]:
    """A frame as JSON: `t` unix milliseconds, `host`, `tagset` codes into `hosts`, `tagsets`, lists by field."""
    return {
        "measurement": frame.measurement,
        "t": frame.time.tolist(),
        "host": frame.host.tolist(),
        "hosts": list(frame.hosts),
        "tagset": frame.tagset.tolist(),
        "tagsets": [dict(tags) for tags in frame.tagsets],
        "fields": {name: exact(column) for name, column in frame.fields.items()},
        "resolution_s": frame.resolution_ms / 1000,
    }


def sparkline(values: Numbers, top: float = 100.0) -> str:
    """Points of an SVG polyline over 0..top. It starts and ends outside the box, so that it is line and area in one.

    Missing values are bridged; empty when nothing is there.
    """
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return ""
    share = np.clip(values[known] / (top or 1.0), 0, 1)
    heights = np.round(HEIGHT - share * (HEIGHT - 1.5) - 0.5, 1).tolist()
    body = " ".join(f"{x},{y:g}" for x, y in zip(known.tolist(), heights, strict=True))
    end = len(values) + 1
    return f"-2,{HEIGHT + 2} -2,{heights[0]:g} {body} {end},{heights[-1]:g} {end},{HEIGHT + 2}"


def mark(value: float, top: float = 100.0) -> float:
    """Where a threshold lies in a sparkline's box."""
    return round(HEIGHT - min(value / (top or 1.0), 1.0) * (HEIGHT - 1.5) - 0.5, 1)


def top_of(values: Numbers, at_least: float) -> float:
    """The top of a sparkline that has no natural one: a tenth above its largest value."""
    finite = values[np.isfinite(values)]
    return max(at_least, float(finite.max()) * 1.1) if len(finite) else at_least


def selected(frame: Frame, fields: Sequence[str], tags: Mapping[str, str]) -> Frame | None:
    """The part of a frame that has these tags and only these fields (all when empty); None when nothing is left."""
    wanted = {name: frame.fields[name] for name in (fields or frame.fields) if name in frame.fields}
    if not wanted:
        return None
    fits = [all(dict(found).get(key, "") == value for key, value in tags.items()) for found in frame.tagsets]
    if all(fits):
        return Frame(
            frame.measurement, frame.time, frame.host, frame.hosts, frame.tagset, frame.tagsets, wanted,
            frame.resolution_ms,
        )  # fmt: skip
    return keep(frame, np.array(fits, dtype=bool)[frame.tagset], wanted)


def keep(
    frame: Frame, rows: npt.NDArray[np.bool_], fields: Mapping[str, Numbers | Texts] | None = None
) -> Frame | None:
    """The rows of a frame for which `rows` (n,) is true; None when there are none."""
    if not rows.any():
        return None
    columns = {name: column[rows] for name, column in (fields or frame.fields).items()}
    return Frame(
        frame.measurement, frame.time[rows], frame.host[rows], frame.hosts, frame.tagset[rows], frame.tagsets, columns,
        frame.resolution_ms,
    )  # fmt: skip


def _nulls(values: Numbers, finite: npt.NDArray[np.bool_]) -> list[float | None]:
    out: list[float | None] = values.tolist()
    for missing in np.flatnonzero(~finite).tolist():
        out[missing] = None
    return out


def _rounded(values: Numbers) -> Numbers:
    """Rounds to SIGNIFICANT digits. Powers of ten are only ever multiplied or divided by when they are whole numbers,
    so that the result is the double nearest to the short decimal and prints short."""
    size = np.abs(values)
    with np.errstate(divide="ignore"):
        places = SIGNIFICANT - 1 - np.floor(np.log10(np.where(size > 0, size, 1.0)))
    places = np.clip(places, -15, 15)
    up, down = 10.0 ** np.maximum(places, 0), 10.0 ** np.maximum(-places, 0)
    rounded: Numbers = np.round(values * up / down) * down / up
    return rounded
