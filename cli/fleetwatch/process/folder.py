"""The data folder, made and tried before anything is opened in it: a sentence, not a failure deep in an engine."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

from fleetwatch_proto.settings import ConfigError

PROBE_BYTES = 1024 * 1024
"""What must fit: a store that cannot take its first commit is of no use."""


def prepare(folder: Path) -> None:
    """Makes the folder, closed to others, and writes a probe into it.

    Raises:
        ConfigError: it cannot be made, written to, or has no space left; in words.
    """
    try:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        probe(folder)
    except OSError as error:
        raise ConfigError(f"data_dir = {str(folder)!r}: {in_words(error, folder)}") from error


def probe(folder: Path) -> None:
    """Writes, syncs and removes a file.

    Raises:
        OSError: what the system says.
    """
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".probe-") as file:
        file.write(bytes(PROBE_BYTES))
        file.flush()
        os.fsync(file.fileno())


def in_words(error: OSError, folder: Path) -> str:
    """What is wrong and what to do about it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full ({free_text(folder)} free): make room or name another folder with --data-dir"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"this user may not write there: chown {_user()} {folder}, or name another folder with --data-dir"
    if error.errno == errno.EROFS:
        return "the file system is read-only: name another folder with --data-dir"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return "it is not a folder: name another with --data-dir"
    return f"it cannot be used: {error.strerror}"


def free_text(folder: Path) -> str:
    """Free space of the file system the folder is or would be on."""
    there = next((one for one in (folder, *folder.parents) if one.exists()), Path("/"))
    return f"{shutil.disk_usage(there).free / 1024**2:,.0f} MiB"


def _user() -> str:
    return os.environ.get("USER") or str(os.geteuid())
