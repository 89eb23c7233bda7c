"""The benchmark workload: believable host metrics as frames, the same for every engine and every run.

`HostFleet(hosts).ticks(n)` yields every ten seconds of data time the frames of all hosts, 112 values per host. Gauges
walk at random and are rounded as real sources round them, counters rise in bursts with 20 % of them idle, totals are
constant, error counters nearly so. The figures below are kept as they are: they make results comparable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from fleetwatch_storage.frames import Codes, Frame, Numbers, TagSet

END_MS = 1_795_168_800_000
COUNTERS = ("counter", "byte_counter")

# measurement -> (tag, instances, {field: kind}); names follow Telegraf where it has one.
MEASUREMENTS: dict[str, tuple[str, int, dict[str, str]]] = {
    "cpu": ("cpu", 5, dict.fromkeys(("usage_active", "usage_user", "usage_system", "usage_iowait"), "percent")),
    "mem": (
        "",
        1,
        {"total": "constant", "used": "bytes", "available": "bytes", "free": "bytes", "used_percent": "percent"}
        | dict.fromkeys(("buffered", "cached", "shared", "active", "inactive"), "bytes"),
    ),
    "swap": ("", 1, {"total": "constant", "used": "count", "in": "rare", "out": "rare"}),
    "system": ("", 1, dict.fromkeys(("load1", "load5", "load15"), "load")),
    "disk": ("path", 3, {"total": "constant", "used": "bytes", "free": "bytes", "used_percent": "slow_percent"}),
    "diskio": (
        "name",
        2,
        {"reads": "counter", "writes": "counter", "read_bytes": "byte_counter", "write_bytes": "byte_counter"}
        | {"read_time": "counter", "write_time": "counter"},
    ),
    "net": (
        "interface",
        3,
        {
            "bytes_recv": "byte_counter",
            "bytes_sent": "byte_counter",
            "packets_recv": "counter",
            "packets_sent": "counter",
        }
        | {"err_in": "zero", "err_out": "zero", "drop_in": "rare", "drop_out": "zero"},
    ),
    "temp": ("sensor", 5, {"temp": "temperature"}),
    "processes": ("", 1, dict.fromkeys(("total", "running", "blocked", "total_threads"), "count")),
    "kernel": ("", 1, {"context_switches": "counter", "interrupts": "counter"}),
    "process_top": (
        "rank",
        4,
        {"cpu_percent": "percent", "rss": "bytes", "read_bytes": "byte_counter", "threads": "count"},
    ),
}


@dataclass(slots=True)
class _Column:
    kind: str
    value: Numbers
    pace: Numbers


class HostFleet:
    """Deterministic samples of `hosts` hosts, `step_s` seconds of data time apart, the last one at `END_MS`."""

    def __init__(self, hosts: int, seed: int = 1, step_s: int = 10) -> None:
        self.hosts = tuple(f"host-{i:05d}.example" for i in range(hosts))
        self._step_ms = step_s * 1000
        self._random = np.random.default_rng(seed)
        self._columns = {
            (measurement, field): self._column(kind, hosts * instances)
            for measurement, (_, instances, fields) in MEASUREMENTS.items()
            for field, kind in fields.items()
        }

    @property
    def points_per_tick(self) -> int:
        """Values of all hosts at one time."""
        return len(self.hosts) * sum(instances * len(fields) for _, instances, fields in MEASUREMENTS.values())

    def ticks(self, count: int) -> Iterator[list[Frame]]:
        """The frames of each time, oldest first; rows are ordered by host, then instance."""
        for back in range(count - 1, -1, -1):
            yield [self._frame(measurement, END_MS - back * self._step_ms) for measurement in MEASUREMENTS]

    def _frame(self, measurement: str, time_ms: int) -> Frame:
        tag, instances, fields = MEASUREMENTS[measurement]
        rows = len(self.hosts) * instances
        host: Codes = np.repeat(np.arange(len(self.hosts), dtype=np.int32), instances)
        tagset: Codes = np.tile(np.arange(instances, dtype=np.int32), len(self.hosts))
        tagsets: list[TagSet] = [((tag, f"{tag}{i}"),) if tag else () for i in range(instances)]
        columns = {field: self._advance(self._columns[measurement, field]) for field in fields}
        return Frame(measurement, np.full(rows, time_ms, np.int64), host, self.hosts, tagset, tagsets, columns)

    def _column(self, kind: str, n: int) -> _Column:
        random = self._random
        start: dict[str, Callable[[], Numbers]] = {
            "percent": lambda: random.uniform(2, 60, n),
            "slow_percent": lambda: random.uniform(20, 90, n),
            "load": lambda: random.uniform(0, 4, n),
            "bytes": lambda: random.integers(1 << 15, 1 << 22, n) * 4096.0,
            "constant": lambda: random.integers(1, 64, n) * float(1 << 30),
            "count": lambda: random.integers(0, 400, n) * 1.0,
            "temperature": lambda: random.integers(30, 70, n) * 1.0,
            "zero": lambda: np.zeros(n),
        }
        value = start.get(kind, lambda: random.integers(0, 1 << 36, n) * 1.0)()
        pace = np.where(random.random(n) < 0.2, 0, random.lognormal(10 if kind == "byte_counter" else 5, 1.5, n))
        return _Column(kind, value, pace)

    def _advance(self, column: _Column) -> Numbers:
        """The next values, rounded as the source rounds them."""
        random, value, n = self._random, column.value, len(column.value)
        if column.kind == "percent":
            column.value = np.clip(value + random.standard_normal(n) * 2, 0, 100)
            return np.round(column.value, 1)
        if column.kind == "slow_percent":
            column.value = np.clip(value + (random.random(n) < 0.02) * 0.1, 0, 100)
            return np.round(column.value, 1)
        if column.kind == "load":
            column.value = np.clip(value + random.standard_normal(n) * 0.05, 0, 64)
            return np.round(column.value, 2)
        column.value = self._stepped(column)
        return column.value.copy()

    def _stepped(self, column: _Column) -> Numbers:
        random, value, n = self._random, column.value, len(column.value)
        if column.kind == "bytes":
            pages = np.rint(random.standard_normal(n) * 200) * 4096
            return np.clip(value + (random.random(n) < 0.6) * pages, 4096, None)
        if column.kind == "count":
            return np.clip(value + (random.random(n) < 0.3) * random.integers(-2, 3, n), 0, None)
        if column.kind in COUNTERS:
            return value + np.floor(column.pace * random.exponential(1, n) * (random.random(n) < 0.9))
        if column.kind == "rare":
            return value + (random.random(n) < 0.01)
        if column.kind == "temperature":
            return value + (random.random(n) < 0.15) * random.integers(-1, 2, n)
        return value
