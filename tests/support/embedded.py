"""Embedded stores for tests: with a clock that stands where the test put it, and in processes that die."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetwatch_storage.embedded import EmbeddedSettings, EmbeddedStore
from fleetwatch_storage.metadata.hosts import HostDirectory

HOUR = 3_600_000
MIN = 60_000
S = 1000


@dataclass
class Clock:
    """Unix ms that move only when told."""

    now: int = 1_795_168_800_000

    def __call__(self) -> int:
        return self.now


@dataclass
class Place:
    """Where a store is, how it is set up, and what time it is there."""

    folder: Path
    hosts: HostDirectory
    clock: Clock = field(default_factory=Clock)

    def open(self, *, step: Callable[[str], None] = lambda _name: None, **settings: Any) -> EmbeddedStore:
        """The store; maintenance only when the test asks for it."""
        chosen = EmbeddedSettings(**{"store_maintenance_s": 0, "store_min_free_bytes": 0, **settings})
        return EmbeddedStore(self.folder, self.hosts, chosen, now_ms=self.clock, step=step)

    def seal(self, store: EmbeddedStore) -> None:
        """Everything that is due three hours from now."""
        store.maintenance.run(self.clock.now + 3 * HOUR)


def dies_at(wanted: str, times: int = 1) -> Callable[[str], None]:
    """A step that kills its process, as a power switch would, when it comes to this point for the nth time."""
    left = [times]

    def step(name: str) -> None:
        left[0] -= name == wanted
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return step


def in_child(work: Callable[[], None]) -> int:
    """Runs the work in a process of its own; its exit code, negative when a signal ended it."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of that size, in memory; needs root."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, leave_bytes: int) -> Path:
    """Ballast in a file system until only so much is free; removing the file gives it back."""
    ballast = folder / "ballast"
    free = os.statvfs(folder)
    with ballast.open("ab") as file:
        file.write(b"x" * max(0, free.f_bavail * free.f_frsize - leave_bytes))
    return ballast
