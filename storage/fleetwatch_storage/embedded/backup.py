"""Backup and restore: one tar file with a copy of the database as of one moment and the sealed files it lists.

`backup.json`, the first member, says what is in it. The copy is made by DuckDB in one transaction while writing goes
on; sealed files never change and are linked, so only sealing waits, and only for as long as the copy takes.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from fleetwatch_storage.embedded import faults, files
from fleetwatch_storage.embedded.database import FORMAT, literal
from fleetwatch_storage.embedded.store import EmbeddedStore
from fleetwatch_storage.errors import StorageError, StoreUnavailable
from fleetwatch_storage.store import Progress

_DATABASE = "hot.duckdb"
_CONTENTS = "backup.json"
_BLOCK = 4 << 20


def backup(store: EmbeddedStore, target: Path, progress: Progress) -> None:
    """Writes the store as it is now into one file, which is there whole or not at all; progress in bytes.

    Raises:
        StoreUnavailable: the store cannot be read, or there is no room.
    """
    with _os_errors(target), tempfile.TemporaryDirectory(prefix="backup-", dir=store.path) as name:
        staging = Path(name)
        with store.maintenance.lock:
            _copy(store, staging)
        members = sorted(path.relative_to(staging).as_posix() for path in staging.rglob("*") if path.is_file())
        temporary = target.with_name(target.name + ".temporary")
        try:
            _pack(staging, members, temporary, progress)
            files.flush(temporary)
            temporary.rename(target)
            files.flush(target.absolute().parent)
        finally:
            temporary.unlink(missing_ok=True)


def _copy(store: EmbeddedStore, staging: Path) -> None:
    try:
        with store.database.cursor() as cursor:
            cursor.execute(f"ATTACH {literal(str(staging / _DATABASE))} AS backup")
            try:
                cursor.execute("COPY FROM DATABASE hot TO backup")
            finally:
                cursor.execute("DETACH backup")
    except duckdb.Error as error:
        raise faults.while_reading(error) from error
    sealed = [file.path for file in store.state.layout.all_files()]
    names = f"{files.FOLDER}/names.json"
    for path in [*sealed, names] if (store.path / names).exists() else sealed:
        (staging / path).parent.mkdir(parents=True, exist_ok=True)
        os.link(store.path / path, staging / path)


def _pack(staging: Path, members: list[str], target: Path, progress: Progress) -> None:
    sizes = {path: (staging / path).stat().st_size for path in members}
    contents = json.dumps({"format": FORMAT, "files": sizes}).encode()
    done, total = 0, sum(sizes.values())
    with tarfile.open(target, "w") as archive:
        head = tarfile.TarInfo(_CONTENTS)
        head.size = len(contents)
        archive.addfile(head, io.BytesIO(contents))
        for path in members:
            archive.add(staging / path, path, recursive=False)
            done += sizes[path]
            progress(done, total)


def restore(source: Path, data_dir: Path, progress: Progress) -> None:
    """Makes the store of a backup in a folder that has none; progress in bytes.

    Raises:
        StorageError: there is a store already, or the file is not a whole backup. Nothing has changed then.
        StoreUnavailable: there is no room.
    """
    if (data_dir / _DATABASE).exists() or (data_dir / files.FOLDER).exists():
        raise StorageError(f"{data_dir}: there is a store already; move it aside first")
    with _os_errors(data_dir):
        data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="restore-", dir=data_dir) as name:
            staging = Path(name)
            _unpack(source, staging, progress)
            if (staging / files.FOLDER).exists():
                (staging / files.FOLDER).rename(data_dir / files.FOLDER)
            (staging / _DATABASE).rename(data_dir / _DATABASE)
            files.flush(data_dir)


def _unpack(source: Path, staging: Path, progress: Progress) -> None:
    try:
        with tarfile.open(source, "r") as archive:
            sizes = _contents(archive, source)
            done, total = 0, sum(sizes.values())
            for member in archive:
                if member.name == _CONTENTS:
                    continue
                if sizes.get(member.name) != member.size or not member.isreg():
                    raise StorageError(f"{source}: not a whole backup: {member.name!r} is not what it should be")
                _extract(archive, member, staging / member.name)
                done += sizes.pop(member.name)
                progress(done, total)
    except (tarfile.TarError, EOFError, ValueError, KeyError) as error:
        raise StorageError(f"{source}: not a backup of a store: {error}") from error
    if sizes:
        raise StorageError(f"{source}: not a whole backup: {min(sizes)!r} is missing")


def _contents(archive: tarfile.TarFile, source: Path) -> dict[str, int]:
    """The members by name and their sizes, from the first one."""
    head = archive.next()
    file = archive.extractfile(head) if head is not None and head.name == _CONTENTS else None
    contents: dict[str, Any] = json.load(file) if file is not None else {}
    if not contents or _DATABASE not in contents["files"]:
        raise StorageError(f"{source}: not a backup of a store")
    if contents["format"] > FORMAT:
        raise StoreUnavailable(f"{source}: made by a newer version of fleetwatch; install that version", reason="newer")
    strange = [name for name in contents["files"] if not _is_ours(name)]
    if strange:
        raise StorageError(f"{source}: not a backup of a store: {strange[0]!r} does not belong in one")
    return {str(name): int(size) for name, size in contents["files"].items()}


def _is_ours(name: str) -> bool:
    return name in (_DATABASE, f"{files.FOLDER}/names.json") or files.named(name) is not None


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    content = archive.extractfile(member)
    if content is None:
        raise StorageError(f"{member.name!r} has no content")
    with target.open("wb") as file:
        shutil.copyfileobj(content, file, _BLOCK)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _os_errors(path: Path) -> Iterator[None]:
    """A full or unwritable disk as this package's error."""
    try:
        yield
    except OSError as error:
        reason = "full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "down"
        raise StoreUnavailable(f"{error.filename or path}: {error.strerror}", reason=reason) from error
