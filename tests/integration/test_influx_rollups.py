"""Roll-ups by InfluxDB's continuous query: what they hold, and answers made of them where samples are gone."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from fleetwatch_storage.influx.store import InfluxStore
from fleetwatch_storage.metadata.hosts import HostDirectory
from fleetwatch_storage.query import Query, Transform
from fleetwatch_storage.settings import InfluxSettings

from tests.support.influxd import Influxd, needs_influxd
from tests.support.store_rows import Row, Values, alike, frame, rows_of
from tests.support.stores import directory

pytestmark = needs_influxd

STEP = 600_000
NOW = int(time.time() * 1000)
T0 = NOW // STEP * STEP - 20 * STEP
DATA = [
    Row(host, T0 + i * 10_000, {"gauge": float(i % 17), "counter": i * 100.0 + k}, {"t": t} if t else {})
    for k, (host, t) in enumerate((("a", ""), ("a", "x"), ("b", "x")))
    for i in range(20 * 60)
]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> HostDirectory:
    return directory(tmp_path_factory.mktemp("hosts"), {"a": {"env": "prod"}})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, hosts: HostDirectory) -> Iterator[Influxd]:
    """Three hours of samples, rolled up by the statement of the continuous query, samples then kept for one hour."""
    with Influxd(tmp_path_factory.mktemp("influxd")) as started:
        with opened(started, hosts, 30 * 86_400.0) as store:
            store.write([frame("m", DATA)])
        started.query(
            f"{statement(started)}".replace(" GROUP BY", f" WHERE time >= {T0}ms AND time < {NOW}ms GROUP BY")
        )
        with opened(started, hosts, 3600.0) as store:
            store.write([frame("other", [Row("a", NOW, {"f": 1.0})])])
        yield started


def opened(server: Influxd, hosts: HostDirectory, raw_s: float) -> closing[InfluxStore]:
    return closing(InfluxStore(InfluxSettings(influx_url=server.url, influx_raw_retention=raw_s), hosts))


def statement(server: Influxd) -> str:
    """What the continuous query runs."""
    (result,) = server.query("SHOW CONTINUOUS QUERIES")
    text = next(row[1] for one in result["series"] for row in one["values"])  # type: ignore[attr-defined]
    match = re.search(r"RESAMPLE EVERY 5m FOR 1h BEGIN (.*) END", text)
    assert match, text
    return match[1]


@pytest.fixture
def store(server: Influxd, hosts: HostDirectory) -> Iterator[InfluxStore]:
    with opened(server, hosts, 3600.0) as store:
        yield store


def wanted(query: Query, value: str, combine: object) -> list[tuple[str, object, int, Values]]:
    """Rows of each series and step, straight from the samples."""
    steps: dict[tuple[str, object, int], list[float]] = {}
    for row in DATA:
        if query.start_ms <= row.time < query.end_ms:
            steps.setdefault((row.host, row.tagset, row.time // STEP * STEP), []).append(row.fields[value])
    return [(*key, {value: combine(found)}) for key, found in sorted(steps.items())]  # type: ignore[operator]


def old(*fields: str, **options: object) -> Query:
    """A question to hours whose samples are no longer kept."""
    options = {"start_ms": T0, "end_ms": T0 + 6 * STEP, "step_ms": STEP} | options
    return Query("m", fields, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("aggregate", "combine"),
    [
        ("avg", lambda found: sum(found) / len(found)),
        ("min", min),
        ("max", max),
        ("sum", sum),
        ("count", lambda found: float(len(found))),
        ("last", lambda found: found[-1]),
    ],
)
def test_answers_from_roll_ups_are_exact_where_these_hold_what_is_asked(
    store: InfluxStore, aggregate: str, combine: object
) -> None:
    query = old("gauge", aggregates=(aggregate,))

    answer = store.read(query)

    assert answer.resolution_ms == 300_000
    assert alike(rows_of(answer), wanted(query, "gauge", combine))


def test_other_aggregates_are_taken_of_the_means(store: InfluxStore) -> None:
    answer = store.read(old("gauge", aggregates=("median", "p95", "stddev", "first")))

    assert all(7 < value < 9 for name in ("gauge:median", "gauge:p95", "gauge:first") for value in answer.fields[name])


def test_rates_are_made_of_the_last_values(store: InfluxStore) -> None:
    answer = store.read(old("counter", transform=Transform.RATE, start_ms=T0 + STEP))

    assert len(answer) == 3 * 5
    assert all(value == pytest.approx(10.0) for value in answer.fields["counter"])


def test_a_range_over_both_is_joined_and_grouped(store: InfluxStore) -> None:
    query = old("gauge", end_ms=T0 + 20 * STEP, aggregates=("count",), group_by=("env",), group_aggregate="sum")

    found = rows_of(store.read(query))

    assert {row[1] for row in found} == {(), (("env", "prod"),)}
    assert {row[2] for row in found} == {T0 + i * STEP for i in range(20)}
    assert all(row[3]["gauge"] == (120.0 if row[1] else 60.0) for row in found)


def test_a_finer_step_is_answered_from_samples_only(store: InfluxStore) -> None:
    assert store.read(old("gauge", step_ms=60_000)).resolution_ms == 0


def test_young_ranges_are_answered_from_samples(store: InfluxStore) -> None:
    query = old("gauge", start_ms=T0 + 18 * STEP, end_ms=T0 + 20 * STEP, aggregates=("max",))

    answer = store.read(query)

    assert answer.resolution_ms == 0
    assert alike(rows_of(answer), wanted(query, "gauge", max))
