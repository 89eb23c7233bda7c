"""What a database of InfluxDB holds: its series and their newest rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from fleetwatch_storage import hosttags
from fleetwatch_storage.errors import QueryFailed
from fleetwatch_storage.hosttags import HostTags
from fleetwatch_storage.influx.answers import Part, Rows
from fleetwatch_storage.influx.influxql import Statement, identifier
from fleetwatch_storage.lineprotocol import scan
from fleetwatch_storage.query import Matcher
from fleetwatch_storage.store import SeriesKey

Ask = Callable[[Statement], Iterator[Part]]
"""Runs a statement; raises QueryFailed or StoreUnavailable."""


def known_series(ask: Ask, database: str, measurement: str, most: int) -> list[SeriesKey]:
    """All series of a measurement (of all when empty) in the order of the seam.

    Raises:
        QueryFailed: more than `most`.
        StoreUnavailable: no answer.
    """
    of = f" FROM {identifier(measurement)}" if measurement else ""
    fields = _fields(ask, database, of)
    found = []
    for part in ask(Statement(f"SHOW SERIES ON {identifier(database)}{of}", ())):
        found += [_series_key(row[0], fields) for row in part.get("values", ())]
        if len(found) > most:
            raise QueryFailed(f"there are more than {most} series: ask for one measurement")
    return sorted(found, key=lambda key: (key.measurement, key.host, key.tags))


def _fields(ask: Ask, database: str, of: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for part in ask(Statement(f"SHOW FIELD KEYS ON {identifier(database)}{of}", ())):
        found.setdefault(part.get("name", ""), set()).update(row[0] for row in part.get("values", ()))
    return {name: tuple(sorted(fields)) for name, fields in found.items()}


def _series_key(text: str, fields: dict[str, tuple[str, ...]]) -> SeriesKey:
    name, *parts = scan.split_tags(text)
    measurement = scan.measurement(name)
    tags = dict(map(scan.tag, parts))
    host = tags.pop("host", "")
    return SeriesKey(measurement, host, tuple(sorted(tags.items())), fields.get(measurement, ()))


def selected(keys: Sequence[SeriesKey], where: Sequence[Matcher], host_tags: HostTags) -> list[SeriesKey]:
    """The series that satisfy all conditions."""
    return [
        key
        for key in keys
        if all(matcher.accepts(hosttags.value_of(matcher.tag, key.host, key.tags, host_tags)) for matcher in where)
    ]


def newest_rows(ask: Ask, database: str, measurement: str, since_ms: int) -> list[Rows]:
    """The newest row of every series since then, by measurement (all when empty); rows of a series come one by one."""
    place = identifier(measurement) if measurement else "/.*/"
    text = (
        f"SELECT *::field FROM {identifier(database)}..{place} WHERE time >= {since_ms}ms "
        "GROUP BY * ORDER BY time DESC LIMIT 1"
    )
    found: dict[tuple[str, ...], Rows] = {}
    for part in ask(Statement(text, ())):
        key = (part["name"], *part["columns"][1:])
        if key not in found:
            found[key] = Rows(part["name"], part["columns"][1:])
        found[key].add(part)
    return list(found.values())
