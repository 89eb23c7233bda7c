"""What memory holds after a start: the series, the time of each one's last row, and that row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from duckdb import DuckDBPyConnection

from fleetwatch_storage.embedded import fetch
from fleetwatch_storage.embedded.layout import KEYS, Layout, Tier
from fleetwatch_storage.embedded.names import Measurement, Names
from fleetwatch_storage.embedded.plan import Part
from fleetwatch_storage.embedded.rows import HOUR_MS, Rows
from fleetwatch_storage.embedded.selection import Selection
from fleetwatch_storage.embedded.series import SeriesTable
from fleetwatch_storage.embedded.sources import Sources, union

_END_MS = 1 << 53


def series(
    connection: DuckDBPyConnection, folder: Path, names: Names, layout: Layout, now_ms: int
) -> dict[int, SeriesTable]:
    """The series of every measurement, by its id."""
    rows = fetch.columns(connection, "SELECT measurement_id, host_id, inst_id FROM series")
    tables = {}
    for measurement in names.by_id:
        own = rows["measurement_id"] == measurement.id
        table = tables[measurement.id] = SeriesTable()
        table.add(rows["host_id"][own], rows["inst_id"][own])
        table.distrust(now_ms)
        last = _last_rows(connection, folder, measurement, layout, now_ms)
        if last is not None:
            table.remember(last, table.find(last.keys))
    return tables


def _last_rows(
    connection: DuckDBPyConnection, folder: Path, measurement: Measurement, layout: Layout, now_ms: int
) -> Rows | None:
    """The last row of each series that has rows in hot tables or in the last hour.

    Hot tables must all be looked at: a row that is not newer than the last one in them may be there already.
    """
    hours = [hour for owner, hour in layout.hot if owner == measurement.id]
    part = Part(Tier.RAW, [(min([*hours, now_ms - HOUR_MS]), _END_MS)])
    fields = list(measurement.fields.values())
    nobody = Selection(np.empty(0, np.int32))
    statements = Sources(folder, layout, measurement.id, nobody).raw(part, fields)
    if not statements:
        return None
    keys, rows = ", ".join(KEYS), union(statements)
    last = f"SELECT max(ts) AS ts, host_id, inst_id FROM ({rows}) GROUP BY host_id, inst_id"
    found = fetch.columns(connection, f"SELECT rows.* FROM ({rows}) rows SEMI JOIN ({last}) last USING ({keys})")
    return Rows(found["ts"], found["host_id"], found["inst_id"], {field: found[field.column] for field in fields})
