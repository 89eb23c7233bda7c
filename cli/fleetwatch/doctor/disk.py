"""The data folder and the disk it is on."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from fleetwatch.doctor.findings import Finding, note, ok, wrong
from fleetwatch.process import folder

LITTLE_BYTES = 1024**3
TOO_LITTLE_BYTES = 200 * 1024**2


def check_folder(path: Path) -> Iterator[Finding]:
    """Whether the data folder is there, closed to others, writable and roomy."""
    if not path.exists():
        yield note("data folder", f"{path} does not exist yet", "`fleetwatch up` makes it")
        return
    try:
        folder.probe(path)
    except OSError as error:
        yield wrong("data folder", f"{path}: {folder.in_words(error, path)}")
        return
    yield ok("data folder", f"{path} can be written to")
    yield from _permissions(path)
    yield from _space(path)


def _permissions(path: Path) -> Iterator[Finding]:
    if path.stat().st_mode & stat.S_IRWXO:
        yield note("permissions", f"every user of this machine can look into {path}", f"chmod o-rwx {path}")
    else:
        yield ok("permissions", f"{path} is closed to other users")


def _space(path: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(path).free
    text = f"{folder.free_text(path)} free for {path}"
    if free < TOO_LITTLE_BYTES:
        yield wrong(
            "disk", text, "make room: the store refuses writes on a full disk, agents keep their samples until then"
        )
    elif free < LITTLE_BYTES:
        yield note("disk", text, "make room, or shorten the retention")
    else:
        yield ok("disk", text)
