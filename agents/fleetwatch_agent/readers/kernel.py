"""Kernel counters and file handles, from /proc/stat, /proc/vmstat and /proc/sys/fs/file-nr."""

from __future__ import annotations

from fleetwatch_agent.readers.context import Context
from fleetwatch_agent.readers.source import Lines
from fleetwatch_agent.samples import ABSENT, Reader, Series, Values

READS = ("/proc/stat", "/proc/vmstat", "/proc/sys/fs/file-nr")

_KERNEL = Series("kernel", (), ("boot_time", "context_switches", "interrupts", "processes_forked", "oom_kill"))
_FILES = Series("linux_sysctl_fs", (), ("file_nr", "file_max"))


def make(context: Context) -> Reader:
    """One row of `kernel` and one of `linux_sysctl_fs`."""
    files, vmstat = context.files, Lines(("oom_kill",))

    def read() -> Values:
        stat = files.read("proc/stat")
        kernel = [_after(stat, key) for key in (b"\nbtime ", b"\nctxt ", b"\nintr ", b"\nprocesses ")]
        (killed,) = vmstat.pick(files.read("proc/vmstat"))
        kernel.append(ABSENT if killed is None else float(killed))
        opened, _, most = map(float, files.read("proc/sys/fs/file-nr").split())
        return [(_KERNEL, kernel), (_FILES, (opened, most))]

    return read


def _after(stat: bytes, key: bytes) -> float:
    """The first number behind a key at the start of a line; the line of interrupts may be kilobytes long."""
    start = stat.find(key)
    if start < 0:
        return ABSENT
    return float(stat[start + len(key) : start + len(key) + 24].split(None, 1)[0])
