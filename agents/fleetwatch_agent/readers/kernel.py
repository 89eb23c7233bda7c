"""Kernel counters and file handles, from /proc/stat, /proc/vmstat and /proc/sys/fs/file-nr."""

from __future__ import annotations

from fleetwatch_agent.readers.context import Context
from fleetwatch_agent.readers.source import number_after
from fleetwatch_agent.samples import ABSENT, Reader, Series, Values

READS = ("/proc/stat", "/proc/vmstat", "/proc/sys/fs/file-nr")

_KERNEL = Series("kernel", (), ("boot_time", "context_switches", "interrupts", "processes_forked", "oom_kill"))
_FILES = Series("linux_sysctl_fs", (), ("file_nr", "file_max"))


def make(context: Context) -> Reader:
    """One row of `kernel` and one of `linux_sysctl_fs`."""
    files = context.files

    def read() -> Values:
        stat, vmstat = files.read("proc/stat"), files.read("proc/vmstat")
        kernel = [_number(stat, key) for key in (b"\nbtime ", b"\nctxt ", b"\nintr ", b"\nprocesses ")]
        kernel.append(_number(vmstat, b"\noom_kill "))
        opened, _, most = map(float, files.read("proc/sys/fs/file-nr").split())
        return [(_KERNEL, kernel), (_FILES, (opened, most))]

    return read


def _number(data: bytes, key: bytes) -> float:
    found = number_after(data, key)
    return ABSENT if found is None else float(found)
