"""Making roll-ups from samples, as SQL over temporary tables; what the columns mean stands in `rolled`.

Roll-ups are made from whatever samples exist, with their count. They are first made in plain columns, every field with
all that is kept of it; `encoded` then finds the smallest columns that lose nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from duckdb import DuckDBPyConnection

from fleetwatch_storage.embedded.kinds import Kept
from fleetwatch_storage.embedded.layout import KEYS
from fleetwatch_storage.embedded.names import Field

_KEYS = ", ".join(KEYS)


@dataclass(frozen=True, slots=True)
class Column:
    """A field, what is kept of it, and whether every sample has it."""

    field: Field
    kept: Kept
    complete: bool

    @property
    def plain(self) -> list[str]:
        """Names of its plain columns."""
        kept, f = self.kept, self.field.id
        wanted = (("c", kept.count), ("m", kept.spread), ("x", kept.spread), ("s", kept.spread), ("l", kept.last))
        rises = [(letter, kept.increase) for letter in "ikt"]
        return [f"{letter}{f}" for letter, there in (*wanted, *rises) if there]


def of_samples(samples: str, columns: Sequence[Column], width_ms: int, start_ms: int) -> str:
    """Rows of a width from a relation of samples; those before `start_ms` only serve as the sample before."""
    counters = [column for column in columns if column.kept.increase]
    before = "".join(f", {sql}" for column in counters for sql in _since_before(column))
    window = " WINDOW w AS (PARTITION BY host_id, inst_id ORDER BY ts)" if counters else ""
    values = [sql for column in columns for sql in _of_samples(column)]
    return (
        f"SELECT rows.ts - rows.ts % {width_ms} AS ts, host_id, inst_id, {', '.join(['count(*) AS n', *values])} "
        f"FROM (SELECT *{before} FROM ({samples}){window}) rows "
        f"WHERE rows.ts >= {start_ms} GROUP BY rows.ts - rows.ts % {width_ms}, host_id, inst_id"
    )


def _since_before(column: Column) -> tuple[str, str]:
    """How much the field changed since the last sample that has it, and in which time."""
    f = column.field.column
    if column.complete:
        return f"{f} - lag({f}) OVER w AS d_{f}", f"ts - lag(ts) OVER w AS t_{f}"
    had = f"CASE WHEN {f} IS NOT NULL THEN ts END"
    return f"{f} - lag({f} IGNORE NULLS) OVER w AS d_{f}", f"ts - lag({had} IGNORE NULLS) OVER w AS t_{f}"


def _of_samples(column: Column) -> list[str]:
    f, name = column.field.id, column.field.column
    rose = f"FILTER (WHERE d_{name} >= 0)"
    sql = {
        "c": f"count({name})",
        "m": f"min({name})",
        "x": f"max({name})",
        "s": f"sum({name})",
        "l": f"arg_max({name}, rows.ts)",
        "i": f"sum(d_{name}) {rose}",
        "k": f"count(*) {rose}",
        "t": f"sum(t_{name}) {rose}",
    }
    return [f"{sql[one[0]]} AS {one}" for one in column.plain if one == f"{one[0]}{f}"]


def coarser(table: str, columns: Sequence[Column], width_ms: int) -> str:
    """Rows of a width from a table of plain rows of a smaller one."""
    combined = {"c": "sum", "m": "min", "x": "max", "s": "sum", "i": "sum", "k": "sum", "t": "sum"}
    values = [
        f"arg_max({one}, rows.ts) AS {one}" if one[0] == "l" else f"{combined[one[0]]}({one}) AS {one}"
        for column in columns
        for one in column.plain
    ]
    return (
        f"SELECT rows.ts - rows.ts % {width_ms} AS ts, host_id, inst_id, {', '.join(['sum(n) AS n', *values])} "
        f"FROM {table} rows GROUP BY rows.ts - rows.ts % {width_ms}, host_id, inst_id"
    )


def encoded(connection: DuckDBPyConnection, table: str, columns: Sequence[Column]) -> str:
    """The rows of a plain table in the columns of a file."""
    chosen = [f"{_KEYS}", "n::UINTEGER AS n"]
    counters = [column.field.id for column in columns if column.kept.increase]
    if counters:
        chosen += [f"k{counters[0]}::UINTEGER AS k", f"t{counters[0]}::BIGINT AS t"]
    for column in columns:
        chosen += _encoded(connection, table, column, counters[0] if counters else -1)
    return f"SELECT {', '.join(chosen)} FROM {table}"


def _encoded(connection: DuckDBPyConnection, table: str, column: Column, first_counter: int) -> list[str]:
    f, kept = column.field.id, column.kept
    checks = {"c": f"c{f} = n OR c{f} = 0"} if kept.count else {}
    if kept.spread:
        checks |= {
            "d": f"m{f} + {_spread(f)} = x{f}",
            "e": f"abs(m{f} * c{f} + {_excess(f)} - s{f}) <= 1e-13 * abs(s{f})",
        }
    if kept.increase:
        checks |= {one: f"i{f} IS NULL OR {one}{f} IS NOT DISTINCT FROM {one}{first_counter}" for one in "kt"}
    if not checks:
        return []
    tests = ", ".join(f"coalesce(bool_and({sql}), TRUE)" for sql in checks.values())
    row = connection.execute(f"SELECT {tests} FROM {table}").fetchone() or ()
    holds = dict(zip(checks, row, strict=True))
    return _columns(f, kept, holds)


def _columns(f: int, kept: Kept, holds: dict[str, bool]) -> list[str]:
    found = [] if not kept.count or holds["c"] else [f"nullif(c{f}, 0)::UINTEGER AS c{f}"]
    if kept.spread:
        found.append(f"m{f}")
        found.append(f"{_spread(f)} AS d{f}" if holds["d"] else f"x{f}")
        found.append(f"{_excess(f)} AS e{f}" if holds["e"] else f"s{f}")
    if kept.last:
        found.append(f"l{f}")
    if kept.increase:
        found.append(f"i{f}")
        found += [] if holds["k"] else [f"k{f}::UINTEGER AS k{f}"]
        found += [] if holds["t"] else [f"t{f}::BIGINT AS t{f}"]
    return found


def _spread(f: int) -> str:
    """Maximum less minimum. Most values have few decimals: rounding takes away what subtraction adds behind them."""
    return f"round(x{f} - m{f}, 6)"


def _excess(f: int) -> str:
    return f"round(s{f} - m{f} * c{f}, 6)"
