"""How fast a file system fills: the median of all slopes, which a cleanup or a burst does not move (Theil, Sen)."""

from __future__ import annotations

import numpy as np
from fleetwatch_storage.frames import Numbers, Times

DAY_MS = 86_400_000
LEAST_MS = DAY_MS
"""History shorter than this says nothing about tomorrow."""


def growth_per_day(at: Times, used: Numbers) -> float | None:
    """Change per day in the unit of `used`; None with less than a day of history. For at most some hundred points."""
    known = np.isfinite(used)
    at, used = at[known], used[known]
    if len(at) < 4 or at[-1] - at[0] < LEAST_MS:
        return None
    later, earlier = np.triu_indices(len(at), 1)[::-1]
    slopes = (used[later] - used[earlier]) / (at[later] - at[earlier])
    return float(np.median(slopes)) * DAY_MS


def days_until_full(free: float, per_day: float | None) -> float | None:
    """Days until nothing is free at this growth; None when it does not grow."""
    if per_day is None or per_day <= 0:
        return None
    return free / per_day
