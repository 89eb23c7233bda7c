"""The table of readers. One more is a file with `make` and `READS`, a line here, fields in the catalogue, a test."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from fleetwatch_agent.readers import (
    containers,
    cpu,
    disk,
    diskio,
    gpu,
    kernel,
    memory,
    net,
    netstat,
    pressure,
    processes,
    sensors,
    system,
    units,
)
from fleetwatch_agent.readers.context import Context, Subsystem
from fleetwatch_agent.readers.processes import ProcessReader
from fleetwatch_agent.samples import Reader

LINUX: tuple[Subsystem, ...] = (
    Subsystem("cpu", cpu.READS, cpu.make),
    Subsystem("memory", memory.READS, memory.make),
    Subsystem("system", system.READS, system.make),
    Subsystem("disk", disk.READS, disk.make),
    Subsystem("diskio", diskio.READS, diskio.make),
    Subsystem("net", net.READS, net.make),
    Subsystem("netstat", netstat.READS, netstat.make),
    Subsystem("kernel", kernel.READS, kernel.make),
    Subsystem("pressure", pressure.READS, pressure.make),
    Subsystem("processes", processes.READS, processes.make, slow=True),
    Subsystem("sensors", sensors.READS, sensors.make, slow=True),
    Subsystem("gpu", gpu.READS, gpu.make, slow=True),
    Subsystem("units", units.READS, units.make, slow=True),
    Subsystem("containers", containers.READS, containers.make, slow=True),
)


@dataclass(frozen=True, slots=True)
class Named:
    """A reader of this machine and how often it runs."""

    name: str
    read: Reader
    slow: bool


def subsystems() -> tuple[Subsystem, ...]:
    """The table for this platform."""
    if sys.platform == "linux":
        return LINUX
    # psutil costs 4 MB and is needed elsewhere only.
    from fleetwatch_agent.readers import portable

    return portable.READERS


def build(context: Context, table: tuple[Subsystem, ...]) -> tuple[list[Named], dict[str, str]]:
    """The readers this machine has something for, and why the others are left out, by name."""
    made: list[Named] = []
    without: dict[str, str] = {}
    for one in table:
        if one.name in context.settings.readers_off:
            without[one.name] = "switched off"
            continue
        try:
            made.append(Named(one.name, one.make(context), one.slow))
        except (OSError, LookupError) as error:
            without[one.name] = str(error)
    return made, without


def table_source(readers: list[Named]) -> Callable[[], bytes]:
    """What gives the process table of the last pass: the reader of processes, where there is one that makes tables."""
    for one in readers:
        if isinstance(one.read, ProcessReader):
            return one.read.take_table
    return lambda: b""
