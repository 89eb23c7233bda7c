"""Samples as taken, and transforms: rows are fetched and the rest is done in numpy, some hosts at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from duckdb import DuckDBPyConnection

from fleetwatch_storage import reduce
from fleetwatch_storage.embedded import fetch, rolled
from fleetwatch_storage.embedded.fetch import Columns
from fleetwatch_storage.embedded.layout import Tier
from fleetwatch_storage.embedded.names import Field
from fleetwatch_storage.embedded.plan import Part
from fleetwatch_storage.embedded.question import Question, absent
from fleetwatch_storage.embedded.sources import union
from fleetwatch_storage.errors import QueryFailed
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.query import Transform

_NO_ROWS: Columns = {"ts": np.empty(0, np.int64), "host_id": np.empty(0, np.int32), "inst_id": np.empty(0, np.int32)}
_PIECE_ROWS = 4_000_000
"""About how many rows are fetched at once, guessed from one every two seconds."""


def answer(connection: DuckDBPyConnection, question: Question, max_rows: int) -> Frame:
    """Samples, or steps of transformed ones, ordered.

    Raises:
        QueryFailed: more rows than allowed.
    """
    found, rows = [], 0
    for selection in question.selection.pieces(_pieces(question)):
        piece = replace(question, selection=selection, sources=question.sources.of(selection))
        found.append(_answer(connection, piece))
        rows += len(found[-1])
        if rows > max_rows:
            raise QueryFailed(
                f"the answer has more than {max_rows} rows; ask for fewer series, a step or a shorter range"
            )
    return found[0] if len(found) == 1 else reduce.ordered(reduce.joined(found), ranked=True)


def _pieces(question: Question) -> int:
    spans = [(end - start) / (part.tier.width_ms or 2000) for part in question.parts for start, end in part.times]
    return 1 + int(sum(spans) * len(question.selection.series) / _PIECE_ROWS)


def _answer(connection: DuckDBPyConnection, question: Question) -> Frame:
    query = question.query
    if query.transform in (Transform.RATE, Transform.INCREASE):
        return _changes(connection, question)
    blocks = [_raw(connection, question, part) for part in question.parts if part.tier is Tier.RAW]
    blocks += [_rolled(connection, question, part, _representative) for part in question.rolled]
    rows = reduce.ordered(_frame(question, blocks), ranked=True)
    changed = reduce.transformed(rows, query.transform, query.start_ms)
    return reduce.stepped(changed, query) if query.step_ms else changed


def _changes(connection: DuckDBPyConnection, question: Question) -> Frame:
    """Rates and increases: roll-ups have them, samples need the one before."""
    query = question.query
    raw = [span for part in question.parts if part.tier is Tier.RAW for span in part.times]
    found = [_raw_changes(connection, question, span) for span in raw]
    if question.rolled and query.step_ms and query.transform is Transform.RATE and query.aggregates == ("avg",):
        return _weighted(connection, question, found)
    change = rolled.increase if query.transform is Transform.INCREASE else rolled.rate
    found += [_frame(question, [_rolled(connection, question, part, change)]) for part in question.rolled]
    rows = reduce.ordered(reduce.joined(found), ranked=True)
    return reduce.stepped(rows, query) if query.step_ms else rows


def _weighted(connection: DuckDBPyConnection, question: Question, raw: list[Frame]) -> Frame:
    """Mean rates over steps, where a row of a roll-up counts as often as it has intervals."""
    query = question.query
    found = [replace(one, fields={**one.fields, **_ones(one.fields)}) for one in raw]
    for part in question.rolled:
        rates = _frame(question, [_rolled(connection, question, part, rolled.rate)])
        weights = _frame(question, [_rolled(connection, question, part, rolled.rises)])
        sums = {name: column * weights.fields[name] for name, column in rates.fields.items()}
        found.append(replace(rates, fields={**sums, **{_weight(name): weights.fields[name] for name in sums}}))
    both = tuple(name for field in query.fields for name in (field, _weight(field)))
    summed = replace(query, fields=both, aggregates=("sum",), transform=Transform.NONE)
    steps = reduce.stepped(reduce.ordered(reduce.joined(found), ranked=True), summed)
    return replace(steps, fields={name: steps.fields[name] / steps.fields[_weight(name)] for name in query.fields})


def _weight(field: str) -> str:
    return f"{field}\0weight"


def _ones(fields: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    return {_weight(name): np.where(np.isnan(column), np.nan, 1.0) for name, column in fields.items()}


def _raw_changes(connection: DuckDBPyConnection, question: Question, span: tuple[int, int]) -> Frame:
    start, end = span
    before = _before(connection, question, start)
    rows = _frame(question, [*before, _raw(connection, question, Part(Tier.RAW, [(start, end)]))])
    return reduce.transformed(reduce.ordered(rows, ranked=True), question.query.transform, start)


def _before(connection: DuckDBPyConnection, question: Question, start_ms: int) -> list[Columns]:
    """The last sample of each series and field before a time, as rows with one field each."""
    part = Part(Tier.RAW, [(max(0, start_ms - reduce.LOOKBACK_MS), start_ms)])
    statements = question.sources.raw(part, question.known)
    if not statements:
        return []
    values = [
        f"max(ts) FILTER (WHERE {one.column} IS NOT NULL) AS t{one.id}, arg_max({one.column}, ts) AS {one.column}"
        for one in question.known
    ]
    statement = f"SELECT host_id, inst_id, {', '.join(values)} FROM ({union(statements)}) GROUP BY host_id, inst_id"
    rows = fetch.columns(connection, statement)
    return [_one_field(rows, field) for field in question.known]


def _one_field(rows: Columns, field: Field) -> Columns:
    there = np.flatnonzero(~np.isnan(rows[field.column]))
    keys = {name: rows[name][there] for name in ("host_id", "inst_id")}
    return {"ts": rows[f"t{field.id}"][there].astype(np.int64), **keys, field.column: rows[field.column][there]}


def _raw(connection: DuckDBPyConnection, question: Question, part: Part) -> Columns:
    """The samples of some times."""
    statements = question.sources.raw(part, question.known)
    return fetch.columns(connection, union(statements)) if statements else {}


Value = Callable[[Field, Collection[str]], str]


def _representative(field: Field, columns: Collection[str]) -> str:
    return rolled.form(field, "v", columns)


def _rolled(connection: DuckDBPyConnection, question: Question, part: Part, value: Value) -> Columns:
    """One value per row of a roll-up and field."""

    def projection(columns: Collection[str]) -> list[str]:
        return [f"{value(field, columns)} AS {field.column}" for field in question.known]

    statements = question.sources.rolled(part, projection)
    return fetch.columns(connection, union(statements)) if statements else {}


def _frame(question: Question, blocks: list[Columns]) -> Frame:
    """Blocks of fetched rows as one frame in no order."""
    frames = [_of_block(question, block) for block in blocks if block]
    return reduce.joined(frames) if frames else question.frame(_NO_ROWS, {name: absent(0) for name in question.fields})


def _of_block(question: Question, block: Columns) -> Frame:
    none = absent(len(block["ts"]))
    return question.frame(
        block,
        {name: none if field is None else block.get(field.column, none) for name, field in question.fields.items()},
    )
