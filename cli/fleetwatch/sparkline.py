"""A series as one line of text."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"
GAP = " "


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """Eight heights between the smallest and the largest value; NaN is a gap; a level series is a low line.

    More values than `width` are put together by their maximum, so that spikes stay visible.
    """
    columns = _fit(values, width)
    present = [value for value in columns if not math.isnan(value)]
    if not present:
        return ""
    low, high = min(present), max(present)
    return "".join(GAP if math.isnan(value) else BARS[_height(value, low, high)] for value in columns)


def _fit(values: Sequence[float], width: int) -> list[float]:
    if len(values) <= width:
        return list(values)
    edges = [round(index * len(values) / width) for index in range(width + 1)]
    return [_peak(values[a:z]) for a, z in itertools.pairwise(edges)]


def _peak(values: Sequence[float]) -> float:
    return max((value for value in values if not math.isnan(value)), default=math.nan)


def _height(value: float, low: float, high: float) -> int:
    if high <= low:
        return 0
    return min(len(BARS) - 1, int((value - low) / (high - low) * len(BARS)))
