"""What a query means, done with numpy on rows: transforms, steps, groups, limits and order. Pure.

Engines compile as much of a query as they can and do the rest here; `answer` does all of it and is the reference for
every engine. Frames between these functions are ordered: by host name, tag set, time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from fleetwatch_storage import hosttags
from fleetwatch_storage.errors import QueryFailed
from fleetwatch_storage.frames import Codes, Frame, Numbers, TagSet, Texts, Times
from fleetwatch_storage.hosttags import HostTags
from fleetwatch_storage.query import Query, Transform

LOOKBACK_MS = 600_000
"""How far before the range a transform looks for the sample before the first."""

T = TypeVar("T", str, TagSet)
Runs: TypeAlias = npt.NDArray[np.int64]

TEXT_AGGREGATES = frozenset({"first", "last", "count"})


def answer(rows: Frame, query: Query, host_tags: HostTags) -> Frame:
    """The whole answer from the stored rows of the query's measurement, in any order, each series and time once.

    Rows may reach further than the range; for a transform they have to reach `LOOKBACK_MS` before it.

    Raises:
        QueryFailed: numbers are asked of a text field.
    """
    near = _between(_only(rows, query), first_needed_ms(query), query.end_ms)
    chosen = ordered(select(near, query, host_tags))
    inside = transformed(chosen, query.transform, query.start_ms)
    return finish(stepped(inside, query) if query.step_ms else inside, query, host_tags)


def first_needed_ms(query: Query) -> int:
    """From when on rows are needed to answer: earlier than the range where a transform needs the sample before."""
    return query.start_ms - (0 if query.transform is Transform.NONE else LOOKBACK_MS)


def _between(frame: Frame, start_ms: int, end_ms: int) -> Frame:
    return take(frame, np.flatnonzero((frame.time >= start_ms) & (frame.time < end_ms)))


def finish(frame: Frame, query: Query, host_tags: HostTags) -> Frame:
    """Groups and limits an ordered answer that is right per series and step."""
    together = frame if query.group_by is None else grouped(frame, query, host_tags)
    return limited(together, query)


def take(frame: Frame, rows: npt.NDArray[np.integer]) -> Frame:
    """The rows at these places, in that order."""
    columns = {name: column[rows] for name, column in frame.fields.items()}
    return replace(frame, time=frame.time[rows], host=frame.host[rows], tagset=frame.tagset[rows], fields=columns)


def _only(frame: Frame, query: Query) -> Frame:
    """The frame with exactly the query's fields; one it does not have is all absent."""
    none = np.full(len(frame), np.nan)
    return replace(frame, fields={name: frame.fields.get(name, none) for name in query.fields})


def select(frame: Frame, query: Query, host_tags: HostTags) -> Frame:
    """The rows whose series satisfy the query's conditions."""
    if not query.where:
        return frame
    pairs, of_row = np.unique(frame.host.astype(np.int64) << 32 | frame.tagset, return_inverse=True)
    host, tagset = (pairs >> 32).astype(np.int32), (pairs & 0xFFFFFFFF).astype(np.int32)
    keep = hosttags.selected(query.where, frame.hosts, frame.tagsets, host, tagset, host_tags)
    return take(frame, np.flatnonzero(keep[of_row]))


def joined(parts: Sequence[Frame]) -> Frame:
    """The rows of frames that have the same fields after each other; unless they share their names, names repeat."""
    if len(parts) == 1:
        return parts[0]
    if all(part.hosts is parts[0].hosts and part.tagsets is parts[0].tagsets for part in parts):
        return _after_each_other(parts)
    hosts = np.cumsum([0, *(len(part.hosts) for part in parts)]).tolist()
    tagsets = np.cumsum([0, *(len(part.tagsets) for part in parts)]).tolist()
    moved = [
        replace(part, host=part.host + np.int32(hosts[place]), tagset=part.tagset + np.int32(tagsets[place]))
        for place, part in enumerate(parts)
    ]
    names = [name for part in parts for name in part.hosts], [tags for part in parts for tags in part.tagsets]
    return replace(_after_each_other(moved), hosts=names[0], tagsets=names[1])


def _after_each_other(parts: Sequence[Frame]) -> Frame:
    return replace(
        parts[0],
        time=np.concatenate([part.time for part in parts]),
        host=np.concatenate([part.host for part in parts]),
        tagset=np.concatenate([part.tagset for part in parts]),
        fields={name: np.concatenate([part.fields[name] for part in parts]) for name in parts[0].fields},
        resolution_ms=max(part.resolution_ms for part in parts),
    )


def ordered(frame: Frame, *, ranked: bool = False) -> Frame:
    """The rows that have a value, ordered by host name, tag set, time.

    `ranked`: hosts and tag sets are sorted and each once already; they stay. Else only those that occur are kept.
    """
    there = _any_present(frame)
    frame = frame if there.all() else take(frame, np.flatnonzero(there))
    hosts, host = (frame.hosts, frame.host) if ranked else _ranked(frame.hosts, frame.host)
    tagsets, tagset = (frame.tagsets, frame.tagset) if ranked else _ranked(frame.tagsets, frame.tagset)
    order = _order(host, tagset, frame.time, len(tagsets))
    return replace(take(frame, order), hosts=hosts, host=host[order], tagsets=tagsets, tagset=tagset[order])


def _order(host: Codes, tagset: Codes, time: Times, tagsets: int) -> Runs:
    """Places in the order of host, tag set, time. One number per row sorts several times faster than three keys."""
    if not len(time):
        return np.empty(0, np.int64)
    first, span = int(time.min()), int(time.max()) - int(time.min()) + 1
    if (int(host.max()) + 1) * tagsets * span >= 1 << 62:
        return np.lexsort((time, tagset, host))
    return np.argsort((host.astype(np.int64) * tagsets + tagset) * span + (time - first))


def _any_present(frame: Frame) -> npt.NDArray[np.bool_]:
    there = np.zeros(len(frame), np.bool_)
    for column in frame.fields.values():
        there |= is_present(column)
    return there


def is_present(column: Numbers | Texts) -> npt.NDArray[np.bool_]:
    """Where a column has a value: (n,) bool."""
    if column.dtype == object:
        return np.asarray(column != None, np.bool_)  # noqa: E711 - elementwise comparison with None
    return ~np.isnan(column)


def _ranked(names: Sequence[T], codes: Codes) -> tuple[tuple[T, ...], Codes]:
    """The names that occur, sorted and each once, and the codes of the rows among them."""
    used = _used(codes, len(names)).tolist()
    in_order = sorted({names[code] for code in used})
    place = {name: rank for rank, name in enumerate(in_order)}
    rank = np.zeros(len(names), np.int32)
    rank[used] = [place[names[code]] for code in used]
    return tuple(in_order), rank[codes]


def _used(codes: Codes, names: int) -> npt.NDArray[np.int64]:
    return np.flatnonzero(np.bincount(codes, minlength=names))


def run_starts(*keys: npt.NDArray[np.integer]) -> Runs:
    """Where rows begin whose keys differ from the row before: the starts of runs, with 0 when there are rows."""
    if not len(keys[0]):
        return np.empty(0, np.int64)
    change = np.zeros(len(keys[0]), np.bool_)
    change[0] = True
    for key in keys:
        change[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(change)


def _run_of(starts: Runs, rows: int) -> Runs:
    return np.repeat(np.arange(len(starts)), np.diff(starts, append=rows))


def transformed(frame: Frame, transform: Transform, start_ms: int) -> Frame:
    """Each series with the transform done on every field; rows before `start_ms` only serve as the sample before."""
    if transform is Transform.NONE:
        return frame
    series = _run_of(run_starts(frame.host, frame.tagset), len(frame))
    columns = {name: _changes(name, column, frame.time, series, transform) for name, column in frame.fields.items()}
    changed = replace(frame, fields=columns)
    return take(changed, np.flatnonzero(_any_present(changed) & (frame.time >= start_ms)))


def _changes(name: str, column: Numbers | Texts, time: Times, series: Runs, transform: Transform) -> Numbers:
    if column.dtype == object:
        raise QueryFailed(f"field {name!r} is text: it has no {transform}")
    rows = np.flatnonzero(~np.isnan(column))
    value = np.diff(column[rows])
    absent = series[rows][1:] != series[rows][:-1]
    if transform in (Transform.RATE, Transform.INCREASE):
        absent |= value < 0
    if transform in (Transform.RATE, Transform.DERIV):
        value = value / np.where(absent, 1, np.diff(time[rows])) * 1000
    changed = np.full(len(column), np.nan)
    changed[rows[1:]] = np.where(absent, np.nan, value)
    return changed


def stepped(frame: Frame, query: Query) -> Frame:
    """One row per series and step; columns as `Query.columns` names them."""
    step = frame.time - frame.time % query.step_ms
    starts = run_starts(frame.host, frame.tagset, step)
    run = _run_of(starts, len(frame))
    columns = {
        column: aggregated(field, frame.fields[field], run, len(starts), effective(query, aggregate))
        for column, field, aggregate in query.columns()
    }
    rows = take(replace(frame, time=step, fields={}), starts)
    return with_values(replace(rows, fields=columns))


def effective(query: Query, aggregate: str) -> str:
    """The aggregate really done: differences are summed over a step whatever the query says."""
    return "sum" if query.transform in (Transform.INCREASE, Transform.DELTA) else aggregate


def with_values(frame: Frame) -> Frame:
    """The rows that have any value."""
    there = _any_present(frame)
    return frame if there.all() else take(frame, np.flatnonzero(there))


def grouped(frame: Frame, query: Query, host_tags: HostTags) -> Frame:
    """The series of a stepped answer combined into one per group, step by step."""
    rows = _labelled(frame, query.group_by or (), host_tags)
    starts = run_starts(rows.host, rows.tagset, rows.time)
    run = _run_of(starts, len(rows))
    columns = {
        name: aggregated(name, column, run, len(starts), query.group_aggregate) for name, column in rows.fields.items()
    }
    return with_values(replace(take(replace(rows, fields={}), starts), fields=columns))


def _labelled(frame: Frame, group_by: Sequence[str], host_tags: HostTags) -> Frame:
    """The rows with their groups in place of their series, ordered by group and time."""
    starts = run_starts(frame.host, frame.tagset)
    found = hosttags.groups(group_by, frame.hosts, frame.tagsets, frame.host[starts], frame.tagset[starts], host_tags)
    run = _run_of(starts, len(frame))
    host, tagset = found.host[run], found.tagset[run]
    order = _order(host, tagset, frame.time, len(found.tagsets))
    rows = take(frame, order)
    return replace(rows, hosts=found.hosts, host=host[order], tagsets=found.tagsets, tagset=tagset[order])


def limited(frame: Frame, query: Query) -> Frame:
    """The series the query's limit keeps, still ordered by name; ties go to the first by name."""
    starts = run_starts(frame.host, frame.tagset)
    if not query.limit or len(starts) <= query.limit:
        return frame
    run = _run_of(starts, len(frame))
    order = np.arange(len(starts))
    if query.order:
        name, column = next(iter(frame.fields.items()))
        mean = aggregated(name, column, run, len(starts), "avg")
        order = np.argsort(-mean if query.order == "top" else mean, kind="stable")
    keep = np.zeros(len(starts), np.bool_)
    keep[order[: query.limit]] = True
    return compact(take(frame, np.flatnonzero(keep[run])))


def compact(frame: Frame) -> Frame:
    """The frame with only the hosts and tag sets that occur, in their order."""
    hosts, host = _kept(frame.hosts, frame.host)
    tagsets, tagset = _kept(frame.tagsets, frame.tagset)
    return replace(frame, hosts=hosts, host=host, tagsets=tagsets, tagset=tagset)


def _kept(names: Sequence[T], codes: Codes) -> tuple[Sequence[T], Codes]:
    used = _used(codes, len(names))
    if len(used) == len(names):
        return names, codes
    place = np.zeros(len(names), np.int32)
    place[used] = np.arange(len(used), dtype=np.int32)
    return tuple(names[code] for code in used.tolist()), place[codes]


def aggregated(name: str, column: Numbers | Texts, run: Runs, runs: int, aggregate: str) -> Numbers | Texts:
    """One value per run of rows (runs,) from the values that are present; `run` (n,) is each row's run, rising.

    Raises:
        QueryFailed: a text column was asked for more than first, last and count.
    """
    rows = np.flatnonzero(is_present(column))
    if column.dtype == object and aggregate not in TEXT_AGGREGATES:
        raise QueryFailed(f"field {name!r} is text: it has {', '.join(sorted(TEXT_AGGREGATES))}, no {aggregate}")
    present_run = run[rows]
    starts = run_starts(present_run)
    text = column.dtype == object and aggregate != "count"
    result = np.full(runs, None, np.object_) if text else np.full(runs, np.nan)
    if len(starts):
        result[present_run[starts]] = _of_runs(column[rows], present_run, starts, aggregate)
    return result


def _of_runs(values: Numbers | Texts, run: Runs, starts: Runs, aggregate: str) -> Numbers | Texts:
    """One value per run, none of them empty."""
    count = np.diff(starts, append=len(values))
    if aggregate == "first":
        return values[starts]
    if aggregate == "last":
        return values[starts + count - 1]
    if aggregate == "count":
        return count.astype(np.float64)
    numbers = values.astype(np.float64, copy=False)
    if aggregate in ("median", "p50", "p90", "p95", "p99"):
        return _ranks(numbers[np.lexsort((numbers, run))], starts, count, aggregate)
    return _simple(numbers, starts, count, aggregate)


def _ranks(in_order: Numbers, starts: Runs, count: Runs, aggregate: str) -> Numbers:
    """Median or nearest rank of runs whose values rise."""
    if aggregate == "median":
        middle = (in_order[starts + (count - 1) // 2] + in_order[starts + count // 2]) / 2
        return np.asarray(middle, np.float64)
    rank = np.floor(count * int(aggregate[1:]) / 100 + 0.5).astype(np.int64)
    return in_order[starts + np.maximum(rank, 1) - 1]


def _simple(values: Numbers, starts: Runs, count: Runs, aggregate: str) -> Numbers:
    if aggregate == "min":
        return np.minimum.reduceat(values, starts)
    if aggregate == "max":
        return np.maximum.reduceat(values, starts)
    total = np.add.reduceat(values, starts)
    if aggregate == "sum":
        return total
    mean = total / count
    if aggregate == "avg":
        return mean
    square = np.add.reduceat((values - np.repeat(mean, count)) ** 2, starts)
    return np.where(count > 1, np.sqrt(square / np.maximum(count - 1, 1)), np.nan)
