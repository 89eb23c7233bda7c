"""Hot tables: making and widening them, and merging rows into them that may be there already."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from duckdb import DuckDBPyConnection

from fleetwatch_storage.embedded.database import insert
from fleetwatch_storage.embedded.fetch import plain
from fleetwatch_storage.embedded.layout import KEYS, HotTable
from fleetwatch_storage.embedded.names import Field
from fleetwatch_storage.embedded.rows import Rows


def table_for(
    connection: DuckDBPyConnection,
    key: tuple[int, int],
    fields: Iterable[Field],
    tables: Sequence[HotTable],
    frozen: Collection[str],
) -> HotTable:
    """The newest table of a measurement and hour, with columns for these fields; a new one when it is frozen."""
    wanted = {field.column: _kind(field) for field in fields}
    if not tables or tables[-1].name in frozen:
        return _create(connection, key, wanted, tables[-1].generation + 1 if tables else 0)
    table = tables[-1]
    missing = wanted.keys() - table.columns
    for column in sorted(missing):
        connection.execute(f"ALTER TABLE {table.name} ADD COLUMN {column} {wanted[column]}")
    return HotTable(*key, table.generation, table.columns | missing) if missing else table


def _create(connection: DuckDBPyConnection, key: tuple[int, int], wanted: dict[str, str], generation: int) -> HotTable:
    table = HotTable(*key, generation, frozenset((*KEYS, *wanted)))
    columns = "".join(f", {column} {kind}" for column, kind in wanted.items())
    connection.execute(f"CREATE TABLE {table.name} (ts BIGINT, host_id INTEGER, inst_id INTEGER{columns})")
    return table


def _kind(field: Field) -> str:
    return "VARCHAR" if field.text else "DOUBLE"


def merge(connection: DuckDBPyConnection, table: str, rows: Rows) -> None:
    """Appends rows, each series and time once; where a row is there already, the new one's present fields win."""
    connection.execute("PRAGMA enable_optimizer")
    try:
        _merge(connection, table, rows)
    finally:
        connection.execute("PRAGMA disable_optimizer")


def _merge(connection: DuckDBPyConnection, table: str, rows: Rows) -> None:
    batch = rows.columns()
    low, high = int(rows.ts.min()), int(rows.ts.max())
    match = "t.ts = b.ts AND t.host_id = b.host_id AND t.inst_id = b.inst_id"
    between = f"t.ts BETWEEN {low} AND {high}"
    found = connection.execute(f"SELECT t.* FROM {table} t SEMI JOIN batch b ON {match} WHERE {between}").fetchnumpy()
    there = {name: plain(column) for name, column in found.items()}
    if not len(there["ts"]):
        insert(connection, table, batch)
        return
    newer = ", ".join([*(f"b.{key}" for key in KEYS), *(_newer(name, batch) for name in there if name not in KEYS)])
    united = connection.execute(f"SELECT {newer} FROM batch b LEFT JOIN there t ON {match}").fetchnumpy()
    connection.execute(f"DELETE FROM {table} t USING batch b WHERE {match} AND {between}")
    insert(connection, table, {name: plain(column) for name, column in united.items()})


def _newer(column: str, batch: Collection[str]) -> str:
    return f"coalesce(b.{column}, t.{column}) AS {column}" if column in batch else f"t.{column}"
