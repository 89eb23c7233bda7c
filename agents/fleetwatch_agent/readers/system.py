"""Load, uptime, processors and users, from /proc/loadavg, /proc/uptime, /proc/stat and /run/utmp."""

from __future__ import annotations

from fleetwatch_agent.readers.context import Context
from fleetwatch_agent.readers.source import Files
from fleetwatch_agent.samples import Reader, Series, Values

READS = ("/proc/loadavg", "/proc/uptime", "/proc/stat", "/run/utmp, or the names in /run/systemd/sessions")

_FIELDS = ("load1", "load5", "load15", "load1_per_core", "n_cpus", "n_users", "uptime")
_SERIES = Series("system", (), _FIELDS)
_UTMP_RECORD = 384
_USER_PROCESS = 7


def make(context: Context) -> Reader:
    """One row of `system`."""
    files = context.files

    def read() -> Values:
        load1, load5, load15 = map(float, files.read("proc/loadavg").split(None, 3)[:3])
        cpus = max(1, files.read("proc/stat").count(b"\ncpu"))
        uptime = float(int(float(files.read("proc/uptime").split(None, 1)[0])))
        per_core = round(load1 / cpus * 100) / 100
        return [(_SERIES, (load1, load5, load15, per_core, float(cpus), users(files), uptime))]

    return read


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
