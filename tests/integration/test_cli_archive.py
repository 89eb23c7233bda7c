"""Backup and restore, export and import, on a store with real rows: as commands, on a folder nobody has open."""

from __future__ import annotations

import json
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest
from fleetwatch_storage.archive import read_archive
from fleetwatch_storage.errors import StorageError

from tests.support.up import fleetwatch

LINES = b"""\
# a file of somebody's
backup,host=db-1,job=full duration=12.5,ok=1 1767225600
backup,host=db-1,job=full duration=13.5,ok=0 1767225660
this is wrong
backup,host=db-2,job=full duration=7 1767225600
"""
QUESTION = (
    "query",
    "backup.duration",
    "--since",
    "2025-12-31",
    "--until",
    "2026-01-02",
    "--step",
    "raw",
    "--format",
    "csv",
)


@dataclass(frozen=True)
class Stored:
    """A folder with three stored lines, what it answers, and a backup of it."""

    folder: Path
    answer: list[str]
    backup: Path


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    place = tmp_path_factory.mktemp("stored")
    folder, file, backup = place / "data", place / "lines.lp", place / "backup.tar"
    file.write_bytes(LINES)
    imported = fleetwatch("import", "--data-dir", str(folder), "--precision", "s", str(file))
    made = fleetwatch("backup", "--data-dir", str(folder), str(backup))
    assert (imported.returncode, made.returncode) == (1, 0), imported.stderr + made.stderr
    assert imported.stdout == "3 lines stored, 1 refused\n"
    assert imported.stderr.startswith("line 4: ")
    assert made.stdout == f"{backup}: metadata.sqlite and store.tar\n"
    return Stored(folder, answer(folder), backup)


def answer(folder: Path) -> list[str]:
    """What the folder's store says, as lines of CSV with a header."""
    done = fleetwatch(*QUESTION, "--data-dir", str(folder))
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_restored_backup_answers_as_the_folder_did(stored: Stored, tmp_path: Path) -> None:
    done = fleetwatch("restore", "--data-dir", str(tmp_path), str(stored.backup))

    assert done.returncode == 0, done.stderr
    assert answer(tmp_path) == stored.answer
    assert len(stored.answer) == 4


def test_a_backup_is_one_file_that_only_its_owner_reads(stored: Stored) -> None:
    assert stat.S_IMODE(stored.backup.stat().st_mode) == 0o600
    assert sorted(path.name for path in stored.backup.parent.iterdir()) == ["backup.tar", "data", "lines.lp"]


def test_a_backup_is_not_restored_over_a_store(stored: Stored) -> None:
    done = fleetwatch("restore", "--data-dir", str(stored.folder), str(stored.backup))

    assert done.returncode == 1
    assert "there is data already" in done.stderr


@pytest.mark.parametrize("kept", [0, 100, 20_000, 200_000])
def test_half_a_backup_is_refused_and_changes_nothing(stored: Stored, tmp_path: Path, kept: int) -> None:
    file, folder = tmp_path / "half.tar", tmp_path / "data"
    file.write_bytes(stored.backup.read_bytes()[:kept])

    with pytest.raises(StorageError, match="not a whole backup"):
        read_archive(file, folder, lambda done, total: None)

    assert list(folder.iterdir()) == []


def test_lines_survive_export_and_import(stored: Stored, tmp_path: Path) -> None:
    file, again = tmp_path / "samples.lp.gz", tmp_path / "again"

    written = fleetwatch("export", "--data-dir", str(stored.folder), "--since", "2025-12-31", str(file))
    read = fleetwatch("import", "--data-dir", str(again), "--format", "json", str(file))

    assert written.stdout == f"5 values written to {file}\n"
    assert json.loads(read.stdout) == {"lines": 3, "rejected_lines": 0, "rejected": []}
    assert answer(again) == stored.answer


def test_parquet_survives_export_and_import(stored: Stored, tmp_path: Path) -> None:
    folder, again = tmp_path / "samples", tmp_path / "again"
    again.mkdir()
    shutil.copy(stored.folder / "metadata.sqlite", again)

    written = fleetwatch(
        "export", "--format", "parquet", "--data-dir", str(stored.folder),
        "--since", "2025-12-31", "--until", "2026-01-02", str(folder),
    )  # fmt: skip
    read = fleetwatch("import", "--data-dir", str(again), str(folder))

    assert (written.stdout, read.stdout) == (f"3 rows written to {folder}\n", "3 rows stored\n")
    assert answer(again) == stored.answer


def test_a_folder_without_a_store_is_named(tmp_path: Path) -> None:
    done = fleetwatch("backup", "--data-dir", str(tmp_path), str(tmp_path / "backup.tar"))

    assert done.returncode == 1
    assert done.stderr.startswith(f"fleetwatch: {tmp_path}: there is no fleetwatch store")
