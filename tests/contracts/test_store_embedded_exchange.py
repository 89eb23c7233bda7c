"""The embedded store: backup and restore while it is written to, export to and import from Parquet."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from fleetwatch_storage.embedded import EmbeddedStore
from fleetwatch_storage.embedded.backup import backup, restore
from fleetwatch_storage.embedded.exchange import export_parquet, import_parquet
from fleetwatch_storage.errors import StorageError, StoreUnavailable
from fleetwatch_storage.query import Query

from tests.support.embedded import HOUR, MIN, Clock, Place, S
from tests.support.store_rows import Row, alike, expected, frame, merged, rows_of
from tests.support.stores import directory

T0 = Clock().now // HOUR * HOUR - 4 * HOUR
ODD = 'odd "name", with\'all = \\ of it/é'
ROWS = [
    Row(
        host,
        T0 + i * 7 * MIN,
        {"value": i / 3, "Value": float(-i), "time": 1.0, ODD: float(i)} if i % 3 else {"text": f"ü{i}\n"},
        tags,
    )
    for host in ("web-1", "h,=\"'\\ ü")
    for tags in ({}, {"a b": "c=d", ODD: "x"})
    for i in range(20)
]
QUERY = Query(ODD, ("value", "Value", "time", ODD, "text"), T0, T0 + 4 * HOUR)
silent = lambda _done, _total: None  # noqa: E731 - a progress nobody watches


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "store", directory(tmp_path, {}))


@pytest.fixture
def other(tmp_path: Path, place: Place) -> Place:
    return Place(tmp_path / "other", place.hosts)


def filled(place: Place) -> EmbeddedStore:
    """A store with hot and sealed rows, and a second measurement."""
    store = place.open()
    store.write([frame(ODD, ROWS), frame("plain", [Row("web-1", T0, {"x": 1.0})])])
    store.maintenance.run(T0 + 2 * HOUR)
    place.seal(store)
    store.write([frame(ODD, ROWS[:3])])
    return store


def holds_all(store: EmbeddedStore) -> None:
    assert alike(rows_of(store.read(QUERY)), expected(merged(ROWS), QUERY, {}))


def test_a_restored_backup_holds_what_the_store_held(place: Place, other: Place, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    with closing(filled(place)) as store:
        backup(store, tmp_path / "b.tar", lambda done, total: seen.append((done, total)))
        assert [path.name for path in place.folder.iterdir() if path.name.startswith("backup")] == []

    restore(tmp_path / "b.tar", other.folder, silent)

    assert seen[-1][0] == seen[-1][1] > 0
    assert sorted(done for done, _ in seen) == [done for done, _ in seen]
    with closing(other.open()) as store:
        holds_all(store)
        assert [key.measurement for key in store.series()] == [ODD] * 4 + ["plain"]
        other.seal(store)
        holds_all(store)


def test_a_backup_of_a_busy_store_is_of_one_moment(place: Place, other: Place, tmp_path: Path) -> None:
    """Every write has one row in each of two measurements: a copy of one moment has as many of one as of the other."""
    stop = threading.Event()
    with closing(filled(place)) as store:
        started = threading.Event()

        def keep_writing() -> None:
            number = 0
            while not stop.is_set():
                row = Row("web-1", T0 + number * S, {"n": float(number)})
                store.write([frame("left", [row]), frame("right", [row])])
                number += 1
                if number == 20:
                    started.set()

        writer = threading.Thread(target=keep_writing)
        writer.start()
        started.wait(20)
        backup(store, tmp_path / "b.tar", silent)
        stop.set()
        writer.join()

    restore(tmp_path / "b.tar", other.folder, silent)

    with closing(other.open()) as store:
        left, right = (rows_of(store.read(Query(name, ("n",), T0, T0 + 4 * HOUR))) for name in ("left", "right"))
        assert left == right
        assert [row[3]["n"] for row in left] == [float(i) for i in range(len(left))]
        assert len(left) >= 20


def test_restoring_over_a_store_is_refused(place: Place, tmp_path: Path) -> None:
    with closing(filled(place)) as store:
        backup(store, tmp_path / "b.tar", silent)

    with pytest.raises(StorageError, match="aside"):
        restore(tmp_path / "b.tar", place.folder, silent)

    with closing(place.open()) as store:
        holds_all(store)


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.97])
def test_half_a_backup_is_refused_and_leaves_nothing(place: Place, other: Place, tmp_path: Path, cut: float) -> None:
    with closing(filled(place)) as store:
        backup(store, tmp_path / "b.tar", silent)
    whole = (tmp_path / "b.tar").read_bytes()
    end = whole.rstrip(b"\0")
    (tmp_path / "b.tar").write_bytes(whole[: int(len(end) * cut)])

    with pytest.raises(StorageError, match=r"b\.tar"):
        restore(tmp_path / "b.tar", other.folder, silent)

    assert list(other.folder.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../escape", "/etc/escape", "sealed/raw/../../escape", "hot.duckdb.wal", "sealed/x.parquet"]
)
def test_a_backup_with_strange_members_is_refused(other: Place, tmp_path: Path, name: str) -> None:
    contents = json.dumps({"format": 1, "files": {"hot.duckdb": 1, name: 1}}).encode()
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        for member, data in (("backup.json", contents), ("hot.duckdb", b"x"), (name, b"x")):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))

    with pytest.raises(StorageError, match="does not belong"):
        restore(tmp_path / "evil.tar", other.folder, silent)

    assert not (tmp_path / "escape").exists()


@pytest.mark.parametrize("content", [b"", b"no tar" * 500])
def test_what_is_not_a_backup_is_refused(other: Place, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b.tar").write_bytes(content)

    with pytest.raises(StorageError, match="not a backup"):
        restore(tmp_path / "b.tar", other.folder, silent)


def test_a_backup_that_does_not_exist_is_named(other: Place, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"nowhere\.tar: No such file"):
        restore(tmp_path / "nowhere.tar", other.folder, silent)


def test_a_backup_of_a_newer_version_is_refused(other: Place, tmp_path: Path) -> None:
    contents = json.dumps({"format": 99, "files": {"hot.duckdb": 1}}).encode()
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        info = tarfile.TarInfo("backup.json")
        info.size = len(contents)
        archive.addfile(info, io.BytesIO(contents))

    with pytest.raises(StoreUnavailable) as told:
        restore(tmp_path / "b.tar", other.folder, silent)

    assert told.value.reason == "newer"


def test_exported_files_have_names_and_times_anyone_can_read(place: Place, tmp_path: Path) -> None:
    with closing(filled(place)) as store:
        rows = export_parquet(store, tmp_path / "out", T0, T0 + 4 * HOUR, ["plain"], silent)

    (file,) = (tmp_path / "out").glob("*.parquet")
    read = duckdb.execute("SELECT time, host, tags, x FROM read_parquet(?)", [str(file)]).fetchall()
    assert rows == 1
    assert [(f"{at:%Y-%m-%d %H:%M}", host, tags, x) for at, host, tags, x in read] == [
        (f"{duckdb.execute('SELECT epoch_ms(?)', [T0]).fetchall()[0][0]:%Y-%m-%d %H:%M}", "web-1", "{}", 1.0)
    ]


def test_an_import_of_an_export_has_every_name_and_value(place: Place, other: Place, tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    with closing(filled(place)) as store:
        exported = export_parquet(store, tmp_path / "out", T0, T0 + 4 * HOUR, [], silent)

    with closing(other.open()) as store:
        imported = import_parquet(store, tmp_path / "out", lambda *pair: done.append(pair))

        assert imported == exported == len(merged(ROWS)) + 1
        holds_all(store)
        assert import_parquet(store, tmp_path / "out", silent) == imported
        holds_all(store)
    assert done[-1][0] == done[-1][1]


def test_an_export_has_only_the_range_asked_for(place: Place, other: Place, tmp_path: Path) -> None:
    with closing(filled(place)) as store:
        export_parquet(store, tmp_path / "out", T0 + 7 * MIN, T0 + HOUR, [ODD], silent)
    with closing(other.open()) as store:
        import_parquet(store, tmp_path / "out", silent)

        times = store.read(QUERY).time
        assert (times.min(), times.max()) == (T0 + 7 * MIN, T0 + 56 * MIN)


def test_a_foreign_parquet_file_is_refused_by_name(place: Place, tmp_path: Path) -> None:
    duckdb.execute(f"COPY (SELECT 1 AS a) TO '{tmp_path}/foreign.parquet' (FORMAT parquet)")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    with closing(place.open()) as store:
        with pytest.raises(StorageError, match=r"foreign\.parquet: not an export"):
            import_parquet(store, tmp_path / "foreign.parquet", silent)
        with pytest.raises(StorageError, match=r"broken\.parquet"):
            import_parquet(store, tmp_path / "broken.parquet", silent)
        with pytest.raises(StorageError, match="no Parquet files"):
            import_parquet(store, tmp_path / "store", silent)
