"""Decoded rows of many hosts to frames, one per measurement. Pure.

The number of numpy calls grows with layouts x measurements, never with hosts or points.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from fleetwatch_storage.frames import Codes, Frame, Numbers, TagSet, Texts, Times

from fleetwatch_collector.arrivals import Arrival, Rows
from fleetwatch_collector.layout import Block, Layout, Plan


@dataclass(frozen=True, slots=True)
class _Stack:
    """Rows of one layout: `values` (n, columns), `time` (n,), `host` (n,) codes, `plan` (n,) codes into `plans`."""

    values: Numbers
    time: Times
    host: Codes
    plan: Codes
    plans: Sequence[Plan]
    gaps: bool


_Part = tuple[_Stack, Block]


def frames_of(rows: Iterable[Rows]) -> list[Frame]:
    """Frames of decoded rows; all share one tuple of hosts. Rows without any value are left out."""
    hosts: dict[str, int] = {}
    parts: dict[str, list[_Part]] = {}
    for layout, group in _by_layout(rows).items():
        stack = _stack(group, hosts)
        for block in layout.blocks:
            parts.setdefault(block.measurement, []).append((stack, block))
    names = tuple(hosts)
    frames = (_frame(measurement, found, names) for measurement, found in parts.items())
    return [frame for frame in frames if len(frame)]


def _by_layout(rows: Iterable[Rows]) -> dict[Layout, list[Rows]]:
    groups: dict[Layout, list[Rows]] = {}
    for one in rows:
        groups.setdefault(one.layout, []).append(one)
    return groups


def _stack(group: list[Rows], hosts: dict[str, int]) -> _Stack:
    arrivals: list[Arrival] = [arrival for one in group for arrival in one.arrivals]
    counts = np.array([count for one in group for count in one.counts])
    plans: dict[Plan, int] = {}
    host = [hosts.setdefault(arrival.host, len(hosts)) for arrival in arrivals]
    plan = [plans.setdefault(arrival.plan, len(plans)) for arrival in arrivals]
    return _Stack(
        values=group[0].values if len(group) == 1 else np.concatenate([one.values for one in group]),
        time=np.concatenate([one.time for one in group]),
        host=np.repeat(np.array(host, np.int32), counts),
        plan=np.repeat(np.array(plan, np.int32), counts),
        plans=tuple(plans),
        gaps=any(one.gaps for one in group),
    )


def _frame(measurement: str, parts: Sequence[_Part], hosts: tuple[str, ...]) -> Frame:
    fields = tuple(dict.fromkeys(name for _, block in parts for name in block.fields))
    sizes = [len(stack.time) * block.series for stack, block in parts]
    matrix = np.full((len(fields), sum(sizes)), np.nan) if _ragged(parts) else np.empty((len(fields), sum(sizes)))
    tagsets: dict[TagSet, int] = {}
    times, codes, tags = [], [], []
    at = 0
    for (stack, block), size in zip(parts, sizes, strict=True):
        _fill(matrix[:, at : at + size], stack, block, fields)
        times.append(np.repeat(stack.time, block.series))
        codes.append(np.repeat(stack.host, block.series))
        tags.append(_tag_codes(stack, block, tagsets))
        at += size
    columns: Mapping[str, Numbers | Texts] = dict(zip(fields, matrix, strict=True))
    frame = Frame(
        measurement, np.concatenate(times), np.concatenate(codes), hosts, np.concatenate(tags), tuple(tagsets), columns
    )
    return _without_empty_rows(frame, matrix) if any(stack.gaps for stack, _ in parts) else frame


def _ragged(parts: Sequence[_Part]) -> bool:
    first = parts[0][1].fields
    return any(block.fields != first for _, block in parts)


def _fill(out: Numbers, stack: _Stack, block: Block, fields: tuple[str, ...]) -> None:
    """Copies a block's columns (rows, series x fields) to (fields, rows x series)."""
    rows, width = len(stack.time), len(block.fields)
    cube = stack.values[:, block.first_column : block.end_column].reshape(rows, block.series, width)
    for place, name in enumerate(block.fields):
        row = place if block.fields == fields else fields.index(name)
        out[row].reshape(rows, block.series)[:] = cube[:, :, place]


def _tag_codes(stack: _Stack, block: Block, tagsets: dict[TagSet, int]) -> Codes:
    end = block.first_series + block.series
    table = np.array(
        [
            [tagsets.setdefault(tags, len(tagsets)) for tags in plan.tagsets[block.first_series : end]]
            for plan in stack.plans
        ],
        np.int32,
    )
    if len(stack.plans) == 1:
        return np.tile(table[0], len(stack.time))
    return table[stack.plan].ravel()


def _without_empty_rows(frame: Frame, matrix: Numbers) -> Frame:
    keep = ~np.isnan(matrix).all(axis=0)
    if keep.all():
        return frame
    columns: Mapping[str, Numbers | Texts] = dict(zip(frame.fields, matrix[:, keep], strict=True))
    return Frame(
        frame.measurement,
        frame.time[keep],
        frame.host[keep],
        frame.hosts,
        frame.tagset[keep],
        frame.tagsets,
        columns,
    )
