"""Disks that fail: one whose power can be cut, one that is small and gets full. Both need root.

A power cut is made with an ext4 image on a loop device: the writer is stopped, the image copied, the writer killed,
the copy mounted in the image's place. The copy holds what was flushed to the device and nothing of what the kernel only
kept in memory. `commit=600` keeps ext4 from writing its journal by itself while the copy is made.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.conditions import wait_until
from tests.support.processes import Process

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a disk image needs root")


class PowerDisk:
    """An ext4 file system at `path` in a loop-mounted image; a context manager."""

    def __init__(self, folder: Path, *, mebibytes: int = 64) -> None:
        self.path = folder / "disk"
        self._image, self._copy = folder / "disk.img", folder / "disk.copy"
        self._mebibytes = mebibytes

    def __enter__(self) -> PowerDisk:
        self.path.mkdir(parents=True)
        self._image.touch(0o600)
        os.truncate(self._image, self._mebibytes << 20)
        _run("mkfs.ext4", "-q", "-F", str(self._image))
        self._mount()
        return self

    def __exit__(self, *exc: object) -> None:
        _unmount(self.path)

    def cut(self, *writers: Process) -> None:
        """Takes the power away from the writers and the disk under them, then gives the disk back as it was left."""
        for writer in writers:
            writer.freeze()
        time.sleep(0.05)  # a write that the kernel had already begun ends
        _run("cp", "--sparse=always", str(self._image), str(self._copy))
        for writer in writers:
            writer.kill()
        _unmount(self.path)
        shutil.move(self._copy, self._image)
        self._mount()

    def _mount(self) -> None:
        _run("mount", "-o", "loop,commit=600", str(self._image), str(self.path))


class SmallDisk:
    """A tmpfs of `mebibytes` at `path`; a context manager."""

    def __init__(self, folder: Path, *, mebibytes: int) -> None:
        self.path = folder / "small"
        self._mebibytes = mebibytes

    def __enter__(self) -> SmallDisk:
        self.path.mkdir(parents=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={self._mebibytes}m", "tmpfs", str(self.path))
        return self

    def __exit__(self, *exc: object) -> None:
        _unmount(self.path)

    def fill(self) -> None:
        """Takes all space that is left."""
        with (self.path / "ballast").open("ab", buffering=0) as ballast:
            try:
                while ballast.write(bytes(4096)):
                    pass
            except OSError:
                return

    def heal(self) -> None:
        """Gives the space back."""
        (self.path / "ballast").unlink(missing_ok=True)

    @property
    def free_bytes(self) -> int:
        """What is left for everyone."""
        return shutil.disk_usage(self.path).free


def _unmount(path: Path) -> None:
    wait_until(
        lambda: subprocess.run(["umount", str(path)], capture_output=True, check=False).returncode == 0,
        within_s=20,
        every_s=0.1,
        what=f"{path} unmounted",
    )


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
