"""Pressure stall information, from /proc/pressure (kernel's Documentation/accounting/psi.rst)."""

from __future__ import annotations

import re

from fleetwatch_agent.readers.context import Context
from fleetwatch_agent.samples import Reader, Series, Values

READS = ("/proc/pressure/cpu", "/proc/pressure/memory", "/proc/pressure/io")

_FIELDS = ("avg10", "avg60", "avg300", "total")
_LINE = re.compile(rb"(some|full) avg10=([\d.]+) avg60=([\d.]+) avg300=([\d.]+) total=(\d+)")


def make(context: Context) -> Reader:
    """One row of `pressure` per resource and type.

    Raises:
        OSError: the kernel was built or started without it.
    """
    files = context.files
    series = {
        (f"proc/pressure/{resource}", kind): Series(
            "pressure", (("resource", resource), ("type", kind.decode())), _FIELDS
        )
        for resource in ("cpu", "memory", "io")
        for kind in (b"some", b"full")
    }
    paths = ("proc/pressure/cpu", "proc/pressure/memory", "proc/pressure/io")
    files.read(paths[0])

    def read() -> Values:
        readings: Values = []
        for path in paths:
            for kind, *numbers in _LINE.findall(files.read(path)):
                readings.append((series[path, kind], list(map(float, numbers))))
        return readings

    return read
