"""Half-open ranges of time, as sorted lists that do not overlap. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

Ranges: TypeAlias = list[tuple[int, int]]


def united(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """The ranges sorted, those that touch or overlap made one, empty ones left out."""
    found: Ranges = []
    for start, end in sorted(ranges):
        if start >= end:
            continue
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def common(left: Ranges, right: Ranges) -> Ranges:
    """What is in both."""
    found, i, j = [], 0, 0
    while i < len(left) and j < len(right):
        start, end = max(left[i][0], right[j][0]), min(left[i][1], right[j][1])
        if start < end:
            found.append((start, end))
        if left[i][1] < right[j][1]:
            i += 1
        else:
            j += 1
    return found


def without(left: Ranges, right: Ranges) -> Ranges:
    """What is in the left but not in the right."""
    found: Ranges = []
    for start, end in left:
        for a, z in common([(start, end)], right):
            if start < a:
                found.append((start, a))
            start = z
        if start < end:
            found.append((start, end))
    return found


def condition(column: str, ranges: Ranges) -> str:
    """SQL that a column's value is in one of the ranges."""
    parts = [f"{column} >= {start} AND {column} < {end}" for start, end in ranges]
    return f"(({') OR ('.join(parts)}))" if parts else "FALSE"
