"""Space of mounted file systems, from /proc/self/mountinfo and statvfs."""

from __future__ import annotations

import os
import re
import select
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from fleetwatch_agent.rates import percent
from fleetwatch_agent.readers.context import Context
from fleetwatch_agent.samples import Reader, Series, Values
from fleetwatch_agent.settings import AgentSettings

READS = ("/proc/self/mountinfo, when the kernel says that mounts changed", "statvfs of every mount point")

_FIELDS = ("total", "used", "free", "used_percent", "inodes_total", "inodes_used", "inodes_free", "inodes_used_percent")


def make(context: Context) -> Reader:
    """One row of `disk` per file system."""
    return DiskReader(context)


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo; `root` is the part of the file system that is mounted, `device` is major:minor."""

    device: str
    root: str
    path: str
    writable: bool
    fstype: str
    source: str


class DiskReader:
    """Reads the mounts again only when poll() flags the mount table; holds no mount busy."""

    def __init__(self, context: Context) -> None:
        self._settings = context.settings
        self._statvfs = context.statvfs
        self._table = os.open(context.files.path("proc/self/mountinfo"), os.O_RDONLY | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._table, select.POLLERR | select.POLLPRI)
        self._mounts: list[tuple[str, Series]] | None = None

    def __call__(self) -> Values:
        # poll() reports a change once per descriptor, so the table is read after it was asked, never before.
        if self._poll.poll(0) or self._mounts is None:
            mounts = chosen(parse(self._whole_table()), self._settings)
            self._mounts = [(mount.path, _series(mount)) for mount in mounts]
        readings: Values = []
        for path, series in self._mounts:
            values = self._space(path)
            if values:
                readings.append((series, values))
        return readings

    def _whole_table(self) -> bytes:
        os.lseek(self._table, 0, os.SEEK_SET)
        parts = []
        while part := os.read(self._table, 65536):
            parts.append(part)
        return b"".join(parts)

    def _space(self, path: str) -> list[float] | None:
        """None for what is empty or out of reach; the other file systems are still read."""
        try:
            return space(self._statvfs(path))
        except OSError:
            return None


def parse(mountinfo: bytes) -> list[Mount]:
    """Mounts in the kernel's order; see proc(5), /proc/pid/mountinfo."""
    mounts = []
    for line in mountinfo.decode("utf-8", "surrogateescape").splitlines():
        left, dash, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")
        if not dash or len(fields) < 6 or len(kind) < 2:
            continue
        options = fields[5].split(",")
        mounts.append(Mount(fields[2], fields[3], _plain(fields[4]), "rw" in options, kind[0], _plain(kind[1])))
    return mounts


def chosen(mounts: list[Mount], settings: AgentSettings) -> list[Mount]:
    """One mount per file system, without what is not storage: the one of its root, else the first."""
    best: dict[str, Mount] = {}
    for mount in mounts:
        if mount.fstype in settings.disk_ignore_fstypes:
            continue
        if any(fnmatchcase(mount.path, pattern) for pattern in settings.disk_ignore_paths):
            continue
        known = best.get(mount.device)
        if known is None or (known.root != "/" and mount.root == "/"):
            best[mount.device] = mount
    return list(best.values())


def space(stat: Any) -> list[float] | None:
    """Values in the catalogue's order from statvfs(3); None for a file system without blocks.

    `used_percent` is used of what ordinary users can use, as df(1) prints it.
    """
    if not stat.f_blocks:
        return None
    size = stat.f_frsize
    used, free = (stat.f_blocks - stat.f_bfree) * size, stat.f_bavail * size
    inodes_used = stat.f_files - stat.f_ffree
    amounts = map(float, (stat.f_files, inodes_used, stat.f_ffree))
    return [
        float(stat.f_blocks * size),
        float(used),
        float(free),
        percent(used, used + free),
        *amounts,
        percent(inodes_used, stat.f_files),
    ]


def _series(mount: Mount) -> Series:
    device = mount.source.removeprefix("/dev/")
    mode = "rw" if mount.writable else "ro"
    texts = {"device": device, "fstype": mount.fstype, "mode": mode, "path": mount.path}
    return Series("disk", tuple((key, _tag(text)) for key, text in texts.items()), _FIELDS)


def _tag(text: str) -> str:
    """A tag value the collector takes: UTF-8 without control characters, at most 256 bytes."""
    clean = text.encode("utf-8", "replace").decode()
    return re.sub(r"[\x00-\x1f\x7f]", "?", clean).encode()[:256].decode("utf-8", "ignore")


def _plain(text: str) -> str:
    """Undoes the kernel's octal escapes of space, tab, newline and backslash."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
