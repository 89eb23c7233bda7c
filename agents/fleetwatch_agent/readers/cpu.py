"""Processor time, from /proc/stat."""

from __future__ import annotations

from fleetwatch_agent.rates import cpu_usage
from fleetwatch_agent.readers.context import Context
from fleetwatch_agent.samples import ABSENT, Reader, Series, Values

READS = ("/proc/stat",)
_STATES = ("user", "system", "idle", "active", "nice", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
FIELDS = tuple(f"usage_{state}" for state in _STATES)
_NONE = (ABSENT,) * len(FIELDS)


def make(context: Context) -> Reader:
    """Shares of time per state since the reading before; absent in the first."""
    return CpuReader(context)


class CpuReader:
    """Remembers the counters of the reading before, by the kernel's name of the processor."""

    def __init__(self, context: Context) -> None:
        self._files = context.files
        self._per_cpu = context.settings.per_cpu
        self._before: dict[bytes, list[int]] = {}
        self._series: dict[bytes, Series] = {}

    def __call__(self) -> Values:
        after = counters(self._files.read("proc/stat"), self._per_cpu)
        readings: Values = []
        for name, now in after.items():
            before = self._before.get(name)
            usage = cpu_usage(before, now) if before else None
            readings.append((self._series.get(name) or self._name(name), usage or _NONE))
        self._before = after
        return readings

    def _name(self, name: bytes) -> Series:
        tag = "cpu-total" if name == b"cpu" else name.decode()
        return self._series.setdefault(name, Series("cpu", (("cpu", tag),), FIELDS))


def counters(stat: bytes, per_cpu: bool) -> dict[bytes, list[int]]:
    """Ten counters in clock ticks for each `cpu` line; kernels that know fewer states have zeros."""
    found: dict[bytes, list[int]] = {}
    for line in stat.split(b"\n"):
        if not line.startswith(b"cpu"):
            break
        name, *numbers = line.split()
        counts = list(map(int, numbers[:10]))
        found[name] = counts + [0] * (10 - len(counts))
        if not per_cpu:
            break
    return found
