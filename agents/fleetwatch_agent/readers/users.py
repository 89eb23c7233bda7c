"""Names of users, from /etc/passwd alone: the system's own look-up may ask a directory server and wait for it."""

from __future__ import annotations

import os
from pathlib import Path

from fleetwatch_agent.readers.source import Files


class Users:
    """Reads the file again when it has changed."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._changed_ns = -1
        self._names: dict[int, str] = {}

    def owner(self, pid: int) -> str:
        """Who a process runs as; the number where the file has no name for it, empty when it has ended.

        The folder /proc/<pid> tells the effective user always; its files belong to root for processes that shed rights.
        """
        try:
            uid = os.stat(self._files.path(f"proc/{pid}")).st_uid  # noqa: PTH116 - twenty times a pass, a Path costs more
        except OSError:
            return ""
        self._refresh()
        return self._names.get(uid, str(uid))

    def _refresh(self) -> None:
        path = Path(self._files.path("etc/passwd"))
        try:
            changed_ns = path.stat().st_mtime_ns
            if changed_ns != self._changed_ns:
                with path.open("rb") as file:
                    self._names = parse(file.read(1 << 20))
                self._changed_ns = changed_ns
        except OSError:
            return


def parse(passwd: bytes) -> dict[int, str]:
    """Names by number; the first of several wins, as in the system's own look-up."""
    names: dict[int, str] = {}
    for line in passwd.decode("utf-8", "replace").splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[2].isdigit():
            names.setdefault(int(fields[2]), fields[0][:64])
    return names
