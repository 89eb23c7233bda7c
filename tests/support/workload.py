"""The benchmark workload: realistic host metrics as frames, the same for every engine.

112 values per host and tick. Gauges walk at random and are rounded as real sources round them, counters rise by bursts
with 20 % of them idle, totals are constant, error counters nearly so. Keep the figures: they make results comparable.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from fleetwatch_storage.frames import Frame, Numbers, TagSet

# measurement -> (tag, its values, {field: kind}); names follow the catalogue
MEASUREMENTS: dict[str, tuple[str, tuple[str, ...], dict[str, str]]] = {
    "cpu": (
        "cpu",
        ("cpu-total", "cpu0", "cpu1", "cpu2", "cpu3"),
        dict.fromkeys(("usage_active", "usage_user", "usage_system", "usage_iowait"), "percent"),
    ),
    "mem": (
        "",
        (),
        {"total": "constant", "used_percent": "percent"}
        | dict.fromkeys(("used", "available", "free", "buffered", "cached", "shared", "active", "inactive"), "bytes"),
    ),
    "swap": ("", (), {"total": "constant", "used": "count", "in": "rare", "out": "rare"}),
    "system": ("", (), dict.fromkeys(("load1", "load5", "load15"), "load")),
    "disk": (
        "path",
        ("/", "/home", "/var"),
        {"total": "constant", "used": "bytes", "free": "bytes", "used_percent": "slow_percent"},
    ),
    "diskio": (
        "name",
        ("vda", "vdb"),
        dict.fromkeys(("reads", "writes", "read_time", "write_time"), "counter")
        | dict.fromkeys(("read_bytes", "write_bytes"), "byte_counter"),
    ),
    "net": (
        "interface",
        ("eth0", "eth1", "lo"),
        dict.fromkeys(("bytes_recv", "bytes_sent"), "byte_counter")
        | dict.fromkeys(("packets_recv", "packets_sent"), "counter")
        | {"err_in": "zero", "err_out": "zero", "drop_in": "rare", "drop_out": "zero"},
    ),
    "temp": ("sensor", ("core0", "core1", "core2", "core3", "nvme"), {"temp": "temperature"}),
    "processes": ("", (), dict.fromkeys(("total", "running", "blocked", "total_threads"), "count")),
    "kernel": ("", (), dict.fromkeys(("context_switches", "interrupts"), "counter")),
    "process_top": (
        "rank",
        ("1", "2", "3", "4"),
        {"cpu_percent": "percent", "rss": "bytes", "read_bytes": "byte_counter", "threads": "count"},
    ),
}
END_S = 1_795_168_800
"""When the last tick is, unix seconds, unless told otherwise: a full hour."""


class HostFleet:
    """Deterministic values for `hosts` hosts; `step_s` seconds of data time between ticks."""

    def __init__(self, hosts: int, seed: int = 1, step_s: int = 10) -> None:
        self.hosts = tuple(f"host-{number:05d}" for number in range(hosts))
        self.step_s = step_s
        self._random = np.random.default_rng(seed)
        self._values: dict[tuple[str, str], Numbers] = {}
        self._pace: dict[tuple[str, str], Numbers] = {}
        self._series = {name: self._codes(len(values) or 1) for name, (_, values, _) in MEASUREMENTS.items()}
        self._tagsets = {name: _tagsets(tag, values) for name, (tag, values, _) in MEASUREMENTS.items()}
        for name, (_, values, fields) in MEASUREMENTS.items():
            for field, kind in fields.items():
                self._start((name, field), kind, hosts * (len(values) or 1))

    @property
    def points_per_tick(self) -> int:
        """Values in one tick."""
        return len(self.hosts) * sum((len(values) or 1) * len(fields) for _, values, fields in MEASUREMENTS.values())

    def _codes(self, series: int) -> tuple[np.ndarray, np.ndarray]:
        hosts = len(self.hosts)
        return np.repeat(np.arange(hosts, dtype=np.int32), series), np.tile(np.arange(series, dtype=np.int32), hosts)

    def _start(self, key: tuple[str, str], kind: str, n: int) -> None:
        random = self._random
        starts = {
            "percent": lambda: random.uniform(2, 60, n),
            "slow_percent": lambda: random.uniform(20, 90, n),
            "load": lambda: random.uniform(0, 4, n),
            "bytes": lambda: random.integers(1 << 15, 1 << 22, n) * 4096.0,
            "constant": lambda: random.integers(1, 64, n) * float(1 << 30),
            "count": lambda: random.integers(0, 400, n) * 1.0,
            "temperature": lambda: random.integers(30, 70, n) * 1.0,
            "zero": lambda: np.zeros(n),
        }
        self._values[key] = starts.get(kind, lambda: random.integers(0, 1 << 36, n) * 1.0)()
        pace = random.lognormal(10 if kind == "byte_counter" else 5, 1.5, n)
        self._pace[key] = np.where(random.random(n) < 0.2, 0, pace)

    def _advance(self, key: tuple[str, str], kind: str) -> Numbers:
        random, value = self._random, self._values[key]
        n = len(value)
        if kind == "percent":
            value = np.clip(value + random.standard_normal(n) * 2, 0, 100)
        elif kind == "slow_percent":
            value = np.clip(value + (random.random(n) < 0.02) * 0.1, 0, 100)
        elif kind == "load":
            value = np.clip(value + random.standard_normal(n) * 0.05, 0, 64)
        elif kind == "bytes":
            walk = (random.random(n) < 0.6) * np.rint(random.standard_normal(n) * 200) * 4096
            value = np.clip(value + walk, 4096, None)
        elif kind == "count":
            value = np.clip(value + (random.random(n) < 0.3) * random.integers(-2, 3, n), 0, None)
        elif kind in ("counter", "byte_counter"):
            value = value + np.floor(self._pace[key] * random.exponential(1, n) * (random.random(n) < 0.9))
        elif kind == "rare":
            value = value + (random.random(n) < 0.01)
        elif kind == "temperature":
            value = value + (random.random(n) < 0.15) * random.integers(-1, 2, n)
        self._values[key] = value
        digits = {"percent": 1, "slow_percent": 1, "load": 2}.get(kind)
        return value.copy() if digits is None else np.round(value, digits)

    def ticks(self, n: int, end_s: int = END_S) -> Iterator[list[Frame]]:
        """Ticks of one frame per measurement, rows ordered by host and tag set; the last at `end_s`."""
        for number in range(n):
            at_ms = (end_s - (n - 1 - number) * self.step_s) * 1000
            yield [self._frame(name, at_ms) for name in MEASUREMENTS]

    def _frame(self, name: str, at_ms: int) -> Frame:
        host, tagset = self._series[name]
        fields = {field: self._advance((name, field), kind) for field, kind in MEASUREMENTS[name][2].items()}
        return Frame(name, np.full(len(host), at_ms), host, self.hosts, tagset, self._tagsets[name], fields)


def _tagsets(tag: str, values: tuple[str, ...]) -> tuple[TagSet, ...]:
    return tuple(((tag, value),) for value in values) if tag else ((),)
