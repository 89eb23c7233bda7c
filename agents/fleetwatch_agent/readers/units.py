"""systemd services, from their control groups; systemd itself is not asked.

A group with processes is an active service. When it goes, the service is inactive for as long as its unit file is
there; a failed one cannot be told from a stopped one in files, so state 3 is never reported.
"""

from __future__ import annotations

import re

from fleetwatch_agent.readers.cgroups import MOST, Groups
from fleetwatch_agent.readers.context import Context
from fleetwatch_agent.samples import ABSENT, Reader, Series, Values

READS = (
    "/sys/fs/cgroup/system.slice/**: names, cgroup.events, cpu.stat, memory.current (version 1: cpuacct.usage, ...)",
    "whether a unit file of a service that stopped exists below /etc, /run and /usr/lib/systemd/system",
)

_FIELDS = ("state", "cpu", "memory")
_ACTIVE, _INACTIVE = 0.0, 2.0
_UNIT_FOLDERS = ("etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")


def make(context: Context) -> Reader:
    """One row of `systemd_units` per service that runs, or ran since the agent started.

    Raises:
        LookupError: no control groups, or none made by systemd.
    """
    groups = Groups(context.files)
    if not next(groups.below("system.slice", 1), None):
        raise LookupError("no system.slice: services are not run by systemd")
    return UnitReader(context, groups)


class UnitReader:
    """Remembers which services it has seen."""

    def __init__(self, context: Context, groups: Groups) -> None:
        self._files = context.files
        self._groups = groups
        self._series: dict[str, Series] = {}

    def __call__(self) -> Values:
        running = {
            name: path
            for path, name in self._groups.below("system.slice", 2)
            if name.endswith(".service") and self._groups.populated(path)
        }
        for name in sorted(running)[: MOST - len(self._series)]:
            self._series.setdefault(name, Series("systemd_units", (("name", _clean(name)),), _FIELDS))
        readings: Values = []
        for name, series in list(self._series.items()):
            path = running.get(name)
            if path is not None:
                readings.append((series, (_ACTIVE, self._groups.cpu_seconds(path), self._groups.memory_bytes(path))))
            elif self._has_unit_file(name):
                readings.append((series, (_INACTIVE, ABSENT, ABSENT)))
            else:
                del self._series[name]
        return readings

    def _has_unit_file(self, name: str) -> bool:
        """Transient services have none; instances of a template have the template's."""
        template = re.sub(r"@.*\.service$", "@.service", name)
        return any(self._files.exists(f"{folder}/{one}") for folder in _UNIT_FOLDERS for one in {name, template})


def _clean(name: str) -> str:
    """systemd writes unusual characters of unit names as \\xNN already; what is left is cut to the limit of a tag."""
    return re.sub(r"[\x00-\x1f\x7f]", "?", name)[:200]
