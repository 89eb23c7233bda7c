"""Control groups, version 2 or 1: where they are and what one of them uses."""

from __future__ import annotations

import os
from collections.abc import Iterator

from fleetwatch_agent.readers.source import Files
from fleetwatch_agent.samples import ABSENT

_ROOT = "sys/fs/cgroup"
MOST = 512
"""Groups of one kind that are followed; a host with more is cut off by name."""


class Groups:
    """Reads groups below one hierarchy.

    Raises:
        LookupError: no hierarchy names groups on this machine.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self.unified = files.exists(f"{_ROOT}/cgroup.controllers")
        named = [f"{_ROOT}/{name}" for name in ("systemd", "cpuacct", "cpu,cpuacct")]
        places = [_ROOT] if self.unified else [place for place in named if files.exists(place)]
        if not places:
            raise LookupError("no control groups")
        self._places = places

    def below(self, folder: str, depth: int) -> Iterator[tuple[str, str]]:
        """Path within the hierarchy and name of every group below a folder, at most `depth` levels down."""
        for place in self._places:
            found = list(self._walk(place, folder, depth))
            if found:
                yield from found
                return

    def _walk(self, place: str, folder: str, depth: int) -> Iterator[tuple[str, str]]:
        try:
            with os.scandir(self._files.path(f"{place}/{folder}")) as entries:
                names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        except OSError:
            return
        for name in names[: 4 * MOST]:
            path = f"{folder}/{name}"
            yield path, name
            if depth > 1:
                yield from self._walk(place, path, depth - 1)

    def cpu_seconds(self, path: str) -> float:
        """Processor time a group has used; absent where it is not accounted."""
        if self.unified:
            for line in self._small(f"{_ROOT}/{path}/cpu.stat").splitlines():
                if line.startswith(b"usage_usec "):
                    return int(line[11:]) / 1e6
            return ABSENT
        for controller in ("cpuacct", "cpu,cpuacct"):
            if data := self._small(f"{_ROOT}/{controller}/{path}/cpuacct.usage"):
                return int(data) / 1e9
        return ABSENT

    def memory_bytes(self, path: str) -> float:
        """Memory a group holds; absent where it is not accounted."""
        file = f"{path}/memory.current" if self.unified else f"memory/{path}/memory.usage_in_bytes"
        data = self._small(f"{_ROOT}/{file}")
        return float(data) if data else ABSENT

    def populated(self, path: str) -> bool:
        """Whether a process is in the group or below it; version 1 does not tell, its empty groups are removed."""
        return not self.unified or b"populated 1" in self._small(f"{_ROOT}/{path}/cgroup.events")

    def frozen(self, path: str) -> bool:
        """Whether the group is paused."""
        if self.unified:
            return b"frozen 1" in self._small(f"{_ROOT}/{path}/cgroup.events")
        return self._small(f"{_ROOT}/freezer/{path}/freezer.state").startswith(b"FROZEN")

    def _small(self, path: str) -> bytes:
        """Content of a file that may have gone; groups come and go too often to keep descriptors."""
        try:
            descriptor = os.open(self._files.path(path), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            return os.pread(descriptor, 4096, 0)
        except OSError:
            return b""
        finally:
            os.close(descriptor)
