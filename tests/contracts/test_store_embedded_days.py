"""The embedded store on bad days: in use, damaged, newer, no room, no rights, too much of everything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import duckdb
import numpy as np
import pytest
from fleetwatch_storage.embedded import EmbeddedStore
from fleetwatch_storage.errors import QueryFailed, StoreUnavailable, WriteRejected
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.query import Query

from tests.support.embedded import HOUR, Clock, Place, S, fill, small_disk
from tests.support.store_rows import Row, alike, expected, frame, merged, rows_of
from tests.support.stores import directory

T0 = Clock().now // HOUR * HOUR
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "store", directory(tmp_path, {}))


def app(**options: int) -> Query:
    return Query("app", ("value",), **{"start_ms": T0 - HOUR, "end_ms": T0 + 10 * HOUR} | options)


def noise(number: int, rows: int = 2000, every_ms: int = 10) -> Frame:
    """Rows that do not compress: values of all bits, a function of their number."""
    values = np.random.default_rng(number).random(rows)
    time_ms = T0 + (number * rows + np.arange(rows, dtype=np.int64)) * every_ms
    none = np.zeros(rows, np.int32)
    return Frame("app", time_ms, none, ("web-1",), none, ((),), {"value": values})


def holds(store: EmbeddedStore, numbers: list[int], rows: int = 2000, every_ms: int = 10) -> None:
    """Holds the rows of exactly these writes, each once, unaltered."""
    answer = store.read(app(end_ms=T0 + 100 * HOUR))
    want = [noise(number, rows, every_ms) for number in numbers]
    assert np.array_equal(answer.time, np.concatenate([one.time for one in want])), "other rows than were written"
    assert np.array_equal(answer.fields["value"], np.concatenate([one.fields["value"] for one in want])), "altered"


def test_a_second_process_is_told_who_has_the_store(place: Place) -> None:
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    place.folder.mkdir()
    command = [sys.executable, "-c", code, str(place.folder / "hot.duckdb")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout and other.stdout.readline() == "open\n"

        with pytest.raises(StoreUnavailable, match=f"pid {other.pid}") as told:
            place.open()
        other.communicate()

    assert told.value.reason == "locked"


@pytest.mark.parametrize("damage", [b"", b"not a database at all" * 1000])
def test_a_corrupt_file_is_named_and_not_touched(place: Place, damage: bytes) -> None:
    place.open().close()
    file = place.folder / "hot.duckdb"
    file.write_bytes(damage)

    with pytest.raises(StoreUnavailable, match=r"hot\.duckdb.*(backup|aside)") as told:
        place.open()

    assert told.value.reason == "corrupt"
    assert file.read_bytes() == damage


def test_a_file_with_damaged_blocks_is_corrupt_or_still_right_never_wrong(place: Place) -> None:
    with closing(place.open(store_checkpoint_bytes=1 << 16)) as store:
        for number in range(20):
            store.write([noise(number)])
    file = place.folder / "hot.duckdb"
    good = file.read_bytes()
    random = np.random.default_rng(7)
    outcomes = set()

    for _ in range(25):
        bad = bytearray(good)
        at = int(random.integers(0, len(good) - 64))
        bad[at : at + 64] = random.bytes(64)
        file.write_bytes(bytes(bad))
        outcomes.add(outcome(place))

    assert outcomes <= {"corrupt", "right", "unavailable"}
    assert "corrupt" in outcomes


def outcome(place: Place) -> str:
    try:
        store = place.open()
    except StoreUnavailable as error:
        return error.reason
    try:
        holds(store, list(range(20)))
        return "right"
    except StoreUnavailable:
        return "unavailable"
    except AssertionError:
        return "wrong"
    finally:
        store.close()


def test_a_store_of_a_newer_version_is_refused(place: Place) -> None:
    place.open().close()
    with duckdb.connect(str(place.folder / "hot.duckdb")) as database:
        database.execute("UPDATE meta SET value = 999 WHERE key = 'format'")

    with pytest.raises(StoreUnavailable, match="999") as told:
        place.open()

    assert told.value.reason == "newer"


def test_a_folder_that_cannot_be_written_to_is_named(place: Place) -> None:
    place.folder.write_text("a file where the folder should be")

    with pytest.raises(StoreUnavailable, match=str(place.folder)) as told:
        place.open()

    assert told.value.reason == "down"


@as_root
def test_a_read_only_disk_is_named(place: Place) -> None:
    with small_disk(place.folder, 16):
        subprocess.run(["mount", "-o", "remount,ro", str(place.folder)], check=True)

        with pytest.raises(StoreUnavailable, match="Read-only") as told:
            place.open()

    assert told.value.reason == "down"


def test_when_the_database_is_moved_aside_the_sealed_files_are_found_again(place: Place) -> None:
    rows = [Row("web-1", T0 - 2 * HOUR + i * S, {"value": float(i), "Value": -i}, {"t": "a,b"}) for i in range(50)]
    with closing(place.open()) as store:
        store.write([frame("app", rows), frame("other", [Row("web-2", T0, {"x": 1.0})])])
        place.seal(store)
    (place.folder / "hot.duckdb").rename(place.folder / "aside")

    with closing(place.open()) as store:
        query = Query("app", ("value", "Value"), T0 - 3 * HOUR, T0 + HOUR)
        assert alike(rows_of(store.read(query)), expected(merged(rows), query, {}))
        assert [key.measurement for key in store.series()] == ["app", "other"]
        store.write([frame("new", [Row("web-3", T0, {"y": 1.0})]), frame("app", [Row("web-1", T0, {"z": 2.0})])])
        place.seal(store)
    with closing(place.open()) as store:
        assert len(store.series()) == 4
        assert alike(rows_of(store.read(query)), expected(merged(rows), query, {}))


def test_files_that_are_not_ours_are_left_alone(place: Place) -> None:
    stranger = place.folder / "sealed" / "raw" / "7" / "holiday.parquet"
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(b"hello")

    place.open().close()

    assert stranger.read_bytes() == b"hello"


@as_root
def test_with_too_little_room_writes_are_refused_reads_go_on_and_it_heals(place: Place) -> None:
    with small_disk(place.folder, 64), closing(place.open(store_min_free_bytes=8 << 20)) as store:
        store.write([noise(0)])
        ballast = fill(place.folder, 4 << 20)

        with pytest.raises(StoreUnavailable, match="full") as told:
            store.write([noise(1)])
        assert told.value.reason == "full"
        assert (store.health().ready, store.health().writable) == (True, False)
        assert "free" in store.health().detail
        assert store.vitals()["writable"] == 0
        holds(store, [0])

        ballast.unlink()
        store.write([noise(1)])
        assert store.health().writable
        holds(store, [0, 1])


def write_until_full(store: EmbeddedStore, first: int) -> list[int]:
    """Writes until the store says full; the numbers that were acknowledged."""
    acked = []
    for number in range(first, first + 5000):
        try:
            store.write([noise(number)])
        except StoreUnavailable as error:
            assert error.reason in ("full", "down"), error
            return acked
        acked.append(number)
    raise AssertionError("the disk never filled")


@as_root
@pytest.mark.parametrize("checkpoint", [1 << 40, 1 << 20], ids=["in the log", "in a checkpoint"])
def test_a_disk_that_fills_during_a_commit_loses_nothing_and_heals_without_a_restart(
    place: Place, checkpoint: int
) -> None:
    """The guard is off, so that the disk really fills under DuckDB."""
    with small_disk(place.folder, 48), closing(place.open(store_checkpoint_bytes=checkpoint)) as store:
        store.write([noise(0)])
        ballast = fill(place.folder, 9 << 20)
        acked = [0]

        for _ in range(3):
            acked += write_until_full(store, acked[-1] + 1)
            stored = len(store.read(app())) // 2000
            assert stored in (len(acked), len(acked) + 1), "only the write that was not acknowledged may be there too"
            holds(store, list(range(stored)))
        assert store.health().ready
        ballast.unlink()
        store.write([noise(acked[-1] + 1)])

        assert store.health().writable
        holds(store, [*acked, acked[-1] + 1])
        store.close()
        with closing(place.open()) as again:
            holds(again, [*acked, acked[-1] + 1])


@as_root
def test_a_disk_that_fills_while_sealing_changes_nothing_and_the_next_time_works(place: Place) -> None:
    with small_disk(place.folder, 64), closing(place.open(seal_lateness_s=0.0)) as store:
        for number in range(200):
            store.write([noise(number)])
        store.database.writer.execute("CHECKPOINT")
        ballast = fill(place.folder, 1 << 20)

        with pytest.raises((duckdb.Error, OSError)):
            store.maintenance.run(T0 + 20 * HOUR)
        holds(store, list(range(200)))
        assert list(place.folder.rglob("*.temporary")) == []
        ballast.unlink()
        store.maintenance.run(T0 + 20 * HOUR)

        assert store.state.layout.tables() == []
        holds(store, list(range(200)))


def test_the_store_is_opened_again_after_a_fatal_error(place: Place) -> None:
    with closing(place.open()) as store:
        store.write([noise(0)])
        store.database._root.close()

        store._recovery._open_again()

        store.write([noise(1)])
        holds(store, [0, 1])


def test_more_fields_than_allowed_are_refused_and_the_rest_is_stored(place: Place) -> None:
    with closing(place.open(store_max_fields=3)) as store:
        with pytest.raises(WriteRejected, match="3 a measurement may have") as refused:
            store.write(
                [frame("app", [Row("web-1", T0, {"value": 1.0, "b": 2.0, "c": 3.0}), Row("web-2", T0, {"d": 4.0})])]
            )

        assert refused.value.rows[0].line.startswith("app,host=web-2 d=4")
        assert [row[0] for row in rows_of(store.read(app()))] == ["web-1"]


def test_more_series_and_measurements_than_allowed_are_refused(place: Place) -> None:
    rows = [Row("web-1", T0, {"value": float(i)}, {"t": str(i)}) for i in range(100)]
    with closing(place.open(store_max_series=10, store_max_measurements=1)) as store:
        with pytest.raises(WriteRejected, match="10 allowed") as refused:
            store.write([frame("app", rows)])
        assert (refused.value.count, len(store.series("app"))) == (90, 10)

        with pytest.raises(WriteRejected, match="1 allowed"):
            store.write([frame("other", rows[:1])])
    with closing(place.open()) as store:
        assert (len(store.series("app")), len(store.series("other"))) == (10, 0)


def test_a_hundred_thousand_tag_values_are_stored_and_found(place: Place) -> None:
    n = 100_000
    tagsets = tuple((("container", f"c{i}"),) for i in range(n))
    values = {"value": np.arange(n, dtype=np.float64)}
    one = Frame("app", np.full(n, T0), np.zeros(n, np.int32), ("web-1",), np.arange(n, dtype=np.int32), tagsets, values)
    with closing(place.open()) as store:
        store.write([one])

        assert len(store.read(app())) == n
        assert store.read(app(step_ms=HOUR, limit=1)).fields["value"].tolist() == [0.0]


@pytest.mark.parametrize("field", [{"value": float("inf")}, {"value": -float("inf")}])
def test_infinite_values_are_refused(place: Place, field: dict[str, float]) -> None:
    with closing(place.open()) as store:
        with pytest.raises(WriteRejected, match="infinite"):
            store.write([frame("app", [Row("web-1", T0, field), Row("web-2", T0, {"value": 1.0})])])

        assert [row[0] for row in rows_of(store.read(app()))] == ["web-2"]


@pytest.mark.parametrize("at", [-1, 10**18])
def test_impossible_times_are_refused(place: Place, at: int) -> None:
    with closing(place.open()) as store, pytest.raises(WriteRejected, match="time"):
        store.write([frame("app", [Row("web-1", at, {"value": 1.0})])])


def test_an_answer_that_is_too_large_is_refused(place: Place) -> None:
    with closing(place.open(max_answer_rows=1000, store_window_bytes=0)) as store:
        for number in range(3):
            store.write([noise(number)])

        with pytest.raises(QueryFailed, match="1000"):
            store.read(app())
        with pytest.raises(QueryFailed, match="1000"):
            store.read(app(step_ms=10))


def test_a_failed_write_leaves_no_trace_in_memory(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from fleetwatch_storage.embedded import writing

    def fails(*_arguments: object) -> None:
        raise duckdb.TransactionException("Failed to commit: no reason")

    with closing(place.open()) as store:
        store.write([noise(0)])
        monkeypatch.setattr(writing, "insert", fails)
        with pytest.raises(StoreUnavailable):
            store.write([frame("fresh", [Row("new-host", T0, {"f": 1.0}, {"t": "x"})]), noise(1)])
        monkeypatch.undo()

        assert [key.measurement for key in store.series()] == ["app"]
        store.write([frame("second", [Row("other-host", T0, {"g": 1.0}, {"u": "y"})])])
    with closing(place.open()) as store:
        holds(store, [0])
        assert [(key.measurement, key.host) for key in store.series()] == [("app", "web-1"), ("second", "other-host")]


CHILD = """
import sys
from pathlib import Path
from tests.contracts.test_store_embedded_days import T0, noise
from tests.support.embedded import HOUR, Place
from tests.support.stores import directory

store = Place(Path(sys.argv[1]), directory(Path(sys.argv[2]), {})).open(seal_lateness_s=0.0)
number = int(sys.argv[3])
while True:
    store.write([noise(max(0, number - 1), 500, 200), noise(number, 500, 200)])
    print(number, flush=True)
    if number % 20 == 0:
        store.maintenance.run(T0 + number * 500 * 200)
    number += 1
"""


@pytest.mark.timeout(300)
def test_kill_9_at_any_moment_loses_doubles_and_alters_nothing_acknowledged(place: Place, tmp_path: Path) -> None:
    """Each write repeats the one before; hours are sealed meanwhile."""
    random, acked = np.random.default_rng(3), -1

    for _ in range(6):
        acked = max(acked, killed_after(place, tmp_path, acked + 1, int(random.integers(5, 50))))

    with closing(place.open()) as store:
        stored = len(store.read(app(end_ms=T0 + 100 * HOUR))) // 500
        assert stored in (acked + 1, acked + 2)
        holds(store, list(range(stored)), 500, 200)
        assert acked > 50
        assert store.state.layout.all_files(), "it was sealed meanwhile"


def killed_after(place: Place, tmp_path: Path, first: int, writes: int) -> int:
    """Kills a writing process after about so many acknowledgements; the last one."""
    command = [sys.executable, "-c", CHILD, str(place.folder), str(tmp_path), str(first)]
    last = -1
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        for line in child.stdout:
            last = int(line)
            if last >= first + writes:
                break
        time.sleep(np.random.default_rng(last).random() / 100)  # not a wait: the moment of death within a write varies
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split()
    return max([last, *(int(number) for number in rest)])


def test_negative_control_the_oracle_sees_a_lost_and_an_altered_write(place: Place) -> None:
    with closing(place.open()) as store:
        store.write([noise(0), noise(2)])

        with pytest.raises(AssertionError):
            holds(store, [0, 1, 2])
        with pytest.raises(AssertionError):
            holds(store, [0, 3])
