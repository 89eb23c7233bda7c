"""Stepped queries without a transform: DuckDB aggregates, over samples and roll-ups alike."""

from __future__ import annotations

from collections.abc import Collection

from duckdb import DuckDBPyConnection

from fleetwatch_storage.embedded import aggregates, fetch, rolled
from fleetwatch_storage.embedded.layout import KEYS, Tier
from fleetwatch_storage.embedded.names import Field
from fleetwatch_storage.embedded.question import Question, absent
from fleetwatch_storage.embedded.sources import union
from fleetwatch_storage.errors import QueryFailed
from fleetwatch_storage.frames import Frame


def answer(connection: DuckDBPyConnection, question: Question, max_rows: int) -> Frame:
    """One row per series and step.

    Raises:
        QueryFailed: more rows than allowed.
    """
    rows = fetch.columns(connection, statement(question, max_rows))
    if len(rows["ts"]) > max_rows:
        raise QueryFailed(
            f"the answer has more than {max_rows} rows; ask for fewer series, a longer step or a shorter range"
        )
    columns = question.query.columns()
    values = [rows.get(f"c{place}", absent(len(rows["ts"]))) for place in range(len(columns))]
    return question.frame(rows, {name: column for (name, _, _), column in zip(columns, values, strict=True)})


def statement(question: Question, max_rows: int) -> str:
    """SQL of the answer, at most one row more than allowed; columns of unknown fields are left out."""
    step = question.query.step_ms
    as_forms = bool(question.rolled)
    aggregate = aggregates.of_forms if as_forms else aggregates.of_samples
    found = question.fields
    values = [
        f"{aggregate(name, field)} AS c{place}"
        for place, (_, asked, name) in enumerate(question.query.columns())
        if (field := found[asked]) is not None
    ]
    relation = union(_forms(question) if as_forms else _samples(question))
    return (
        f"SELECT rows.ts - rows.ts % {step} AS ts, host_id, inst_id, {', '.join(values)} "
        f"FROM ({relation}) rows GROUP BY rows.ts - rows.ts % {step}, host_id, inst_id LIMIT {max_rows + 1}"
    )


def _samples(question: Question) -> list[str]:
    return [one for part in question.parts for one in question.sources.raw(part, question.known)]


def _forms(question: Question) -> list[str]:
    """Samples and roll-ups as rows of the same columns: every field in every form."""
    statements = []
    for part in question.parts:
        if part.tier is Tier.RAW:
            raw = question.sources.raw(part, question.known)
            forms = [_of_sample(field, form) for field in question.known for form in rolled.FORMS]
            statements += [f"SELECT {', '.join([*KEYS, *forms])} FROM ({one})" for one in raw]
        else:
            statements += question.sources.rolled(part, lambda columns: _of_roll_up(question.known, columns))
    return statements


def _of_sample(field: Field, form: str) -> str:
    value = f"CASE WHEN {field.column} IS NOT NULL THEN 1 END" if form == "c" else field.column
    return f"{value} AS {field.column}_{form}"


def _of_roll_up(fields: list[Field], columns: Collection[str]) -> list[str]:
    return [
        f"{rolled.form(field, form, columns)} AS {field.column}_{form}" for field in fields for form in rolled.FORMS
    ]
