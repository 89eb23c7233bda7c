"""Load, uptime, processors and users, from /proc/loadavg, /proc/stat, the boot-time clock and /run/utmp."""

from __future__ import annotations

from fleetwatch_agent.readers.context import Context
from fleetwatch_agent.readers.source import Files
from fleetwatch_agent.samples import Reader, Series, Values

READS = ("/proc/loadavg", "/proc/stat", "the clock since boot", "/run/utmp, or the names in /run/systemd/sessions")

_FIELDS = ("load1", "load5", "load15", "load1_per_core", "n_cpus", "n_users", "uptime")
_SERIES = Series("system", (), _FIELDS)
_UTMP_RECORD = 384
_USER_PROCESS = 7


def make(context: Context) -> Reader:
    """One row of `system`."""
    return SystemReader(context)


class SystemReader:
    """Counts users less often than it reads the load."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._users = 0.0
        self._counted_at = float("-inf")

    def __call__(self) -> Values:
        files, now = self._context.files, self._context.clock()
        if now - self._counted_at >= self._context.settings.processes_every:
            self._users, self._counted_at = users(files), now
        load1, load5, load15 = map(float, files.read("proc/loadavg").split(None, 3)[:3])
        cpus = max(1, files.read("proc/stat").count(b"\ncpu"))
        per_core = round(load1 / cpus * 100) / 100
        return [(_SERIES, (load1, load5, load15, per_core, float(cpus), self._users, float(int(now))))]


def users(files: Files) -> float:
    """Logged-in users. Without utmp there is a file per session from systemd-logind; with neither nobody logs in."""
    try:
        return float(utmp_users(files.read("run/utmp")))
    except OSError:
        return float(sum(1 for name in files.names("run/systemd/sessions") if not name.endswith(".ref")))


def utmp_users(data: bytes) -> int:
    """Records of type USER_PROCESS in a utmp file (utmp(5): 384 bytes each, the type in the first two)."""
    return sum(
        1
        for start in range(0, len(data) - _UTMP_RECORD + 1, _UTMP_RECORD)
        if int.from_bytes(data[start : start + 2], "little") == _USER_PROCESS and data[start + 44] != 0
    )
