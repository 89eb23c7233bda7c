"""A schema as an agent sends it, checked: what is not in its limits never becomes a series."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from fleetwatch_proto import catalog
from fleetwatch_proto.schema import schema_id
from fleetwatch_proto.v1.ingest_pb2 import Nack, Schema, Series
from fleetwatch_storage.frames import TagSet

from fleetwatch_collector.errors import CallRefused, Refused, Why
from fleetwatch_collector.names import NAME_BYTES, tags_problem, text_problem
from fleetwatch_collector.settings import CollectorSettings

_TEXT_FIELDS = {
    one.name: frozenset(field.name for field in one.fields if field.kind is catalog.Kind.TEXT)
    for one in catalog.MEASUREMENTS
}


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of one series within a row, in order."""

    measurement: str
    tags: TagSet
    fields: tuple[str, ...]


def read_schema(message: Schema, settings: CollectorSettings) -> list[Columns]:
    """The series of a schema, in column order; tags with an empty value are left out, as absent.

    Raises:
        CallRefused: it is not what its id says: damaged on its way, so that nothing may be judged by it.
        Refused: POISON when it names a series twice, FORBIDDEN when it is over a limit.
    """
    true_id = schema_id(message.series)
    if true_id != message.id:
        raise CallRefused(Why.INVALID, f"schema {message.id:016x} has the content of {true_id:016x}")
    _check_sizes(message, settings)
    found = [_columns(one) for one in message.series]
    repeated = [key for key, times in Counter((one.measurement, one.tags) for one in found).items() if times > 1]
    if repeated:
        raise _poison(f"series {repeated[0]} is given twice")
    _check_measurements(found, settings)
    return found


def _check_sizes(message: Schema, settings: CollectorSettings) -> None:
    if not message.series:
        raise _poison("the schema has no series")
    if len(message.series) > settings.max_series:
        raise _forbidden(f"{len(message.series)} series; at most {settings.max_series} are taken from one agent")
    columns = sum(len(one.fields) for one in message.series)
    if columns > settings.max_columns:
        raise _forbidden(f"{columns} columns; at most {settings.max_columns} are taken in one schema")


def _columns(one: Series) -> Columns:
    fields = tuple(one.fields)
    pairs = [(tag.key, tag.value) for tag in one.tags]
    problem = text_problem("measurement", one.measurement, NAME_BYTES) or tags_problem(pairs)
    problem = problem or _fields_problem(one.measurement, fields)
    if problem:
        raise _forbidden(problem)
    return Columns(one.measurement, tuple(sorted(pair for pair in pairs if pair[1])), fields)


def _fields_problem(measurement: str, fields: tuple[str, ...]) -> str:
    if not fields:
        return f"measurement {measurement!r} has no fields"
    if len(set(fields)) < len(fields):
        return f"measurement {measurement!r} names a field twice"
    texts = _TEXT_FIELDS.get(measurement, frozenset())
    for field in fields:
        if problem := text_problem(f"field of {measurement!r}", field, NAME_BYTES):
            return problem
        if field == "time":
            return "a field must not be called 'time'"
        if field in texts:
            return f"{measurement}.{field} is text, it cannot be a column of numbers"
    return ""


def _check_measurements(found: list[Columns], settings: CollectorSettings) -> None:
    fields: dict[str, set[str]] = {}
    for one in found:
        fields.setdefault(one.measurement, set()).update(one.fields)
    if len(fields) > settings.max_measurements:
        raise _forbidden(f"{len(fields)} measurements; at most {settings.max_measurements} are taken from one agent")
    for name, names in fields.items():
        if len(names) > settings.max_fields:
            raise _forbidden(f"measurement {name!r} has {len(names)} fields; at most {settings.max_fields} are taken")


def _poison(detail: str) -> Refused:
    return Refused(Nack.POISON, detail)


def _forbidden(detail: str) -> Refused:
    return Refused(Nack.FORBIDDEN, detail)
