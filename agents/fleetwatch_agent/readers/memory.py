"""Memory and swap, from /proc/meminfo and /proc/vmstat."""

from __future__ import annotations

import os

from fleetwatch_agent.rates import percent
from fleetwatch_agent.readers.context import Context
from fleetwatch_agent.readers.source import Words, number_after
from fleetwatch_agent.samples import ABSENT, Reader, Series, Values

READS = ("/proc/meminfo", "/proc/vmstat")

_PAGES = ("cached", "buffered", "active", "inactive", "shared", "slab", "dirty", "write_back")
_MEM = Series("mem", (), ("total", "available", "used", "free", *_PAGES, "used_percent", "available_percent"))
_SWAP = Series("swap", (), ("total", "used", "free", "used_percent", "in", "out"))
_AMOUNT_KEYS = ("MemTotal:", "MemAvailable:", "MemFree:", "Cached:", "SReclaimable:", "Buffers:")
_USE_KEYS = ("Active:", "Inactive:", "Shmem:", "Slab:", "Dirty:", "Writeback:")
_SWAP_KEYS = ("SwapTotal:", "SwapFree:")


def make(context: Context) -> Reader:
    """One row of `mem` and one of `swap`, bytes."""
    files, meminfo = context.files, Words((*_AMOUNT_KEYS, *_USE_KEYS, *_SWAP_KEYS))
    page = os.sysconf("SC_PAGESIZE")

    def read() -> Values:
        kilobytes = meminfo.pick(files.read("proc/meminfo"))
        vmstat = files.read("proc/vmstat")
        pages = [number_after(vmstat, key) for key in (b"\npswpin ", b"\npswpout ")]
        swapped = [ABSENT if count is None else float(count * page) for count in pages]
        return [(_MEM, _memory(kilobytes[:12])), (_SWAP, _swap(kilobytes[12:], swapped))]

    return read


def _memory(kilobytes: list[int | None]) -> list[float]:
    """In the catalogue's order. Kernels before 3.14 do not tell what is available: free and reclaimable then."""
    total, available, free, cached, reclaimable, buffers, *rest = [(one or 0) * 1024 for one in kilobytes]
    cached += reclaimable
    if kilobytes[1] is None:
        available = free + cached + buffers
    used = max(0, total - free - buffers - cached)
    amounts = map(float, (total, available, used, free, cached, buffers, *rest))
    return [*amounts, percent(used, total), percent(available, total)]


def _swap(kilobytes: list[int | None], swapped: list[float]) -> list[float]:
    total, free = ((one or 0) * 1024 for one in kilobytes)
    used = total - free
    return [float(total), float(used), float(free), percent(used, total), *swapped]
