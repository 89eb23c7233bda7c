"""What every store promises, held on every engine with the same data. Each test uses a measurement of its own."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fleetwatch_storage.errors import QueryFailed, WriteRejected
from fleetwatch_storage.metadata.hosts import HostDirectory
from fleetwatch_storage.query import AGGREGATES, GROUP_AGGREGATES, Matcher, Op, Query, Transform
from fleetwatch_storage.store import Store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.store_rows import Row, alike, expected, frame, merged, rows_of
from tests.support.stores import ENGINES, directory

HOST_TAGS = {
    "web-1": {"env": "prod", "role": "web"},
    "web-2": {"env": "prod", "role": "web", "rack": "a 1"},
    "db-1": {"env": "staging", "role": "db"},
    "bare": {},
}
T0 = int(time.time()) // 3600 * 3_600_000 - 3 * 3_600_000
"""A full hour a few hours ago."""
S, MIN, HOUR = 1000, 60_000, 3_600_000
ODD_NAMES = (
    "with space",
    "with,comma",
    'with"quote',
    "with'quote",
    "with=equals",
    "with\\backslash",
    "Größe°",
    "select",
    "a.b-c/d",
    "%s?{}",
)

numbers = itertools.count()


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> HostDirectory:
    return directory(tmp_path_factory.mktemp("directory"), HOST_TAGS)


@pytest.fixture(scope="module", params=list(ENGINES))
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, hosts: HostDirectory
) -> Iterator[Store]:
    with ENGINES[request.param](tmp_path_factory.mktemp("store"), hosts) as opened:
        yield opened


@pytest.fixture
def name() -> str:
    return fresh()


def fresh() -> str:
    """A measurement nobody else writes to."""
    return f"m{next(numbers)}"


def ask(measurement: str, *fields: str, **options: Any) -> Query:
    """A query over three hours around T0 unless told otherwise."""
    options = {"start_ms": T0, "end_ms": T0 + 3 * HOUR} | options
    return Query(measurement, fields or ("value",), **options)


def check(store: Store, written: list[Row], query: Query) -> list[Any]:
    """Holds the store's answer against the model's; returns it."""
    answer = store.read(query)
    wanted = expected(merged(written), query, HOST_TAGS)
    assert alike(rows_of(answer), wanted), f"{query}\n  got  {rows_of(answer)}\n  want {wanted}"
    return wanted


SAMPLES = [
    Row(host, T0 + i * 10 * S, {"value": round(base + (i * 7 % 13) * 1.5, 1)}, {"cpu": cpu} if cpu else {})
    for host, base in (("web-1", 10), ("web-2", 20), ("db-1", -5))
    for cpu in ("", "cpu0", "cpu1")
    for i in range(31)
]


@pytest.fixture(scope="module")
def samples(store: Store) -> tuple[Store, str]:
    """Three hosts with three series each, five minutes at ten seconds; nobody adds to it."""
    measurement = fresh()
    store.write([frame(measurement, SAMPLES)])
    return store, measurement


COUNTS = [5, 5, 12, 100, 3, 10, 10.5, 0, 0, 7, 1e12, 1e12 + 1]
COUNTER = [
    Row(
        host,
        T0 - 4 * MIN + i * 50 * S + (i % 3) * S,
        {"value": value + add, "other": 2 * value} if i % 4 else {"value": value + add},
        {"if": tag},
    )
    for host, add in (("web-1", 0), ("db-1", 3))
    for tag in ("eth0", "eth1")
    for i, value in enumerate(COUNTS)
]


@pytest.fixture(scope="module")
def counter(store: Store) -> tuple[Store, str]:
    """Counters with resets, uneven intervals and a field missing now and then, from four minutes before T0 on."""
    measurement = fresh()
    store.write([frame(measurement, COUNTER)])
    return store, measurement


def test_rows_come_back_as_they_were_written_in_the_order_of_the_seam(samples: tuple[Store, str]) -> None:
    store, measurement = samples

    wanted = check(store, SAMPLES, ask(measurement))

    assert len(wanted) == len(SAMPLES)


def test_the_start_of_a_range_is_inside_and_its_end_outside(samples: tuple[Store, str]) -> None:
    store, measurement = samples

    wanted = check(store, SAMPLES, ask(measurement, start_ms=T0 + 10 * S, end_ms=T0 + 30 * S))

    assert {row[2] for row in wanted} == {T0 + 10 * S, T0 + 20 * S}


def test_an_answer_without_step_has_no_resolution(samples: tuple[Store, str]) -> None:
    store, measurement = samples

    assert store.read(ask(measurement)).resolution_ms == 0


@pytest.mark.parametrize("aggregate", sorted(AGGREGATES))
@pytest.mark.parametrize("step", [30 * S, MIN, 7 * S])
def test_each_aggregate_over_steps(samples: tuple[Store, str], aggregate: str, step: int) -> None:
    store, measurement = samples

    check(store, SAMPLES, ask(measurement, step_ms=step, aggregates=(aggregate,)))


def test_steps_are_aligned_to_the_epoch_whatever_the_range(samples: tuple[Store, str]) -> None:
    store, measurement = samples
    query = ask(measurement, start_ms=T0 + 25 * S, end_ms=T0 + 155 * S, step_ms=MIN, aggregates=("count",))

    wanted = check(store, SAMPLES, query)

    assert {row[2] for row in wanted} == {T0, T0 + MIN, T0 + 2 * MIN}


def test_several_aggregates_of_several_fields_are_named_field_and_aggregate(store: Store, name: str) -> None:
    rows = [Row("web-1", T0 + i * S, {"a": i, "b": -i} if i % 2 else {"a": i}) for i in range(20)]
    store.write([frame(name, rows)])

    wanted = check(store, rows, ask(name, "a", "b", step_ms=5 * S, aggregates=("max", "avg", "count")))

    assert wanted[0][3].keys() == {"a:max", "a:avg", "a:count", "b:max", "b:avg", "b:count"}


@pytest.mark.parametrize("transform", list(Transform))
@pytest.mark.parametrize("step", [0, 90 * S, 5 * MIN])
@pytest.mark.parametrize("start", [T0 - HOUR, T0, T0 + 100 * S])
def test_transforms_with_resets_and_a_sample_before_the_range(
    counter: tuple[Store, str], transform: Transform, step: int, start: int
) -> None:
    store, measurement = counter
    query = ask(measurement, "value", "other", start_ms=start, step_ms=step, transform=transform, aggregates=("max",))

    check(store, COUNTER, query)


def test_a_restarted_counter_has_no_value_for_that_interval(store: Store, name: str) -> None:
    rows = [Row("web-1", T0 + i * 10 * S, {"value": value}) for i, value in enumerate([100, 110, 4, 14])]
    store.write([frame(name, rows)])

    answer = rows_of(store.read(ask(name, transform=Transform.RATE)))

    assert [(row[2], row[3]["value"]) for row in answer] == [(T0 + 10 * S, 1.0), (T0 + 30 * S, 1.0)]


def test_differences_are_summed_over_a_step_whatever_the_aggregates(counter: tuple[Store, str]) -> None:
    store, measurement = counter

    check(store, COUNTER, ask(measurement, step_ms=5 * MIN, transform=Transform.INCREASE, aggregates=("avg", "last")))


def test_the_sample_before_is_looked_for_ten_minutes_back_and_no_further(store: Store, name: str) -> None:
    near = [Row("web-1", T0 - 9 * MIN, {"value": 1}), Row("web-1", T0, {"value": 4})]
    far = [Row("web-2", T0 - 11 * MIN, {"value": 1}), Row("web-2", T0, {"value": 4})]
    store.write([frame(name, near + far)])

    wanted = check(store, near + far, ask(name, transform=Transform.INCREASE))

    assert [row[0] for row in wanted] == ["web-1"]


@pytest.mark.parametrize(
    "where",
    [
        (Matcher("host", Op.EQ, "web-1"),),
        (Matcher("host", Op.NE, "web-1"),),
        (Matcher("host", Op.RE, "web-.*"),),
        (Matcher("host", Op.NRE, "web-.*"),),
        (Matcher("cpu", Op.EQ, "cpu0"),),
        (Matcher("cpu", Op.EQ, ""),),
        (Matcher("cpu", Op.NE, "cpu0"),),
        (Matcher("cpu", Op.NE, ""),),
        (Matcher("cpu", Op.RE, "cpu[0-9]"),),
        (Matcher("cpu", Op.RE, "cpu"),),
        (Matcher("cpu", Op.RE, "|cpu1"),),
        (Matcher("cpu", Op.NRE, ".+"),),
        (Matcher("env", Op.EQ, "prod"),),
        (Matcher("env", Op.NE, "prod"),),
        (Matcher("role", Op.RE, "w.b|none"),),
        (Matcher("rack", Op.EQ, "a 1"),),
        (Matcher("rack", Op.EQ, ""),),
        (Matcher("unknown", Op.EQ, ""),),
        (Matcher("unknown", Op.EQ, "x"),),
        (Matcher("env", Op.EQ, "prod"), Matcher("cpu", Op.EQ, "cpu1"), Matcher("host", Op.NE, "web-2")),
        (Matcher("host", Op.EQ, "web-1' OR '1'='1"),),
        (Matcher("x' OR '1'='1", Op.EQ, "y"),),
        (Matcher("cpu", Op.EQ, 'cpu0" OR "a"="a'),),
    ],
    ids=lambda where: " ".join(f"{one.tag}{one.op}{one.value}" for one in where),
)
@pytest.mark.parametrize("step", [0, MIN])
def test_matchers_on_host_series_tags_and_host_tags(
    samples: tuple[Store, str], where: tuple[Matcher, ...], step: int
) -> None:
    store, measurement = samples

    check(store, SAMPLES, ask(measurement, where=where, step_ms=step))


def test_a_tag_of_the_series_wins_over_the_tag_of_its_host(store: Store, name: str) -> None:
    rows = [Row("web-1", T0, {"value": 1}, {"env": "test"}), Row("web-1", T0, {"value": 2})]
    store.write([frame(name, rows)])

    of_host = check(store, rows, ask(name, where=(Matcher("env", Op.EQ, "prod"),)))
    by_env = check(store, rows, ask(name, step_ms=MIN, group_by=("env",)))

    assert [row[1] for row in of_host] == [()]
    assert [row[1] for row in by_env] == [(("env", "prod"),), (("env", "test"),)]


@pytest.mark.parametrize(
    "group_by",
    [(), ("host",), ("cpu",), ("env",), ("host", "cpu"), ("role", "env", "cpu"), ("rack",), ("unknown",)],
    ids=str,
)
@pytest.mark.parametrize("group_aggregate", sorted(GROUP_AGGREGATES))
def test_grouping_by_tags_of_series_and_hosts(
    samples: tuple[Store, str], group_by: tuple[str, ...], group_aggregate: str
) -> None:
    store, measurement = samples

    check(store, SAMPLES, ask(measurement, step_ms=MIN, group_by=group_by, group_aggregate=group_aggregate))


def test_a_group_uses_only_the_series_that_have_a_value_in_the_step(store: Store, name: str) -> None:
    rows = [Row("web-1", T0, {"value": 1}), Row("web-2", T0, {"value": 3}), Row("web-2", T0 + MIN, {"value": 9})]
    store.write([frame(name, rows)])

    wanted = check(store, rows, ask(name, step_ms=MIN, group_by=(), aggregates=("max",)))

    assert [row[3]["value"] for row in wanted] == [2.0, 9.0]


def test_a_grouped_answer_names_no_host_unless_grouped_by_host(samples: tuple[Store, str]) -> None:
    store, measurement = samples

    answer = store.read(ask(measurement, step_ms=MIN, group_by=("cpu",)))

    assert tuple(answer.hosts) == ("",)


def test_rates_are_taken_per_series_and_then_grouped(counter: tuple[Store, str]) -> None:
    store, measurement = counter
    query = ask(measurement, step_ms=2 * MIN, transform=Transform.RATE, group_by=("host",), group_aggregate="sum")

    check(store, COUNTER, query)


@pytest.mark.parametrize("order", ["", "top", "bottom"])
@pytest.mark.parametrize("limit", [1, 2, 5, 9, 100])
@pytest.mark.parametrize(
    "options", [{}, {"step_ms": MIN}, {"step_ms": MIN, "group_by": ("cpu", "host")}], ids=["samples", "steps", "groups"]
)
def test_limits_keep_whole_series(samples: tuple[Store, str], order: str, limit: int, options: dict[str, Any]) -> None:
    store, measurement = samples

    check(store, SAMPLES, ask(measurement, limit=limit, order=order, **options))


def test_text_is_stored_beside_numbers(store: Store, name: str) -> None:
    top = [("postgres", "db", 90.5), ("nginx ü\"',=\\", "www-data", 3.0), (None, "root", 1.0)]
    rows = [
        Row("web-1", T0 + i * 10 * S, {"name": program, "user": user, "cpu_percent": cpu + i}, {"rank": str(rank)})
        for i in range(3)
        for rank, (program, user, cpu) in enumerate(top)
    ]
    store.write([frame(name, rows)])

    check(store, rows, ask(name, "name", "cpu_percent", "user"))
    check(store, rows, ask(name, "name", "cpu_percent", step_ms=MIN, aggregates=("last",)))
    check(store, rows, ask(name, "name", "user", step_ms=MIN, aggregates=("first", "count")))


def test_numbers_of_text_are_refused(store: Store, name: str) -> None:
    store.write([frame(name, [Row("web-1", T0, {"name": "x"})])])

    with pytest.raises(QueryFailed):
        store.read(ask(name, "name", step_ms=MIN, aggregates=("avg",)))


def test_writing_the_same_twice_changes_nothing(store: Store, name: str) -> None:
    rows = [Row("web-1", T0 + i * S, {"a": i, "b": 2 * i}, {"n": str(i % 3)}) for i in range(30)]

    store.write([frame(name, rows)])
    store.write([frame(name, rows)])

    assert len(check(store, rows, ask(name, "a", "b"))) == 30


def test_rows_of_the_same_series_and_time_are_merged_the_new_fields_winning(store: Store, name: str) -> None:
    first = [Row("web-1", T0, {"a": 1, "b": 2}), Row("web-1", T0 + S, {"a": 3})]
    second = [Row("web-1", T0, {"b": 20, "c": 30}), Row("web-1", T0 + S, {"c": 5})]

    store.write([frame(name, first)])
    store.write([frame(name, second)])

    wanted = check(store, first + second, ask(name, "a", "b", "c"))
    assert wanted[0][3] == {"a": 1, "b": 20, "c": 30}


def test_rows_of_the_same_series_and_time_within_one_write_are_merged(store: Store, name: str) -> None:
    first = [Row("web-1", T0, {"a": 1, "b": 2}), Row("web-1", T0, {"a": 9}), Row("web-1", T0 + S, {"a": 4})]
    second = [Row("web-1", T0, {"c": 3}), Row("web-2", T0, {"c": 4})]

    store.write([frame(name, first), frame(name, second)])

    assert len(check(store, first + second, ask(name, "a", "b", "c"))) == 3


def test_late_rows_land_where_they_belong(store: Store, name: str) -> None:
    rows = [Row("web-1", T0 + 2 * HOUR + i * MIN, {"value": i}) for i in range(10)]
    late = [Row("web-1", T0 + i * 7 * MIN, {"value": 100 + i}) for i in range(20)]

    store.write([frame(name, rows)])
    store.write([frame(name, late)])

    check(store, rows + late, ask(name))
    check(store, rows + late, ask(name, step_ms=10 * MIN, transform=Transform.DELTA))


def test_a_field_added_later_is_absent_before(store: Store, name: str) -> None:
    before = [Row("web-1", T0, {"a": 1})]
    after = [Row("web-1", T0 + S, {"a": 2, "b": 3}), Row("web-2", T0 + S, {"b": 4})]

    store.write([frame(name, before)])
    store.write([frame(name, after)])

    check(store, before + after, ask(name, "a", "b"))
    check(store, before + after, ask(name, "b"))


def test_fields_that_differ_only_in_case_are_different(store: Store, name: str) -> None:
    rows = [
        Row("web-1", T0, {"In": 1, "in": 2}, {"T": "a", "t": "b"}),
        Row("web-1", T0, {"In": 3}, {"t": "a", "T": "b"}),
    ]

    store.write([frame(name, rows), frame(name.upper(), [Row("web-1", T0, {"in": 7})])])

    check(store, rows, ask(name, "In", "in"))


@pytest.mark.parametrize("odd", ODD_NAMES)
def test_odd_names_are_stored_and_found(store: Store, name: str, odd: str) -> None:
    measurement = f"{name} {odd}"
    rows = [Row(host, T0, {odd: 1, "plain": 2}, {odd: odd, "t": f"{odd} 2"}) for host in ("web-1", f"h {odd}")]
    store.write([frame(measurement, rows)])

    check(store, rows, ask(measurement, odd, "plain"))
    check(store, rows, ask(measurement, odd, where=(Matcher(odd, Op.EQ, odd), Matcher("host", Op.EQ, f"h {odd}"))))
    check(store, rows, ask(measurement, odd, step_ms=MIN, group_by=(odd, "host"), aggregates=("avg", "max")))
    assert {key.fields for key in store.series(measurement)} == {tuple(sorted((odd, "plain")))}


@pytest.mark.parametrize(
    "value", [0.0, -0.0, 1e-300, -1e300, 0.1, 1 / 3, 2.0**53, 2.0**53 + 2, -123456789.125, 1e15 + 0.5]
)
def test_numbers_come_back_unaltered(store: Store, name: str, value: float) -> None:
    store.write([frame(name, [Row("web-1", T0, {"value": value})])])

    answer = store.read(ask(name))

    assert answer.fields["value"].tolist() == [value]


def test_an_unknown_measurement_is_an_empty_answer(store: Store, name: str) -> None:
    query = ask(name, "a", "b", step_ms=MIN, aggregates=("avg", "max"))

    answer = store.read(query)

    assert len(answer) == 0
    assert list(answer.fields) == ["a:avg", "a:max", "b:avg", "b:max"]


def test_an_unknown_field_is_an_empty_column(samples: tuple[Store, str]) -> None:
    store, measurement = samples

    check(store, SAMPLES, ask(measurement, "value", "nothing", step_ms=MIN))
    answer = store.read(ask(measurement, "nothing"))

    assert len(answer) == 0
    assert list(answer.fields) == ["nothing"]


def test_a_range_without_rows_is_an_empty_answer(samples: tuple[Store, str]) -> None:
    store, measurement = samples

    assert len(store.read(ask(measurement, start_ms=T0 + HOUR, end_ms=T0 + 2 * HOUR))) == 0
    assert len(store.read(ask(measurement, start_ms=T0, end_ms=T0))) == 0


def test_writing_nothing_is_allowed(store: Store, name: str) -> None:
    store.write([])
    store.write([frame(name, [])])

    assert len(store.read(ask(name))) == 0


def test_a_row_without_any_value_is_not_stored(store: Store, name: str) -> None:
    store.write([frame(name, [Row("web-1", T0, {"value": None}), Row("web-1", T0 + S, {"value": 1})])])

    assert [row[2] for row in rows_of(store.read(ask(name)))] == [T0 + S]


def test_a_field_that_changes_type_is_refused_and_the_rest_is_stored(store: Store, name: str) -> None:
    good = [Row("web-1", T0, {"value": 1})]
    mixed = [Row("web-2", T0, {"other": 2}), Row("web-1", T0 + S, {"value": "text"})]
    store.write([frame(name, good)])

    with pytest.raises(WriteRejected) as refused:
        store.write([frame(name, mixed)])

    assert refused.value.count == 1
    assert refused.value.rows[0].measurement == name
    assert "value" in refused.value.rows[0].reason
    check(store, [*good, mixed[0]], ask(name, "value", "other"))


def test_latest_has_the_last_row_of_every_series_of_the_last_hour(store: Store, name: str) -> None:
    now = int(time.time()) * 1000
    rows = [
        Row("web-1", now - 60 * S + i * S, {"a": i, "b": i} if i < 4 else {"a": i}, {"n": str(i % 2)}) for i in range(6)
    ]
    old = [Row("web-2", now - 2 * HOUR, {"a": 1})]
    store.write([frame(name, old), frame(name, rows)])

    (answer,) = store.latest([name])

    assert rows_of(answer) == [
        ("web-1", (("n", "0"),), now - 56 * S, {"a": 4.0}),
        ("web-1", (("n", "1"),), now - 55 * S, {"a": 5.0}),
    ]


def test_latest_merges_rows_and_is_not_moved_by_late_ones(store: Store, name: str) -> None:
    now = int(time.time()) * 1000
    store.write([frame(name, [Row("web-1", now, {"a": 1})])])
    store.write([frame(name, [Row("web-1", now, {"b": 2}), Row("web-1", now - S, {"a": 7})])])

    (answer,) = store.latest([name])

    assert rows_of(answer) == [("web-1", (), now, {"a": 1.0, "b": 2.0})]


def test_latest_of_an_unknown_measurement_is_empty(store: Store, name: str) -> None:
    assert sum(len(one) for one in store.latest([name])) == 0


def test_latest_of_everything_has_each_measurement_once(store: Store, name: str) -> None:
    now = int(time.time()) * 1000
    store.write([frame(f"{name}{letter}", [Row("web-1", now, {"a": 1})]) for letter in "xy"])

    names = [one.measurement for one in store.latest()]

    assert {f"{name}x", f"{name}y"} <= set(names)
    assert len(names) == len(set(names))


def test_series_are_listed_in_order_with_their_fields(store: Store, name: str) -> None:
    rows = [Row(host, T0, {"b": 1, "a": 2}, {"n": n}) for host in ("web-2", "web-1") for n in ("2", "1")]
    store.write([frame(name, rows)])

    keys = store.series(name)

    assert [(key.measurement, key.host, key.tags) for key in keys] == [
        (name, host, (("n", n),)) for host in ("web-1", "web-2") for n in ("1", "2")
    ]
    assert {key.fields for key in keys} == {("a", "b")}


def test_series_can_be_chosen_by_tags_of_series_and_hosts(samples: tuple[Store, str]) -> None:
    store, measurement = samples

    keys = store.series(measurement, (Matcher("env", Op.EQ, "prod"), Matcher("cpu", Op.RE, "cpu.")))

    assert [(key.host, dict(key.tags)["cpu"]) for key in keys] == [
        (h, c) for h in ("web-1", "web-2") for c in ("cpu0", "cpu1")
    ]


def test_series_of_an_unknown_measurement_are_none(store: Store, name: str) -> None:
    assert store.series(name) == []


def test_series_of_everything_include_every_measurement(store: Store, name: str) -> None:
    store.write([frame(name, [Row("web-1", T0, {"a": 1})])])

    keys = store.series()

    assert name in {key.measurement for key in keys}
    assert [(key.measurement, key.host, key.tags) for key in keys] == sorted(
        (key.measurement, key.host, key.tags) for key in keys
    )


def test_hosts_are_those_of_the_directory(store: Store) -> None:
    assert {host.name: dict(host.tags) for host in store.hosts()} == HOST_TAGS


def test_an_open_store_is_healthy(store: Store) -> None:
    health = store.health()

    assert (health.ready, health.writable) == (True, True)
    assert health.engine


some_rows = st.lists(
    st.builds(
        lambda host, tag, at, a, b: Row(
            host, T0 + at, {k: v for k, v in (("a", a), ("b", b)) if v is not None}, {"t": tag} if tag else {}
        ),
        st.sampled_from(sorted(HOST_TAGS)),
        st.sampled_from(["", "x", "y"]),
        st.integers(-900, 7200).map(lambda s: s * S) | st.integers(0, 9).map(lambda s: s * 30 * S),
        st.none() | st.integers(-5, 50),
        st.none() | st.floats(-100, 1e6).map(lambda value: round(value, 3)),
    ).filter(lambda row: row.fields),
    min_size=1,
    max_size=30,
)
matchers = st.builds(
    Matcher,
    st.sampled_from(["host", "t", "env", "rack", "none"]),
    st.sampled_from(Op),
    st.sampled_from(["", "x", "web-1", "prod", ".*1", "x|y|"]),
)
queries = st.builds(
    lambda **options: options,
    fields=st.sampled_from([("a",), ("b",), ("a", "b"), ("b", "c")]),
    start=st.integers(-600, 3600),
    length=st.integers(0, 7200),
    step_ms=st.sampled_from([0, 30 * S, MIN, 5 * MIN, 45 * S]),
    aggregates=st.lists(st.sampled_from(sorted(AGGREGATES)), min_size=1, max_size=3, unique=True).map(tuple),
    transform=st.sampled_from(Transform),
    where=st.lists(matchers, max_size=2).map(tuple),
    group_by=st.none() | st.lists(st.sampled_from(["host", "t", "env"]), max_size=2, unique=True).map(tuple),
    group_aggregate=st.sampled_from(sorted(GROUP_AGGREGATES)),
    limit=st.sampled_from([0, 0, 1, 3]),
    order=st.sampled_from(["", "top", "bottom"]),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(batches=st.lists(some_rows, min_size=1, max_size=3), several=st.lists(queries, min_size=1, max_size=4))
def test_any_answer_is_the_models(store: Store, batches: list[list[Row]], several: list[dict[str, Any]]) -> None:
    measurement = fresh()
    for rows in batches:
        store.write([frame(measurement, rows)])

    for options in several:
        options = dict(options)
        start, length = T0 + options.pop("start") * S, options.pop("length") * S
        if not options["step_ms"]:
            options["group_by"] = None
        check(
            store,
            [row for rows in batches for row in rows],
            Query(measurement, start_ms=start, end_ms=start + length, **options),
        )
