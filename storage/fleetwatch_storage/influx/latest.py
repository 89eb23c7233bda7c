"""The last row of every series, kept in memory from what is written. Thread-safe."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from fleetwatch_storage import reduce
from fleetwatch_storage.frames import Codes, Frame, Numbers, TagSet, Texts
from fleetwatch_storage.lineprotocol.encode import writable_tags

MAX_AGE_MS = 3_600_000
_FOLD_ROWS = 200_000


class LatestRows:
    """Written frames are only gathered; they are folded into last rows when somebody asks, or when they get many."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[str, Frame] = {}
        self._new: dict[str, list[Frame]] = {}

    def add(self, frames: Iterable[Frame]) -> None:
        """Takes in rows; the arrays are copied."""
        with self._lock:
            for frame in frames:
                if len(frame):
                    self._new.setdefault(frame.measurement, []).append(_copy(frame))
                    if sum(map(len, self._new[frame.measurement])) > _FOLD_ROWS:
                        self._fold(frame.measurement)

    def latest(self, measurements: Sequence[str], now_ms: int) -> list[Frame]:
        """Last rows of these measurements (all when empty), none older than an hour, by measurement."""
        with self._lock:
            for name in list(self._new):
                self._fold(name)
            names = measurements or sorted(self._last)
            found = [_younger(self._last[name], now_ms - MAX_AGE_MS) for name in names if name in self._last]
            for frame in found:
                self._last[frame.measurement] = frame
        return [frame for frame in found if len(frame)]

    def _fold(self, measurement: str) -> None:
        rows = [self._last[measurement]] if measurement in self._last else []
        self._last[measurement] = last_rows([*rows, *self._new.pop(measurement)])


def _copy(frame: Frame) -> Frame:
    fields = {name: column.copy() for name, column in frame.fields.items()}
    return replace(
        frame,
        time=frame.time.copy(),
        host=frame.host.copy(),
        tagset=frame.tagset.copy(),
        hosts=tuple(frame.hosts),
        tagsets=tuple(map(writable_tags, frame.tagsets)),
        fields=fields,
    )


def _younger(frame: Frame, oldest_ms: int) -> Frame:
    keep = np.flatnonzero(frame.time >= oldest_ms)
    return frame if len(keep) == len(frame) else reduce.ordered(reduce.take(frame, keep))


def last_rows(frames: Sequence[Frame]) -> Frame:
    """The last row of every series of frames of one measurement; rows of the same time merged, later ones winning."""
    rows = united(frames)
    rows = reduce.take(rows, np.flatnonzero(np.logical_or.reduce(list(map(reduce.is_present, rows.fields.values())))))
    if not len(rows):
        return rows
    rows = reduce.take(rows, np.lexsort((rows.time, rows.tagset, rows.host)))  # stable: what came later stays behind
    starts = reduce.run_starts(rows.host, rows.tagset)
    counts = np.diff(starts, append=len(rows))
    at_end = reduce.take(rows, np.flatnonzero(rows.time == np.repeat(rows.time[starts + counts - 1], counts)))
    starts = reduce.run_starts(at_end.host, at_end.tagset)
    run = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(at_end)))
    fields = {name: _last_present(column, run, len(starts)) for name, column in at_end.fields.items()}
    return reduce.ordered(replace(reduce.take(replace(at_end, fields={}), starts), fields=fields))


def _last_present(column: Numbers | Texts, run: reduce.Runs, runs: int) -> Numbers | Texts:
    there = np.flatnonzero(reduce.is_present(column))
    result: Numbers | Texts = np.full(runs, None, object) if column.dtype == object else np.full(runs, np.nan)
    result[run[there]] = column[there]
    return result


def united(frames: Sequence[Frame]) -> Frame:
    """The rows of frames of one measurement one after the other; fields that one of them has not are absent there."""
    hosts: dict[str, int] = {}
    tagsets: dict[TagSet, int] = {}
    host = [_recoded([hosts.setdefault(name, len(hosts)) for name in one.hosts], one.host) for one in frames]
    tagset = [_recoded([tagsets.setdefault(tags, len(tagsets)) for tags in one.tagsets], one.tagset) for one in frames]
    names = dict.fromkeys(name for one in frames for name in one.fields)
    return Frame(
        frames[0].measurement,
        np.concatenate([one.time for one in frames]),
        np.concatenate(host),
        tuple(hosts),
        np.concatenate(tagset),
        tuple(tagsets),
        {name: _united_column(name, frames) for name in names},
    )


def _recoded(table: list[int], codes: Codes) -> Codes:
    return np.array(table, np.int32)[codes] if len(codes) else codes


def _united_column(name: str, frames: Sequence[Frame]) -> Numbers | Texts:
    text = any(name in one.fields and one.fields[name].dtype == object for one in frames)
    if text:
        texts: Texts = np.concatenate([_texts(one, name) for one in frames])
        return texts
    none: Numbers = np.empty(0, np.float64)
    return np.concatenate([one.fields.get(name, np.full(len(one), np.nan)) for one in frames] or [none])


def _texts(frame: Frame, name: str) -> Texts:
    column = frame.fields.get(name)
    absent: Texts = np.full(len(frame), None, object)
    return absent if column is None or column.dtype != object else column.astype(object, copy=False)
