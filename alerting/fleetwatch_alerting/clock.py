"""Where the alert manager gets its time from; handed in, so that tests can drive it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


def _wall_ms() -> int:
    return int(time.time() * 1000)


def _steady_ms() -> int:
    return int(time.monotonic() * 1000)


@dataclass(frozen=True, slots=True)
class Clock:
    """`wall_ms` is unix time, `steady_ms` never jumps."""

    wall_ms: Callable[[], int] = _wall_ms
    steady_ms: Callable[[], int] = _steady_ms
