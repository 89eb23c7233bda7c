"""Containers of Docker and Podman, from their control groups; the daemon is not asked."""

from __future__ import annotations

import json
import re
from pathlib import Path

from fleetwatch_agent.readers.cgroups import MOST, Groups
from fleetwatch_agent.readers.context import Context
from fleetwatch_agent.samples import ABSENT, Reader, Series, Values

READS = (
    "/sys/fs/cgroup/docker/*, system.slice/docker-*.scope, machine.slice/libpod-*.scope: cgroup.events, cpu.stat, "
    "memory.current (version 1: cpuacct.usage, ...)",
    "/var/lib/docker/containers/<id>/config.v2.json: the container's name and nothing else",
)

_FIELDS = ("state", "cpu", "memory")
_RUNNING, _PAUSED, _EXITED = 0.0, 1.0, 2.0
_GROUP = re.compile(r"(?:docker-|libpod-)?([0-9a-f]{64})(?:\.scope)?")
_CONFIG = "var/lib/docker/containers/{}/config.v2.json"
_LARGEST_CONFIG = 1 << 20


def make(context: Context) -> Reader:
    """One row of `docker_container` per container that runs, or ran since the agent started and still exists.

    Raises:
        LookupError: no control groups.
    """
    return ContainerReader(context, Groups(context.files))


class ContainerReader:
    """Remembers which containers it has seen."""

    def __init__(self, context: Context, groups: Groups) -> None:
        self._files = context.files
        self._groups = groups
        self._series: dict[str, Series] = {}

    def __call__(self) -> Values:
        running = self._running()
        for container in sorted(running)[: MOST - len(self._series)]:
            if container not in self._series:
                self._series[container] = Series("docker_container", (("name", self._name(container)),), _FIELDS)
        readings: Values = []
        for container, series in list(self._series.items()):
            path = running.get(container)
            if path is not None:
                state = _PAUSED if self._groups.frozen(path) else _RUNNING
                readings.append((series, (state, self._groups.cpu_seconds(path), self._groups.memory_bytes(path))))
            elif self._files.exists(_CONFIG.format(container)):
                readings.append((series, (_EXITED, ABSENT, ABSENT)))
            else:
                del self._series[container]
        return readings

    def _running(self) -> dict[str, str]:
        """Path of the group of each container, by the container's id."""
        found: dict[str, str] = {}
        for folder in ("docker", "system.slice", "machine.slice"):
            for path, name in self._groups.below(folder, 1):
                match = _GROUP.fullmatch(name)
                if match:
                    found.setdefault(match[1], path)
        return found

    def _name(self, container: str) -> str:
        """The name Docker gave it, else the short id; a name that two containers had is told apart by the id."""
        short = container[:12]
        name = _docker_name(Path(self._files.path(_CONFIG.format(container)))) or short
        taken = any(series.tags[0][1] == name for series in self._series.values())
        return f"{name}-{short}" if taken else name


def _docker_name(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST_CONFIG:
            return ""
        name = json.loads(path.read_bytes())["Name"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return re.sub(r"[^A-Za-z0-9_.-]", "?", str(name).lstrip("/"))[:200]
