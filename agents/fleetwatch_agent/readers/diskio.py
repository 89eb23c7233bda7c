"""Traffic of block devices, from /proc/diskstats."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from fleetwatch_agent.rates import busy_percent, mean_wait_ms
from fleetwatch_agent.readers.context import Context
from fleetwatch_agent.samples import ABSENT, Reader, Series, Values

READS = ("/proc/diskstats", "the names in /sys/block, when a device appears")

_COUNTERS = ("reads", "writes", "read_bytes", "write_bytes", "read_time", "write_time", "io_time", "weighted_io_time")
_FIELDS = (*_COUNTERS, "iops_in_progress", "io_util", "io_await")
_SECTOR = 512  # diskstats counts in these whatever the device's own sector is


def make(context: Context) -> Reader:
    """One row of `diskio` per device."""
    return DiskIoReader(context)


class DiskIoReader:
    """Remembers the counters of the reading before."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._before: dict[bytes, list[int]] = {}
        self._read_at = 0.0
        self._series: dict[bytes, Series | None] = {}

    def __call__(self) -> Values:
        lines = self._context.files.read("proc/diskstats").splitlines()
        now = self._context.clock()
        elapsed = now - self._read_at
        after: dict[bytes, list[int]] = {}
        readings: Values = []
        for line in lines:
            _, _, name, *numbers = line.split(None, 14)
            series = self._series[name] if name in self._series else self._choose(name)
            if series is None:
                continue
            counts = list(map(int, numbers[:11]))
            readings.append((series, _row(counts, self._before.get(name), elapsed)))
            after[name] = counts
        self._before, self._read_at = after, now
        return readings

    def _choose(self, name: bytes) -> Series | None:
        """The series of a device, None when it is left out."""
        text, settings = name.decode("utf-8", "replace"), self._context.settings
        ignored = any(fnmatchcase(text, pattern) for pattern in settings.diskio_ignore)
        whole = settings.diskio_partitions or text.replace("/", "!") in self._context.files.names("sys/block")
        series = Series("diskio", (("name", text),), _FIELDS) if whole and not ignored else None
        return self._series.setdefault(name, series)


def _row(counts: Sequence[int], before: Sequence[int] | None, elapsed_s: float) -> list[float]:
    """Values in the catalogue's order; counters as in the kernel's Documentation/admin-guide/iostats.rst."""
    reads, _, read_sectors, read_ms, writes, _, write_sectors, write_ms, in_progress, io_ms, weighted_ms = counts
    amounts = (reads, writes, read_sectors * _SECTOR, write_sectors * _SECTOR, read_ms, write_ms, io_ms, weighted_ms)
    util = wait = ABSENT
    if before is not None:
        util = busy_percent(io_ms - before[9], elapsed_s)
        wait = mean_wait_ms(read_ms + write_ms - before[3] - before[7], reads + writes - before[0] - before[4])
    return [*map(float, amounts), float(in_progress), util, wait]
