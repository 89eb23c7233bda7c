"""Looking through the folder at the start: files of a crash are removed, files the database does not know are taken in.

A file is on disk before the database lists it, and off the list before it is removed. So a file that is not listed is
left from a crash when the database has its rows elsewhere; when it has not, the database was replaced, and the file is
all there is.
"""

from __future__ import annotations

from pathlib import Path

import structlog
from duckdb import DuckDBPyConnection

from fleetwatch_storage.embedded import files, layout, sidecar
from fleetwatch_storage.embedded.layout import Layout, SealedFile
from fleetwatch_storage.embedded.names import Names
from fleetwatch_storage.embedded.rows import HOUR_MS
from fleetwatch_storage.embedded.sources import parquet
from fleetwatch_storage.errors import StoreUnavailable

_log = structlog.get_logger()


def names(connection: DuckDBPyConnection, folder: Path, known: Names) -> Names:
    """The names of the store: those beside the sealed files when the database is new."""
    try:
        found = sidecar.read(folder) if not known.by_id else None
    except (ValueError, KeyError, TypeError) as error:
        raise StoreUnavailable(
            f"{folder / files.FOLDER}: names.json cannot be read ({error}); restore a backup, or move the folder aside",
            reason="corrupt",
        ) from error
    if found is None:
        return known
    connection.execute("BEGIN")
    found.save(connection)
    connection.execute("COMMIT")
    found.keep()
    _log.info("names_adopted", folder=str(folder), hosts=len(found.hosts), measurements=len(found.by_id))
    return found


def files_of(connection: DuckDBPyConnection, folder: Path, known: Layout, measurements: int) -> Layout:
    """The layout with files taken in that it lacks; what a crash left is removed."""
    for leftover in (folder / files.FOLDER).glob("**/*.temporary"):
        leftover.unlink()
    listed = {file.path for file in known.all_files()}
    on_disk = sorted(path.relative_to(folder).as_posix() for path in (folder / files.FOLDER).glob("**/*.parquet"))
    new: list[SealedFile] = []
    for path in (path for path in on_disk if path not in listed):
        file = _described(connection, folder, path)
        if file is None or file.measurement >= measurements:
            _log.warning("file_not_known", file=path)
        elif _has_rows_of(known.with_files((), new), file):
            (folder / path).unlink()
        else:
            new.append(file)
    if new:
        _take_in(connection, folder, new)
    return known.with_files((), new)


def _described(connection: DuckDBPyConnection, folder: Path, path: str) -> SealedFile | None:
    what = files.named(path)
    if what is None:
        return None
    tier, measurement, start, end, part, generation = what
    columns = frozenset(files.columns_of(connection, folder / path))
    row = connection.execute("SELECT count(*) FROM read_parquet(?)", [str(folder / path)]).fetchone()
    size = (folder / path).stat().st_size
    return SealedFile(path, tier, measurement, start, end, part, generation, row[0] if row else 0, size, columns)


def _has_rows_of(known: Layout, file: SealedFile) -> bool:
    """Whether the rows of a file are in another place too."""
    near = known.files_between(file.tier, file.measurement, file.start_ms, file.end_ms)
    hours = range(file.start_ms, file.end_ms, HOUR_MS)
    return any(one.slice == file.slice for one in near) or any((file.measurement, hour) in known.hot for hour in hours)


def _take_in(connection: DuckDBPyConnection, folder: Path, new: list[SealedFile]) -> None:
    connection.execute("BEGIN")
    layout.record(connection, (), new)
    for measurement in {file.measurement for file in new}:
        _add_series(connection, folder, [file for file in new if file.measurement == measurement])
    connection.execute("COMMIT")
    _log.info("files_adopted", folder=str(folder), files=len(new))


def _add_series(connection: DuckDBPyConnection, folder: Path, new: list[SealedFile]) -> None:
    """The series that occur in the files, where the database does not have them."""
    owner = new[0].measurement
    keys = " UNION ".join(f"SELECT host_id, inst_id FROM {parquet(folder, [file])}" for file in new)
    connection.execute(
        f"INSERT INTO series SELECT {owner}, host_id, inst_id FROM ({keys}) AS found "
        f"ANTI JOIN (SELECT * FROM series WHERE measurement_id = {owner}) AS known USING (host_id, inst_id)"
    )
