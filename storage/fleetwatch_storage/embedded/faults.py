"""DuckDB's errors as this package's, each with what to do about it."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb

from fleetwatch_storage.errors import QueryFailed, StorageError, StoreUnavailable


def while_opening(error: duckdb.Error, file: Path) -> StoreUnavailable:
    """Why the store's file cannot be opened."""
    text = str(error)
    if holder := re.search(r"Conflicting lock is held.*?\(PID (\d+)\)", text):
        return StoreUnavailable(
            f"{file}: another process (pid {holder[1]}) has this store open; stop it, or read through its collector",
            reason="locked",
        )
    if "Conflicting lock" in text or "Could not set lock" in text:
        return StoreUnavailable(f"{file}: another process has this store open; stop it first", reason="locked")
    if "version number" in text or "newer version of DuckDB" in text:
        return StoreUnavailable(
            f"{file}: written by a newer version of fleetwatch; install that version", reason="newer"
        )
    if "No space left" in text:
        return StoreUnavailable(f"{file}: the disk is full; free some space", reason="full")
    if re.search(r"Permission denied|Read-only file system", text):
        return StoreUnavailable(f"{file}: cannot be opened for writing: {_first_line(text)}", reason="down")
    return StoreUnavailable(
        f"{file}: cannot be read ({_first_line(text)}); nothing was changed. Restore a backup, or move hot.duckdb and "
        f"hot.duckdb.wal aside: what is sealed is then found again, the last hour or two are in the files moved aside",
        reason="corrupt",
    )


def while_writing(error: duckdb.Error) -> StoreUnavailable:
    """Why a commit failed: nothing of it is promised."""
    if is_full(error):
        return StoreUnavailable("the store's disk is full; free some space, writing goes on by itself", reason="full")
    return StoreUnavailable(f"the store could not commit: {_first_line(str(error))}", reason="down")


def while_reading(error: duckdb.Error) -> StorageError:
    """Why a query failed."""
    if isinstance(error, duckdb.OutOfMemoryException):
        return QueryFailed(
            "the query needs more memory than the store may use; ask for fewer series or a shorter range"
        )
    return StoreUnavailable(f"the store could not answer: {_first_line(str(error))}", reason="down")


def is_full(error: duckdb.Error) -> bool:
    """Whether the disk had no room."""
    return "No space left" in str(error) or "Disk quota exceeded" in str(error)


def is_fatal(error: duckdb.Error) -> bool:
    """Whether the database must be opened again before it answers anything."""
    return isinstance(error, duckdb.FatalException | duckdb.InternalException) or "has been invalidated" in str(error)


def is_outdated(error: duckdb.Error) -> bool:
    """Whether a reader saw tables or files that were replaced meanwhile: asking again with the new layout helps."""
    text = str(error)
    missing_file = isinstance(error, duckdb.IOException) and ("No such file" in text or "No files found" in text)
    return missing_file or (isinstance(error, duckdb.CatalogException) and "does not exist" in text)


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:300] if text.strip() else "unknown"
