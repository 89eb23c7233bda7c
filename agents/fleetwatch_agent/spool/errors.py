"""What can go wrong with the spool, by what to do about it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum


class Trouble(StrEnum):
    """`FULL` and `BROKEN` (read-only, unreadable, gone) pass when the disk is mended; `CORRUPT` needs a new file."""

    FULL = "full"
    BROKEN = "broken"
    CORRUPT = "corrupt"


class SpoolUnusable(Exception):
    """The file cannot be written or read now; nothing of the call that raised was kept."""

    def __init__(self, trouble: Trouble, detail: str) -> None:
        super().__init__(f"{trouble}: {detail}")
        self.trouble = trouble


class SpoolNewer(Exception):
    """A later version of the agent wrote this file; using it could destroy what it holds."""


_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_MISMATCH}


@contextmanager
def translated() -> Iterator[None]:
    """Turns what sqlite3 raises into SpoolUnusable."""
    try:
        yield
    except sqlite3.Error as error:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        missing = isinstance(error, sqlite3.OperationalError) and str(error).startswith("no such")
        if code in _CORRUPT or missing:
            trouble = Trouble.CORRUPT
        else:
            trouble = Trouble.FULL if code == sqlite3.SQLITE_FULL else Trouble.BROKEN
        raise SpoolUnusable(trouble, str(error)) from error
    except OSError as error:
        raise SpoolUnusable(Trouble.BROKEN, str(error)) from error
