"""Sealed files on disk: writing them so that they are there whole or not at all, and what their names say."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from duckdb import DuckDBPyConnection

from fleetwatch_storage.embedded.database import literal
from fleetwatch_storage.embedded.layout import SealedFile, Tier
from fleetwatch_storage.embedded.rows import HOUR_MS

FOLDER = "sealed"
_OPTIONS = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 3, ROW_GROUP_SIZE 61440, PARQUET_VERSION v2"
_NAME = re.compile(rf"{FOLDER}/(raw|1m|5m|1h)/(\d+)/(\d+)-(\d+)h-s(\d+)-g(\d+)\.parquet")

Step = Callable[[str], None]
"""Told the name of each point in sealing at which a crash must lose and double nothing; does nothing but in tests."""


def write(
    connection: DuckDBPyConnection,
    folder: Path,
    statement: str,
    place: tuple[Tier, int, int],
    times: tuple[int, int],
    generation: int,
    step: Step,
) -> SealedFile:
    """The rows of a statement as a file of (tier, measurement, slice) for these times, on disk for good.

    It is written under another name, flushed, renamed, and the folder flushed; until the database lists it, nobody
    reads it.
    """
    tier, measurement, part = place
    start, hours = times[0] // HOUR_MS, (times[1] - times[0]) // HOUR_MS
    path = f"{FOLDER}/{tier}/{measurement}/{start}-{hours}h-s{part}-g{generation}.parquet"
    final = folder / path
    _make_folders(final.parent)
    rows = _put(connection, statement, final, tier, step)
    columns = frozenset(columns_of(connection, final))
    return SealedFile(path, tier, measurement, *times, part, generation, rows, final.stat().st_size, columns)


def _put(connection: DuckDBPyConnection, statement: str, final: Path, tier: Tier, step: Step) -> int:
    """Writes the rows of a statement into a file, whole or not at all; how many they were."""
    temporary = final.with_suffix(".temporary")
    try:
        options = f"{_OPTIONS}, USE_TMP_FILE false"
        copied = connection.execute(f"COPY ({statement}) TO {literal(str(temporary))} ({options})").fetchone()
        flush(temporary)
        step(f"{tier} written")
        temporary.rename(final)
        flush(final.parent)
        step(f"{tier} renamed")
    except BaseException:
        remove([temporary, final])
        raise
    return int(copied[0]) if copied else 0


def columns_of(connection: DuckDBPyConnection, file: Path) -> list[str]:
    """The columns of a Parquet file."""
    return [
        row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM read_parquet({literal(str(file))})").fetchall()
    ]


def named(path: str) -> tuple[Tier, int, int, int, int, int] | None:
    """Tier, measurement, start and end in ms, slice and generation that a file's name says; None: not one of ours."""
    match = _NAME.fullmatch(path)
    if match is None:
        return None
    measurement, start, hours, part, generation = map(int, match.groups()[1:])
    return Tier(match[1]), measurement, start * HOUR_MS, (start + hours) * HOUR_MS, part, generation


def remove(paths: Iterable[Path]) -> None:
    """Removes files that may be gone already."""
    for path in paths:
        path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Waits until a file, or the names in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Replaces a small file whole."""
    temporary = path.with_suffix(".temporary")
    temporary.write_text(text, encoding="utf-8")
    flush(temporary)
    temporary.rename(path)
    flush(path.parent)


def _make_folders(folder: Path) -> None:
    """The folder and those above it, each flushed into the one it is in."""
    if folder.exists():
        return
    _make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    flush(folder.parent)
