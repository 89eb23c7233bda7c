"""Parquet for others: export of samples with their names in place of numbers, and import of such files.

One file per measurement and day: `time` (UTC), `host`, `tags` (a JSON object) and a column per field. DuckDB does not
tell column names by case, so a field that cannot keep its name gets another; the file's metadata under the key
`fleetwatch` has the measurement and the field of each column.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import numpy as np
from duckdb import DuckDBPyConnection

from fleetwatch_storage.embedded import faults, fetch
from fleetwatch_storage.embedded.database import literal
from fleetwatch_storage.embedded.layout import Layout, Tier
from fleetwatch_storage.embedded.names import Field, Measurement
from fleetwatch_storage.embedded.plan import Part
from fleetwatch_storage.embedded.rows import HOUR_MS
from fleetwatch_storage.embedded.selection import Selection
from fleetwatch_storage.embedded.sources import Sources, union
from fleetwatch_storage.embedded.store import EmbeddedStore
from fleetwatch_storage.errors import StorageError
from fleetwatch_storage.frames import Codes, Frame, TagSet
from fleetwatch_storage.store import Progress

_DAY_MS = 24 * HOUR_MS
_ROWS = 50_000
"""Rows of one write while importing."""

_KEYS = ("time", "host", "tags")


def export_parquet(
    store: EmbeddedStore, target: Path, start_ms: int, end_ms: int, measurements: Sequence[str], progress: Progress
) -> int:
    """Writes the samples of these measurements (all when empty) in `[start_ms, end_ms)`; returns how many rows.

    Samples that only live on in roll-ups are not exported. Progress in files; files that are there are replaced.

    Raises:
        StoreUnavailable: the store cannot be read, or the folder not be written to.
    """
    known = store.state.names.measurements
    chosen = [known[name] for name in measurements or sorted(known) if name in known]
    target.mkdir(parents=True, exist_ok=True)
    rows = 0
    with store.maintenance.lock:
        pieces = [(one, day) for one in chosen for day in _days(store.state.layout, one, start_ms, end_ms)]
        for done, (measurement, day) in enumerate(pieces, 1):
            times = max(start_ms, day), min(end_ms, day + _DAY_MS)
            rows += _export(store, measurement, times, _file(target, measurement, day))
            progress(done, len(pieces))
    return rows


def _days(layout: Layout, measurement: Measurement, start_ms: int, end_ms: int) -> list[int]:
    """The days of the range that have samples, by their start."""
    sealed = {file.start_ms for file in layout.files_between(Tier.RAW, measurement.id, start_ms, end_ms)}
    hot = {hour for owner, hour in layout.hot if owner == measurement.id and start_ms - HOUR_MS < hour < end_ms}
    return sorted({hour // _DAY_MS * _DAY_MS for hour in sealed | hot})


def _file(target: Path, measurement: Measurement, day_ms: int) -> Path:
    """A name that says what is in it and is safe on every file system."""
    date = np.datetime_as_string(np.datetime64(day_ms, "ms"), unit="D")
    return target / f"{measurement.id:04d}-{quote(measurement.name, safe='')[:80]}-{date}.parquet"


def _export(store: EmbeddedStore, measurement: Measurement, times: tuple[int, int], file: Path) -> int:
    fields = list(measurement.fields.values())
    everyone = Selection(np.empty(0, np.int32))
    sources = Sources(store.path, store.state.layout, measurement.id, everyone)
    statements = sources.raw(Part(Tier.RAW, [times]), fields)
    if not statements:
        return 0
    names = _column_names(fields)
    columns = ", ".join(f"r.{field.column} AS {_quoted(names[field.name])}" for field in fields)
    about = json.dumps({"measurement": measurement.name, "fields": {names[field.name]: field.name for field in fields}})
    statement = (
        f"SELECT epoch_ms(r.ts) AS time, h.name AS host, t.tags AS tags, {columns} FROM ({union(statements)}) r "
        f"JOIN hosts h ON h.id = r.host_id JOIN tagsets t ON t.id = r.inst_id AND t.measurement_id = {measurement.id}"
    )
    options = f"FORMAT parquet, COMPRESSION zstd, KV_METADATA {{fleetwatch: {literal(about)}}}"
    try:
        with store.database.cursor() as cursor:
            row = cursor.execute(f"COPY ({statement}) TO {literal(str(file))} ({options})").fetchone()
    except duckdb.Error as error:
        raise faults.while_reading(error) from error
    return int(row[0]) if row else 0


def _column_names(fields: Sequence[Field]) -> dict[str, str]:
    """A column for each field name, none like another or like a key column but for case."""
    taken, names = set(_KEYS), {}
    for field in fields:
        column, number = field.name, 2
        while column.lower() in taken:
            column, number = f"{field.name}_{number}", number + 1
        taken.add(column.lower())
        names[field.name] = column
    return names


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def import_parquet(store: EmbeddedStore, source: Path, progress: Progress) -> int:
    """Writes the rows of an exported file, or of all in a folder, into the store; returns how many. Progress in files.

    Raises:
        StorageError: a file is not an export; those before it are stored.
        StoreUnavailable: the store takes no rows; running it again does no harm.
    """
    found = sorted(source.glob("*.parquet")) if source.is_dir() else [source]
    if not found:
        raise StorageError(f"{source}: no Parquet files there")
    rows = 0
    for done, file in enumerate(found, 1):
        for frame in _frames(file):
            store.write([frame])
            rows += len(frame)
        progress(done, len(found))
    return rows


def _frames(file: Path) -> Iterator[Frame]:
    path = literal(str(file))
    try:
        with duckdb.connect() as cursor:
            about = _about(cursor, file)
            row = cursor.execute(f"SELECT count(*) FROM read_parquet({path})").fetchone()
            for start in range(0, row[0] if row else 0, _ROWS):
                yield _frame(cursor, path, about, start)
    except duckdb.Error as error:
        raise StorageError(f"{file}: cannot be read as an export: {error}") from error


def _about(cursor: DuckDBPyConnection, file: Path) -> dict[str, Any]:
    statement = "SELECT value FROM parquet_kv_metadata(?) WHERE key = 'fleetwatch'::BLOB"
    row = cursor.execute(statement, [str(file)]).fetchone()
    if row is None:
        raise StorageError(f"{file}: not an export of fleetwatch")
    about: dict[str, Any] = json.loads(row[0])
    return about


def _frame(cursor: DuckDBPyConnection, path: str, about: dict[str, Any], start: int) -> Frame:
    columns = "".join(f", {_quoted(column)} AS c{place}" for place, column in enumerate(about["fields"]))
    rows = fetch.columns(
        cursor,
        f"SELECT epoch_ms(time) AS ts, host, tags{columns} FROM read_parquet({path}, file_row_number = true) "
        f"WHERE file_row_number >= {start} AND file_row_number < {start + _ROWS}",
    )
    host, hosts = _coded(rows["host"])
    tagset, tags = _coded(rows["tags"])
    fields = {name: rows[f"c{place}"] for place, name in enumerate(about["fields"].values())}
    return Frame(str(about["measurement"]), rows["ts"], host, hosts, tagset, [_tagset(one) for one in tags], fields)


def _coded(texts: np.ndarray[Any, np.dtype[Any]]) -> tuple[Codes, list[str]]:
    number: dict[str, int] = {}
    codes = np.fromiter((number.setdefault(text, len(number)) for text in texts.tolist()), np.int32, len(texts))
    return codes, list(number)


def _tagset(text: str) -> TagSet:
    return tuple((str(key), str(value)) for key, value in json.loads(text).items())
