"""Rows that will never be stored, kept with the reason in a bounded file: nothing is thrown away in silence."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog
from fleetwatch_storage.errors import RejectedRow
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.lineprotocol.encode import encode

FILE = "quarantine.jsonl"
OLDER_FILE = "quarantine.older.jsonl"
_MOST_ROWS = 10_000

_log = structlog.get_logger()


class Quarantine:
    """JSON lines `{"at_ms", "reason", "measurement", "line"}` in two files of half the limit each.

    When the newer one is full it replaces the older one. Called from the commit thread only. A folder that cannot be
    written to costs the copy, never the running of things: it is logged once until it works again.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._file = folder / FILE
        self._older = folder / OLDER_FILE
        self._half = max_bytes // 2
        self._failing = False

    def keep(self, rows: Sequence[RejectedRow], at_ms: int) -> None:
        """Appends rows and waits for the disk."""
        text = "".join(_line(row, at_ms) for row in rows[:_MOST_ROWS])
        try:
            self._append(text.encode())
            self._failing = False
        except OSError as error:
            if not self._failing:
                _log.error("quarantine file cannot be written", file=str(self._file), error=str(error), rows=len(rows))
            self._failing = True

    def _append(self, raw: bytes) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        raw = raw[: self._half]
        if self._file.exists() and self._file.stat().st_size + len(raw) > self._half:
            self._file.replace(self._older)
        file = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, raw)
            os.fsync(file)
        finally:
            os.close(file)


def _line(row: RejectedRow, at_ms: int) -> str:
    record = {"at_ms": at_ms, "reason": row.reason, "measurement": row.measurement, "line": row.line[:1000]}
    return json.dumps(record) + "\n"


def rows_of(frame: Frame, reason: str) -> Iterator[RejectedRow]:
    """The rows of a frame as line protocol with milliseconds."""
    for line in encode(frame).decode("utf-8", "replace").splitlines():
        yield RejectedRow(frame.measurement, line[:1000], reason)
