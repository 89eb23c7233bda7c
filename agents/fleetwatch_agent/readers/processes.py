"""Processes: how many in which state, and the table of the top ones, from /proc/<pid>/stat and io.

Both come from one pass over all processes. A pass over 300 costs about 1.5 ms: descriptors stay open, the folder is
listed only when the fork counter moved, and `io` is read only for processes that used processor time since the last
pass.
"""

from __future__ import annotations

import os
import re
import resource
from pathlib import Path

from fleetwatch_agent.rates import per_second
from fleetwatch_agent.readers.context import Context
from fleetwatch_agent.readers.source import Files, number_after
from fleetwatch_agent.readers.top import Process, table, top
from fleetwatch_agent.readers.users import Users
from fleetwatch_agent.samples import Series, Values

READS = (
    "the names in /proc, when the fork counter of /proc/stat moved",
    "/proc/<pid>/stat of every process: name, state, processor time, memory, threads, start; never its command line",
    "/proc/<pid>/io of processes that ran since the last reading: bytes read and written",
    "/etc/passwd: the names of users",
)

_FIELDS = ("total", "running", "sleeping", "blocked", "stopped", "zombies", "idle", "unknown", "total_threads")
_SERIES = Series("processes", (), _FIELDS)
_STATES = {b"R": 1, b"S": 2, b"D": 3, b"T": 4, b"t": 4, b"Z": 5, b"X": 5, b"I": 6}
_UNKNOWN = 7
_IO = re.compile(rb"read_bytes: (\d+)\nwrite_bytes: (\d+)")


def make(context: Context) -> ProcessReader:
    """One row of `processes`."""
    return ProcessReader(context)


class ProcessReader:
    """A reader whose `take_table` gives the top processes of the last pass, once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._files: Files = context.files
        self._known: dict[int, Process] = {}
        self._users = Users(context.files)
        self._table = b""
        self._forks: int | None = None
        self._read_at: float | None = None
        self._hertz = os.sysconf("SC_CLK_TCK")
        self._page = os.sysconf("SC_PAGESIZE")
        self._room = _descriptors()

    def __call__(self) -> Values:
        now = self._context.clock()
        stat = self._files.read("proc/stat")
        self._list(stat)
        counts = self._pass(now)
        self._table = b"" if self._read_at is None else self._make_table(stat)
        self._read_at = now
        return [(_SERIES, counts)]

    def take_table(self) -> bytes:
        """The serialised ProcessTable of the last pass, empty when it was taken already."""
        taken, self._table = self._table, b""
        return taken

    def close(self) -> None:
        """Closes every descriptor."""
        for pid in list(self._known):
            self._drop(pid)

    def _list(self, stat: bytes) -> None:
        forks = number_after(stat, b"\nprocesses ")
        if forks == self._forks:
            return
        self._forks = forks
        present = {int(name) for name in self._files.names("proc") if name.isdigit()}
        for pid in self._known.keys() - present:
            self._drop(pid)
        for pid in present - self._known.keys():
            self._known[pid] = Process(pid, self._open(pid))

    def _open(self, pid: int) -> int:
        if len(self._known) >= self._room:
            return -1
        try:
            return os.open(self._files.path(f"proc/{pid}/stat"), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return -1

    def _drop(self, pid: int) -> None:
        one = self._known.pop(pid)
        if one.descriptor >= 0:
            os.close(one.descriptor)

    def _pass(self, now: float) -> list[float]:
        """Brings every process up to date; returns the counts in the order of the fields."""
        counts = [0.0] * len(_FIELDS)
        elapsed = now - self._read_at if self._read_at is not None else 0.0
        for one in list(self._known.values()):
            data = self._stat(one)
            if data is None:
                self._drop(one.pid)
                continue
            if data == one.stat:
                self._rest(one)
            else:
                self._update(one, data, now, elapsed)
            counts[one.state] += 1
            counts[8] += one.threads
        counts[0] = sum(counts[1:8])
        return counts

    def _stat(self, one: Process) -> bytes | None:
        """None when the process has ended; a number used again does not revive an old descriptor."""
        try:
            if one.descriptor >= 0:
                return os.pread(one.descriptor, 1024, 0)
            with Path(self._files.path(f"proc/{one.pid}/stat")).open("rb", buffering=0) as file:
                return file.read(1024)
        except OSError:
            return None

    @staticmethod
    def _rest(one: Process) -> None:
        """Most processes sleep: what the kernel says of them is the same text as before."""
        one.cpu_percent = one.read_rate = one.write_rate = 0.0

    def _update(self, one: Process, stat: bytes, now: float, elapsed: float) -> None:
        # A program may put anything into its name, parentheses and spaces too: the last one ends it.
        end = stat.rfind(b")")
        fields = stat[end + 2 :].split(b" ", 22)
        one.stat = stat
        one.state = _STATES.get(fields[0], _UNKNOWN)
        one.name = stat[stat.find(b"(") + 1 : end]
        one.threads, one.started = int(fields[17]), int(fields[19])
        one.rss = int(fields[21]) * self._page
        ticks = int(fields[11]) + int(fields[12])
        used = ticks - one.ticks
        one.cpu_percent = round(100 * used / self._hertz / elapsed, 1) if elapsed > 0 and used > 0 else 0.0
        one.ticks = ticks
        self._traffic(one, used, now)

    def _traffic(self, one: Process, used_ticks: int, now: float) -> None:
        """Who used no processor time has moved nothing worth a place in the table."""
        if used_ticks <= 0 and one.io is not None:
            one.read_rate = one.write_rate = 0.0
            return
        found = self._io(one.pid)
        if found is None:
            return
        if one.io is not None:
            one.read_rate = per_second(one.io[0], found[0], now - one.io_at)
            one.write_rate = per_second(one.io[1], found[1], now - one.io_at)
        one.io, one.io_at = found, now

    def _io(self, pid: int) -> tuple[int, int] | None:
        """Bytes that reached or came from storage; None where the agent may not look."""
        try:
            descriptor = os.open(self._files.path(f"proc/{pid}/io"), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            match = _IO.search(os.pread(descriptor, 512, 0))
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return (int(match[1]), int(match[2])) if match else None

    def _make_table(self, stat: bytes) -> bytes:
        named = self._context.settings.process_names
        chosen = top(self._known.values())
        rows = [(one, self._users.owner(one.pid) if named else "") for one in chosen]
        return table(rows, number_after(stat, b"\nbtime ") or 0, self._hertz, named)


def _descriptors() -> int:
    """How many processes may be kept open: half of what this process is allowed."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(0, (min(soft, 65536) - 256) // 2)
