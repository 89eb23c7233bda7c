"""The embedded store: sealing, roll-ups, late data, compaction and retention, and what a crash leaves."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fleetwatch_storage.embedded import EmbeddedStore
from fleetwatch_storage.embedded.layout import Tier
from fleetwatch_storage.embedded.sealing import Sealer
from fleetwatch_storage.errors import StoreUnavailable
from fleetwatch_storage.query import Matcher, Op, Query, Transform

from tests.support.embedded import HOUR, MIN, Clock, Place, S, dies_at, in_child
from tests.support.store_rows import Row, alike, expected, frame, merged, rows_of
from tests.support.stores import directory

TAGS = {"web-1": {"env": "prod"}, "web-2": {"env": "prod"}, "db-1": {}}
T0 = Clock().now - 6 * HOUR
T0 -= T0 % (24 * HOUR)
"""Midnight, so that a day's files can be brought together."""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "store", directory(tmp_path, TAGS), Clock(T0 + 3 * HOUR))


def samples(start: int, end: int, step: int = 30 * S, hosts: tuple[str, ...] = ("web-1", "db-1")) -> list[Row]:
    """Rows of a measurement the catalogue does not know: one gauge with few decimals, one that uses all of its bits, a
    counter with a restart now and then, and a field that is often missing."""
    rows = []
    for host in hosts:
        for number, at in enumerate(range(start, end, step)):
            fields = {
                "gauge": round((number * 37 % 101) / 10 - 3, 1),
                "fine": 1 / (number % 7 + 3),
                "counter": float(number % 500 * 13),
            }
            if number % 5 == 0:
                fields["rare"] = float(number)
            rows.append(Row(host, at, fields, {"n": str(number % 2)} if host == "db-1" else {}))
    return rows


def query(**options: Any) -> Query:
    options = {"measurement": "app", "fields": ("gauge",), "start_ms": T0, "end_ms": T0 + 4 * HOUR} | options
    return Query(**options)


QUERIES = [
    query(fields=("gauge", "fine", "counter", "rare")),
    query(fields=("gauge", "rare"), step_ms=MIN, aggregates=("avg", "min", "max", "sum", "count", "last")),
    query(fields=("fine", "counter"), step_ms=5 * MIN, aggregates=("avg", "max", "p90")),
    query(
        fields=("gauge",), step_ms=HOUR, aggregates=("avg", "count"), start_ms=T0 + 25 * S, end_ms=T0 + 3 * HOUR - 5 * S
    ),
    query(fields=("counter",), step_ms=MIN, transform=Transform.INCREASE),
    query(fields=("counter",), step_ms=HOUR, transform=Transform.INCREASE, start_ms=T0 + HOUR),
    query(fields=("counter",), step_ms=5 * MIN, transform=Transform.RATE, group_by=("host",)),
    query(fields=("gauge",), step_ms=90 * S, aggregates=("median", "first"), where=(Matcher("host", Op.EQ, "db-1"),)),
]


def check(store: EmbeddedStore, written: list[Row], queries: list[Query] = QUERIES) -> None:
    stored = merged(written)
    for one in queries:
        got, want = rows_of(store.read(one)), expected(stored, one, TAGS)
        assert alike(got, want), f"{one}\n got {got[:5]} ({len(got)})\nwant {want[:5]} ({len(want)})"


def names(store: EmbeddedStore) -> list[str]:
    return sorted(path.relative_to(store.path).as_posix() for path in store.path.rglob("*.parquet"))


def files(store: EmbeddedStore, tier: Tier) -> list[Any]:
    return [file for file in store.state.layout.all_files() if file.tier is tier]


def test_a_sealed_hour_is_a_file_with_roll_ups_and_no_table(place: Place) -> None:
    rows = samples(T0, T0 + HOUR)
    with closing(place.open()) as store:
        store.write([frame("app", rows)])

        place.seal(store)

        assert store.state.layout.tables() == []
        assert [len(files(store, tier)) for tier in Tier] == [1, 1, 1, 1]
        assert names(store) == sorted(file.path for file in store.state.layout.all_files())
        check(store, rows)


def test_an_open_hour_and_one_written_to_lately_are_not_sealed(place: Place) -> None:
    with closing(place.open()) as store:
        store.write([frame("app", samples(T0, T0 + HOUR) + samples(T0 + 2 * HOUR, T0 + 2 * HOUR + MIN))])

        store.maintenance.run(T0 + 2 * HOUR + 5 * MIN)
        assert len(store.state.layout.tables()) == 2

        store.maintenance.run(place.clock.now + 11 * MIN)
        assert [table.hour_ms for table in store.state.layout.tables()] == []


def test_answers_are_the_same_hot_half_sealed_and_sealed_and_after_a_restart(place: Place) -> None:
    rows = samples(T0, T0 + 3 * HOUR)
    with closing(place.open()) as store:
        store.write([frame("app", rows)])
        check(store, rows)
        place.clock.now = T0 + 2 * HOUR
        store.state.touched_ms.clear()
        store.maintenance.run(T0 + 2 * HOUR + 11 * MIN)
        check(store, rows)
        place.seal(store)
        check(store, rows)
    with closing(place.open()) as store:
        check(store, rows)


def test_late_rows_of_a_sealed_hour_are_merged_at_once_and_sealed_again(place: Place) -> None:
    rows = samples(T0, T0 + 2 * HOUR)
    late = [Row("web-1", T0 + 30 * S, {"gauge": 99.5, "new": 1.0}), Row("web-2", T0 + 59 * MIN, {"counter": 5.0})]
    late += [Row("db-1", T0 + 7 * S, {"gauge": -50.0, "counter": 3.0}, {"n": "0"})]
    with closing(place.open()) as store:
        store.write([frame("app", rows)])
        place.seal(store)

        store.write([frame("app", late)])
        check(store, rows + late)
        check(store, rows + late, [query(fields=("gauge", "new"), step_ms=MIN, aggregates=("max", "count"))])
        place.seal(store)

        assert store.state.layout.tables() == []
        assert len(files(store, Tier.RAW)) == 2
        check(store, rows + late)
    with closing(place.open()) as store:
        check(store, rows + late)


def test_rows_written_again_after_sealing_change_nothing(place: Place) -> None:
    rows = samples(T0, T0 + HOUR)
    with closing(place.open()) as store:
        store.write([frame("app", rows)])
        place.seal(store)

        store.write([frame("app", rows)])
        check(store, rows)
        place.seal(store)

        check(store, rows)
        assert sum(file.rows for file in files(store, Tier.RAW)) == len(merged(rows))


def test_the_first_rise_of_an_hour_follows_late_rows_of_the_hour_before(place: Place) -> None:
    rows = [Row("web-1", T0 + HOUR + i * MIN, {"counter": 100.0 + i}) for i in range(60)]
    late = [Row("web-1", T0 + HOUR - 5 * MIN, {"counter": 40.0})]
    increase = query(fields=("counter",), step_ms=HOUR, transform=Transform.INCREASE)
    with closing(place.open()) as store:
        store.write([frame("app", rows)])
        place.seal(store)
        assert [row[3]["counter"] for row in rows_of(store.read(increase))] == [59.0]

        store.write([frame("app", late)])
        place.seal(store)

        assert [row[3]["counter"] for row in rows_of(store.read(increase))] == [119.0]
        assert store.read(increase).resolution_ms == HOUR


def test_rows_that_come_while_their_hour_is_being_sealed_are_kept(place: Place) -> None:
    rows = samples(T0, T0 + HOUR)
    more = [Row("web-1", T0 + 5 * S, {"gauge": 7.0}), Row("web-1", T0 + 10 * S, {"gauge": 8.0})]
    held: list[EmbeddedStore] = []

    def write_more(name: str) -> None:
        if name == "raw renamed" and more_left:
            held[0].write([frame("app", [more_left.pop()])])

    more_left = list(more)
    with closing(place.open(step=write_more)) as store:
        held.append(store)
        store.write([frame("app", rows)])

        store.maintenance.run(place.clock.now + 3 * HOUR)
        check(store, rows + more[1:])
        store.maintenance.run(place.clock.now + 6 * HOUR)

        check(store, rows + more)


def test_roll_ups_answer_as_samples_did_when_the_samples_are_gone(place: Place) -> None:
    rows = samples(T0, T0 + 3 * HOUR)
    exact = [
        *(QUERIES[1], QUERIES[4], QUERIES[5]),
        query(fields=("fine", "counter"), step_ms=5 * MIN, aggregates=("avg", "max")),
        query(fields=("gauge", "rare"), step_ms=HOUR, aggregates=("sum", "count", "min"), group_by=("env",)),
        query(fields=("counter",), step_ms=HOUR, transform=Transform.RATE, start_ms=T0 - 3 * HOUR),
    ]
    with closing(place.open(keep_raw_s=60.0)) as store:
        store.write([frame("app", rows)])
        place.seal(store)
        store.maintenance.run(place.clock.now + 4 * HOUR)

        assert files(store, Tier.RAW) == []
        check(store, rows, exact)
        assert store.read(exact[0]).resolution_ms == MIN
        assert store.read(exact[-1]).resolution_ms == HOUR


def test_without_samples_a_fine_question_is_answered_at_the_roll_ups_resolution(place: Place) -> None:
    rows = [Row("web-1", T0 + i * 10 * S, {"gauge": 1.0 if i != 3 else 500.0}) for i in range(360)]
    with closing(place.open(keep_raw_s=60.0)) as store:
        store.write([frame("app", rows)])
        place.seal(store)
        store.maintenance.run(place.clock.now + 4 * HOUR)

        answer = store.read(query(step_ms=10 * S, aggregates=("max",)))

        assert (len(answer), answer.resolution_ms) == (60, MIN)
        assert answer.fields["gauge"].max() == 500.0


def test_values_that_subtraction_would_damage_survive_in_roll_ups(place: Place) -> None:
    odd = [1e300, -1e300, 1e-9, 0.1, -7e15 + 0.5, 3.0]
    rows = [Row("web-1", T0 + i * 10 * S, {"gauge": value}) for i, value in enumerate(odd)]
    with closing(place.open(keep_raw_s=60.0)) as store:
        store.write([frame("app", rows)])
        place.seal(store)
        store.maintenance.run(place.clock.now + 4 * HOUR)

        check(store, rows, [query(step_ms=MIN, aggregates=("min", "max", "count"))])


def test_rows_that_come_when_samples_are_gone_do_not_replace_roll_ups(place: Place) -> None:
    rows = samples(T0, T0 + HOUR)
    with closing(place.open(keep_raw_s=60.0)) as store:
        store.write([frame("app", rows)])
        place.seal(store)
        store.maintenance.run(place.clock.now + 4 * HOUR)

        store.write([frame("app", [*rows[:3], Row("web-2", T0, {"gauge": 4.0})])])
        store.maintenance.run(place.clock.now + 8 * HOUR)
        store.maintenance.run(place.clock.now + 9 * HOUR)

        check(store, [*rows, Row("web-2", T0, {"gauge": 4.0})], [query(step_ms=MIN, aggregates=("max", "count"))])


def test_the_files_of_a_closed_day_become_one(place: Place) -> None:
    rows = samples(T0, T0 + 4 * HOUR, step=MIN)
    late = [Row("web-1", T0 + 90 * MIN, {"gauge": 77.0})]
    with closing(place.open()) as store:
        store.write([frame("app", rows)])
        place.seal(store)
        assert len(files(store, Tier.MINUTE)) == 4

        store.maintenance.run(T0 + 26 * HOUR)
        assert [len(files(store, tier)) for tier in Tier] == [4, 1, 1, 1]
        check(store, rows)
        store.write([frame("app", late)])
        store.maintenance.run(T0 + 28 * HOUR)

        assert [len(files(store, tier)) for tier in Tier] == [4, 1, 1, 1]
        check(store, rows + late)
        assert names(store) == sorted(file.path for file in store.state.layout.all_files())


def test_files_of_a_day_and_of_ten_days_are_brought_together_one_after_the_other(place: Place) -> None:
    rows = samples(T0, T0 + 2 * HOUR, step=MIN)
    with closing(place.open(keep_raw_s=100 * 86400.0)) as store:
        store.write([frame("app", rows)])
        place.seal(store)

        for _ in range(3):
            store.maintenance.run(T0 + 40 * 24 * HOUR)

        assert [len(files(store, tier)) for tier in Tier] == [2, 0, 1, 1]
        check(store, rows)


def test_each_tier_is_dropped_when_it_is_too_old(place: Place) -> None:
    settings = {"keep_raw_s": 86400.0, "keep_1m_s": 2 * 86400.0, "keep_5m_s": 3 * 86400.0, "keep_1h_s": 4 * 86400.0}
    with closing(place.open(**settings)) as store:
        store.write([frame("app", samples(T0, T0 + HOUR))])
        place.seal(store)
        left = []

        for days in (1, 2, 3, 4):
            store.maintenance.run(T0 + HOUR + days * 24 * HOUR)
            left.append([len(files(store, tier)) for tier in Tier])

        assert left == [[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
        assert names(store) == []


def test_a_budget_drops_the_oldest_samples_first(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(place.open()) as store:
        store.write([frame("app", samples(T0, T0 + 3 * HOUR))])
        place.seal(store)
        sealed = store.maintenance.used_bytes() - store.maintenance.hot_bytes()
    with closing(place.open(store_budget_bytes=4 * sealed - 4)) as store:
        monkeypatch.setattr(store.maintenance, "hot_bytes", lambda: 4 * sealed)

        store.maintenance.run(place.clock.now + 3 * HOUR)

        assert [file.start_ms for file in files(store, Tier.RAW)] == [T0 + HOUR, T0 + 2 * HOUR]
        assert len(files(store, Tier.MINUTE)) == 3


def test_the_maintenance_thread_seals_by_itself_and_stops_with_the_store(place: Place) -> None:
    rows = samples(T0, T0 + HOUR)
    with closing(place.open()) as store:
        store.write([frame("app", rows)])
    place.clock.now += 3 * HOUR
    store = place.open(store_maintenance_s=0.01, seal_lateness_s=0.0)

    thread = store.maintenance._thread
    wait_until(lambda: not store.state.layout.tables())
    store.close()

    assert not thread.is_alive()


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        threading.Event().wait(0.01)


STEPS = ["frozen", "raw written", "raw renamed", "1m written", "1h renamed", "before commit", "committed", "removed"]


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_while_sealing_loses_and_doubles_nothing(place: Place, step: str) -> None:
    rows = samples(T0, T0 + HOUR)
    with closing(place.open()) as store:
        store.write([frame("app", rows)])

    assert in_child(lambda: place.seal(place.open(step=dies_at(step)))) == -signal.SIGKILL

    with closing(place.open()) as store:
        check(store, rows)
        assert names(store) == sorted(file.path for file in store.state.layout.all_files())
        assert list(store.path.rglob("*.temporary")) == []
        place.seal(store)
        check(store, rows)


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_while_sealing_again_loses_and_doubles_nothing(place: Place, step: str) -> None:
    rows, late = samples(T0, T0 + 2 * HOUR), samples(T0 + 5 * S, T0 + HOUR, step=7 * MIN)
    with closing(place.open()) as store:
        store.write([frame("app", rows)])
        place.seal(store)
        store.write([frame("app", late)])

    assert in_child(lambda: place.seal(place.open(step=dies_at(step)))) == -signal.SIGKILL

    with closing(place.open()) as store:
        check(store, rows + late)
        place.seal(store)
        check(store, rows + late)
        assert names(store) == sorted(file.path for file in store.state.layout.all_files())


@pytest.mark.parametrize("step", ["1m written", "1m renamed", "before commit", "committed", "removed"])
def test_a_crash_while_bringing_files_together_loses_and_doubles_nothing(place: Place, step: str) -> None:
    rows = samples(T0, T0 + 2 * HOUR, step=MIN)
    with closing(place.open()) as store:
        store.write([frame("app", rows)])
        place.seal(store)

    child = in_child(lambda: place.open(step=dies_at(step)).maintenance.run(T0 + 26 * HOUR))

    assert child == -signal.SIGKILL
    with closing(place.open()) as store:
        check(store, rows)
        store.maintenance.run(T0 + 26 * HOUR)
        check(store, rows)
        assert names(store) == sorted(file.path for file in store.state.layout.all_files())


def test_negative_control_tables_dropped_before_the_files_are_there_lose_rows(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = samples(T0, T0 + HOUR)
    with closing(place.open()) as store:
        store.write([frame("app", rows)])
    sealed = Sealer._sealed

    def careless(self: Sealer, measurement: int, tables: Any) -> Any:
        change = sealed(self, measurement, tables)
        for table in tables:
            self._database.writer.execute(f"DROP TABLE {table.name}")
        for file in change.new:
            (place.folder / file.path).unlink()
        return change

    monkeypatch.setattr(Sealer, "_sealed", careless)
    in_child(lambda: place.seal(place.open(step=dies_at("before commit"))))
    monkeypatch.undo()

    with closing(place.open()) as store, pytest.raises(AssertionError):
        check(store, rows)


def test_negative_control_without_merging_layers_rows_written_again_are_doubled(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fleetwatch_storage.embedded import sources

    rows = samples(T0, T0 + HOUR)
    with closing(place.open()) as store:
        store.write([frame("app", rows)])
        place.seal(store)
        store.write([frame("app", rows)])
        monkeypatch.setattr(
            sources.Sources,
            "_hour",
            lambda _self, files, tables, fields, where: _unmerged(files, tables, fields, where, store),
        )

        with pytest.raises(AssertionError):
            check(store, rows)


def _unmerged(files: Any, tables: Any, fields: Any, where: str, store: EmbeddedStore) -> str:
    from fleetwatch_storage.embedded.sources import parquet

    columns = ", ".join(["ts", "host_id", "inst_id", *(field.column for field in fields)])
    relations = [table.name for table in tables] + ([parquet(store.path, files)] if files else [])
    return " UNION ALL ".join(f"SELECT {columns} FROM {one} WHERE {where}" for one in relations)


def test_readers_never_see_a_gap_or_a_double_while_rows_are_written_and_sealed(place: Place) -> None:
    """Three readers ask for everything while a writer adds an hour at a time and another thread seals."""
    failures: list[str] = []
    done, acked = threading.Event(), [0]
    count = query(
        fields=("n",), step_ms=HOUR, aggregates=("count",), group_by=(), group_aggregate="sum", end_ms=T0 + 60 * HOUR
    )
    every = query(fields=("n",), end_ms=T0 + 60 * HOUR)
    with closing(place.open(seal_lateness_s=0.0, store_window_bytes=0)) as store:

        def guarded(work: Callable[[], None]) -> None:
            try:
                while not done.is_set():
                    work()
            except Exception as error:
                failures.append(repr(error))

        def read() -> None:
            for one, total in ((count, lambda answer: answer.fields["n"].sum()), (every, len)):
                before = acked[0]
                seen = total(store.read(one))
                if not before <= seen <= acked[0] + 60:
                    failures.append(f"{seen} rows seen, {before} to {acked[0]} written")

        threads = [threading.Thread(target=guarded, args=(read,)) for _ in range(3)]
        threads.append(threading.Thread(target=guarded, args=(lambda: store.maintenance.run(T0 + 60 * HOUR),)))
        for thread in threads:
            thread.start()
        for hour in range(40):
            store.write([frame("app", [Row("web-1", T0 + hour * HOUR + i * MIN, {"n": 1.0}) for i in range(60)])])
            acked[0] += 60
        done.set()
        for thread in threads:
            thread.join()

    assert failures == []


def test_closing_ends_sealing_and_queries_at_once(place: Place) -> None:
    began, rows = threading.Event(), samples(T0, T0 + HOUR)
    with closing(place.open()) as store:
        store.write([frame("app", rows)])
    place.clock.now += 3 * HOUR
    share = {"seal_lateness_s": 0.0, "seal_share": 1e-6}
    store = place.open(store_maintenance_s=0.01, step=lambda _name: began.set(), **share)
    with closing(store):
        assert began.wait(20)
        started = time.monotonic()

    assert time.monotonic() - started < 5
    with closing(place.open()) as store:
        check(store, rows)
        assert list(store.path.rglob("*.temporary")) == []


def test_files_of_a_seal_begun_before_the_store_was_opened_again_are_not_listed(place: Place) -> None:
    """Opening again removes files nobody lists: listing them afterwards would lose the rows they held."""
    rows, held = samples(T0, T0 + HOUR), []

    def reopen(name: str) -> None:
        if name == "before commit":
            held[0]._recovery._open_again()

    with closing(place.open(step=reopen)) as store:
        held.append(store)
        store.write([frame("app", rows)])

        with pytest.raises(StoreUnavailable, match="opened again"):
            place.seal(store)
        check(store, rows)
