"""Reading the last rows of every host: one value per host out of frames that hold many series. Pure, vectorised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from fleetwatch_storage.frames import Codes, Frame, Numbers

MEASUREMENTS = ("cpu", "mem", "swap", "system", "disk", "diskio", "temp", "pressure", "process_top", "systemd_units")
"""What the fleet table and the tiles are made from."""

FRESH_MS = 90_000
"""A series whose last row is this much older than its host's newest one is gone: unmounted, unplugged, ended."""


@dataclass(frozen=True, slots=True)
class Fullest:
    """The most loaded instance of a host: its tag value and the value."""

    name: str
    value: float


def by_measurement(frames: Iterable[Frame]) -> dict[str, Frame]:
    """Frames by their measurement."""
    return {frame.measurement: frame for frame in frames if len(frame)}


def newest(frames: Iterable[Frame]) -> dict[str, int]:
    """The time of every host's newest row, unix milliseconds of the host's clock."""
    found: dict[str, int] = {}
    for frame in frames:
        times = np.zeros(len(frame.hosts), np.int64)
        np.maximum.at(times, frame.host, frame.time)
        for host, at in zip(frame.hosts, times.tolist(), strict=True):
            if at > found.get(host, 0):
                found[host] = at
    return found


def column(frame: Frame | None, field: str, tags: Mapping[str, str] | None = None) -> dict[str, float]:
    """The value of a field by host, from the series with these tags."""
    values = _numbers(frame, field)
    if frame is None or values is None:
        return {}
    rows = np.isfinite(values) & tagged(frame, tags or {})
    return _by_host(frame, values, np.flatnonzero(rows))


def largest(frame: Frame | None, field: str, tag: str, skip: Sequence[str] = ()) -> dict[str, Fullest]:
    """The largest value of a field over a host's live series, with the value of `tag` there."""
    values = _numbers(frame, field)
    if frame is None or values is None:
        return {}
    names = [dict(tags).get(tag, "") for tags in frame.tagsets]
    wanted = np.array([name not in skip for name in names], dtype=bool)
    rows = np.flatnonzero(np.isfinite(values) & fresh(frame) & wanted[frame.tagset])
    order = rows[np.lexsort((values[rows], frame.host[rows]))]
    return {
        frame.hosts[int(frame.host[row])]: Fullest(names[int(frame.tagset[row])], float(values[row]))
        for row in _last_of_each(frame.host, order)
    }


def top_rows(frame: Frame | None, field: str) -> dict[str, int]:
    """The row with the largest value of a field by host."""
    values = _numbers(frame, field)
    if frame is None or values is None:
        return {}
    rows = np.flatnonzero(np.isfinite(values) & fresh(frame, 0))
    order = rows[np.lexsort((values[rows], frame.host[rows]))]
    return {frame.hosts[int(frame.host[row])]: row for row in _last_of_each(frame.host, order)}


def fresh(frame: Frame, within_ms: int = FRESH_MS) -> npt.NDArray[np.bool_]:
    """Which rows (n,) are about as new as the newest row of their host."""
    times = np.zeros(len(frame.hosts), np.int64)
    np.maximum.at(times, frame.host, frame.time)
    fits: npt.NDArray[np.bool_] = frame.time >= times[frame.host] - within_ms
    return fits


def tagged(frame: Frame, tags: Mapping[str, str]) -> npt.NDArray[np.bool_]:
    """Which rows (n,) belong to series with these tags."""
    fits = [all(dict(found).get(key, "") == value for key, value in tags.items()) for found in frame.tagsets]
    rows: npt.NDArray[np.bool_] = np.array(fits, dtype=bool)[frame.tagset]
    return rows


def of_host(frame: Frame | None, host: str) -> list[int]:
    """Live rows of one host, in the frame's order."""
    if frame is None or host not in frame.hosts:
        return []
    code = list(frame.hosts).index(host)
    rows: list[int] = np.flatnonzero((frame.host == code) & fresh(frame)).tolist()
    return rows


def number(frame: Frame, field: str, row: int) -> float | None:
    """One value; None where there is none."""
    values = _numbers(frame, field)
    return float(values[row]) if values is not None and np.isfinite(values[row]) else None


def text(frame: Frame, field: str, row: int) -> str:
    """One text; "" where there is none."""
    values = frame.fields.get(field)
    return str(values[row]) if values is not None and values.dtype == object and values[row] is not None else ""


def _numbers(frame: Frame | None, field: str) -> Numbers | None:
    values = frame.fields.get(field) if frame is not None else None
    return None if values is None or values.dtype == object else np.asarray(values, np.float64)


def _by_host(frame: Frame, values: Numbers, rows: npt.NDArray[np.intp]) -> dict[str, float]:
    hosts = frame.hosts
    return {hosts[code]: value for code, value in zip(frame.host[rows].tolist(), values[rows].tolist(), strict=True)}


def _last_of_each(codes: Codes, order: npt.NDArray[np.intp]) -> list[int]:
    if not len(order):
        return []
    ends = np.append(np.flatnonzero(np.diff(codes[order])), len(order) - 1)
    last: list[int] = order[ends].tolist()
    return last
