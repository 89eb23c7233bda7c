"""A backup of everything a data folder holds: the embedded store and the metadata, in one tar file.

The file has `archive.json` (what is in it), then `metadata.sqlite` and `store.tar`, as far as there are such parts:
samples in InfluxDB are backed up with its own tools, metadata in PostgreSQL with pg_dump.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import sqlalchemy as sa

from fleetwatch_storage.embedded.store import EmbeddedStore
from fleetwatch_storage.errors import StorageError, StoreUnavailable
from fleetwatch_storage.store import Progress, StoreReader

FORMAT = 1
_CONTENTS, _METADATA, _STORE = "archive.json", "metadata.sqlite", "store.tar"
_BLOCK = 4 << 20


def write_archive(store: StoreReader, database: sa.Engine, target: Path, progress: Progress) -> list[str]:
    """Writes the parts as they are now into one file, which is there whole or not at all; what is in it.

    Writing and reading go on meanwhile. Needs room for the store twice beside the file. Progress in bytes of the store.

    Raises:
        StoreUnavailable: the store cannot be read, or there is no room.
        StorageError: nothing of this store and database is on this machine.
    """
    with _os_errors(target), tempfile.TemporaryDirectory(prefix=".fleetwatch-backup-", dir=target.parent) as name:
        staging = Path(name)
        parts = list(_stage(store, database, staging, progress))
        if not parts:
            raise StorageError("samples and metadata are in servers of their own: back those up with their own tools")
        packed = staging / "archive.tar"
        packed.touch(mode=0o600)  # alerts and host names are nobody else's business
        with packed.open("wb") as file:
            with tarfile.open(fileobj=file, mode="w") as archive:
                _add_contents(archive, parts)
                for part in parts:
                    archive.add(staging / part, part, recursive=False)
            file.flush()
            os.fsync(file.fileno())
        packed.rename(target)
        _flush_folder(target.absolute().parent)
    return parts


def read_archive(source: Path, data_dir: Path, progress: Progress) -> list[str]:
    """Makes the parts of a backup in a folder that has none of them; what was in it. Progress in bytes of the store.

    Raises:
        StorageError: there is something already, or the file is not a whole backup. Nothing has changed then.
        StoreUnavailable: there is no room, or a newer version wrote the file.
    """
    from fleetwatch_storage.embedded.backup import restore

    if (data_dir / _METADATA).exists():
        raise StorageError(f"{data_dir}: there is data already; move it aside first")
    with _os_errors(data_dir):
        data_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fleetwatch-restore-", dir=data_dir) as name:
            staging = Path(name)
            parts = _unpack(source, staging)
            if _STORE in parts:
                restore(staging / _STORE, data_dir / "store", progress)
            if _METADATA in parts:
                (staging / _METADATA).rename(data_dir / _METADATA)
            _flush_folder(data_dir)
    return parts


def _stage(store: StoreReader, database: sa.Engine, staging: Path, progress: Progress) -> Iterator[str]:
    from fleetwatch_storage.embedded.backup import backup

    if database.dialect.name == "sqlite":
        _copy_sqlite(database, staging / _METADATA)
        yield _METADATA
    if isinstance(store, EmbeddedStore):
        backup(store, staging / _STORE, progress)
        yield _STORE


def _copy_sqlite(database: sa.Engine, target: Path) -> None:
    """SQLite's own online backup: one moment's state, while others read and write."""
    connection = database.raw_connection()
    try:
        with closing(sqlite3.connect(target)) as copy:
            connection.driver_connection.backup(copy)  # type: ignore[union-attr]  # sqlite3's connection
    except sqlite3.Error as error:
        raise StoreUnavailable(f"the metadata cannot be copied: {error}") from error
    finally:
        connection.close()


def _add_contents(archive: tarfile.TarFile, parts: list[str]) -> None:
    contents = json.dumps({"format": FORMAT, "parts": parts}).encode()
    head = tarfile.TarInfo(_CONTENTS)
    head.size = len(contents)
    archive.addfile(head, io.BytesIO(contents))


def _unpack(source: Path, staging: Path) -> list[str]:
    try:
        with tarfile.open(source, "r:") as archive:
            parts = _contents(archive, source)
            for part in parts:
                _extract(archive, part, staging / part)
    except (tarfile.TarError, EOFError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{source}: not a whole backup: {error}") from error
    return parts


def _contents(archive: tarfile.TarFile, source: Path) -> list[str]:
    head = archive.extractfile(_CONTENTS)
    contents = json.loads(head.read(_BLOCK)) if head else {}
    if contents["format"] > FORMAT:
        raise StoreUnavailable(f"{source}: made by a newer version of fleetwatch; install that version", reason="newer")
    return [part for part in (_METADATA, _STORE) if part in contents["parts"]]


def _extract(archive: tarfile.TarFile, name: str, target: Path) -> None:
    member = archive.getmember(name)
    content = archive.extractfile(member)
    if content is None:
        raise ValueError(f"{name!r} has no content")
    with target.open("wb") as file:
        shutil.copyfileobj(content, file, _BLOCK)
        file.flush()
        os.fsync(file.fileno())
    if target.stat().st_size != member.size:
        raise ValueError(f"{name!r} is cut off")


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _os_errors(path: Path) -> Iterator[None]:
    """A full or unwritable disk as this package's error."""
    try:
        yield
    except OSError as error:
        reason = "full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "down"
        raise StoreUnavailable(f"{error.filename or path}: {error.strerror}", reason=reason) from error
