"""The agent's own health: counters that its parts raise, and the reader that reports them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from fleetwatch_agent.readers.source import Files
from fleetwatch_agent.samples import ABSENT, Reader, Series, Values
from fleetwatch_agent.spool import Figures

_SPOOL = ("spool_batches", "spool_bytes", "durable")
_FAULTS = ("reader_errors", "dropped_values", "lost_points", "late_ticks")
_CLOCK = ("clock_offset_ms", "clock_steps")
_SERIES = Series("fleetwatch_agent", (), ("cpu_seconds", "rss", *_SPOOL, *_FAULTS, "sample_ms", *_CLOCK))


class Vitals:
    """Each attribute is written by one thread only and read by any."""

    __slots__ = (
        "clock_offset_ms",
        "clock_steps",
        "dropped_values",
        "late_ticks",
        "reader_errors",
        "sample_ms",
        "unstamped",
    )

    def __init__(self) -> None:
        self.reader_errors = 0
        self.dropped_values = 0
        self.late_ticks = 0
        self.clock_steps = 0
        self.unstamped = 0
        """Points dropped because no time stamp was free; see stamps."""
        self.sample_ms = 0.0
        self.clock_offset_ms = ABSENT


def make(vitals: Vitals, files: Files, figures: Callable[[], Figures]) -> Reader:
    """One row of `fleetwatch_agent`."""
    page = os.sysconf("SC_PAGESIZE")

    def read() -> Values:
        spool = figures()
        row = (
            round(time.process_time() * 100) / 100,
            _resident(files, page),
            float(spool.batches),
            float(spool.bytes),
            float(spool.durable),
            float(vitals.reader_errors),
            float(vitals.dropped_values),
            float(spool.lost_points + vitals.unstamped),
            float(vitals.late_ticks),
            vitals.sample_ms,
            vitals.clock_offset_ms,
            float(vitals.clock_steps),
        )
        return [(_SERIES, row)]

    return read


def _resident(files: Files, page: int) -> float:
    try:
        return float(int(files.read("proc/self/statm").split(None, 2)[1]) * page)
    except OSError:
        return ABSENT
