"""Samples to a text file and back: nothing altered, bad lines named, broken files said, memory bounded."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from fleetwatch_storage import textfiles
from fleetwatch_storage.errors import QueryFailed
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.query import Query
from fleetwatch_storage.textfiles import HEADER, BadTextFile, export_lines, import_lines

from tests.support.store_rows import Row, frame, rows_of
from tests.support.stores import ReferenceStore, directory

T0 = 1_700_000_000_000
DAY = 86_400_000


@pytest.fixture
def empty(tmp_path: Path) -> ReferenceStore:
    return ReferenceStore(directory(tmp_path, {}))


@pytest.fixture
def full(tmp_path: Path) -> ReferenceStore:
    (tmp_path / "full").mkdir()
    store = ReferenceStore(directory(tmp_path / "full", {}))
    cpu = [
        Row(f"h {i % 3}", T0 + i * 10_000, {"a": i / 7, "b": float(i)} if i % 2 else {"a": -i}, {"cpu": str(i % 2)})
        for i in range(500)
    ]
    top = [Row("h 0", T0 + DAY, {"name": 'a "b", c=\\', "user": "ü", "pid": 7}, {"rank": "1"})]
    store.write([frame("cpu", cpu), frame("process_top", top)])
    return store


def everything(store: ReferenceStore) -> list[object]:
    questions = [("cpu", ("a", "b")), ("process_top", ("name", "user", "pid"))]
    return [rows_of(store.read(Query(name, fields, 0, T0 + 9 * DAY))) for name, fields in questions]


@pytest.mark.parametrize("name", ["out.txt", "out.txt.gz"])
def test_what_is_exported_is_imported_unaltered(
    tmp_path: Path, full: ReferenceStore, empty: ReferenceStore, name: str
) -> None:
    points = export_lines(full, tmp_path / name, T0, T0 + 2 * DAY)

    done = import_lines(empty, tmp_path / name, default_host="x", now_ms=0)

    assert everything(empty) == everything(full)
    assert (done.lines, done.rejected_lines) == (501, 0)
    assert points == 753


def test_an_export_holds_only_what_was_asked_for(full: ReferenceStore) -> None:
    text = io.BytesIO()

    export_lines(full, text, T0 + 10_000, T0 + 30_000, ["cpu"])

    assert text.getvalue().startswith(HEADER)
    assert text.getvalue().count(b"\n") == 3
    assert b" 1700000030000\n" not in text.getvalue()


def test_progress_rises_to_its_total(tmp_path: Path, full: ReferenceStore, empty: ReferenceStore) -> None:
    told: list[tuple[int, int]] = []
    export_lines(full, tmp_path / "x", T0, T0 + DAY, progress=lambda *step: told.append(step))
    assert told == sorted(told)
    assert told[-1] == (2 * 86_400, 2 * 86_400)

    told.clear()
    import_lines(empty, tmp_path / "x", lambda *step: told.append(step), default_host="x", now_ms=0)

    assert told[-1] == ((tmp_path / "x").stat().st_size,) * 2


def test_an_unfinished_export_leaves_no_file(tmp_path: Path, full: ReferenceStore) -> None:
    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_lines(full, tmp_path / "x", T0, T0 + DAY, progress=interrupt)

    assert not [path for path in tmp_path.iterdir() if path.name.startswith("x")]


def test_a_store_that_answers_little_at_once_is_asked_for_less(
    full: ReferenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = full.read

    def at_most_ten(query: Query) -> Frame:
        answer = read(query)
        if len(answer) > 10:
            raise QueryFailed("too much")
        return answer

    monkeypatch.setattr(full, "read", at_most_ten)
    text = io.BytesIO()

    export_lines(full, text, T0, T0 + DAY, ["cpu"])

    assert text.getvalue().count(b"\n") == 501


def test_an_export_over_a_long_empty_time_reads_no_more_at_once(
    empty: ReferenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty.write([frame("cpu", [Row("h", T0 + 300 * DAY + i * 1000, {"a": i}) for i in range(2000)])])
    monkeypatch.setattr(textfiles, "_ENOUGH_ROWS", 100)
    read, most = empty.read, [0]

    def watched(query: Query) -> Frame:
        answer = read(query)
        most[0] = max(most[0], len(answer))
        return answer

    monkeypatch.setattr(empty, "read", watched)
    text = io.BytesIO()

    export_lines(empty, text, T0, T0 + 400 * DAY)

    assert text.getvalue().count(b"\n") == 2001
    assert most[0] <= 200


def test_importing_twice_changes_nothing(tmp_path: Path, full: ReferenceStore, empty: ReferenceStore) -> None:
    export_lines(full, tmp_path / "x", T0, T0 + 2 * DAY)

    for _ in range(2):
        import_lines(empty, tmp_path / "x", default_host="x", now_ms=0)

    assert everything(empty) == everything(full)


def test_bad_lines_are_named_by_their_number_in_the_whole_file(
    empty: ReferenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = b"cpu,host=a a=1.2345678901234567 %d\n"
    text = b"".join(line % i for i in range(5_000)) + b"bad\n" + b"cpu a=1 7\n"
    monkeypatch.setattr(textfiles, "READ_BYTES", 65_536)

    done = import_lines(empty, io.BytesIO(text), default_host="me", now_ms=5, precision="ms")

    assert [(one.number, done.rejected_lines) for one in done.rejected] == [(5_001, 1)]
    assert done.lines == 5_001
    assert rows_of(empty.read(Query("cpu", ("a",), 7, 8)))[1][0] == "me"


def test_lines_the_store_refuses_are_reported(empty: ReferenceStore) -> None:
    empty.write([frame("process_top", [Row("a", T0, {"pid": "text"})])])

    done = import_lines(empty, io.BytesIO(b"process_top pid=1 1\ncpu a=1 1\n"), default_host="a", now_ms=5)

    assert (done.lines, done.rejected_lines) == (1, 1)
    assert "type" in done.rejected[0].reason


def test_a_foreign_file_is_in_nanoseconds_unless_told_otherwise(empty: ReferenceStore) -> None:
    import_lines(empty, io.BytesIO(b"cpu a=1 5000000000\n"), default_host="h", now_ms=0)
    import_lines(empty, io.BytesIO(b"cpu a=2 6\n"), default_host="h", now_ms=0, precision="s")

    assert [row[2] for row in rows_of(empty.read(Query("cpu", ("a",), 0, T0)))] == [5000, 6000]


def test_several_compressed_parts_in_one_file_are_one_text(empty: ReferenceStore) -> None:
    packed = gzip.compress(b"cpu a=1 1000000\n") + gzip.compress(b"cpu a=2 2000000\n") + bytes(10)

    assert import_lines(empty, io.BytesIO(packed), default_host="h", now_ms=0).lines == 2


@pytest.mark.parametrize("damage", ["cut", "altered"])
def test_a_broken_compressed_file_is_said_and_its_beginning_is_stored(
    empty: ReferenceStore, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(textfiles, "READ_BYTES", 65_536)
    noise = np.random.default_rng(1).random(5_000)
    packed = bytearray(gzip.compress(b"".join(b"cpu a=%f %d\n" % (value, i) for i, value in enumerate(noise))))
    if damage == "cut":
        del packed[-1000:]
    else:
        packed[-3000:-2000] = bytes(1000)

    with pytest.raises(BadTextFile):
        import_lines(empty, io.BytesIO(bytes(packed)), default_host="h", now_ms=0, precision="ms")

    assert len(empty.read(Query("cpu", ("a",), 0, T0))) > 1000


def test_a_line_without_end_does_not_fill_the_memory(empty: ReferenceStore) -> None:
    text = b"cpu a=1 1\ncpu b=" + b"1" * 9_000_000 + b"\ncpu a=2 2\n"

    done = import_lines(empty, io.BytesIO(text), default_host="h", now_ms=0)

    assert (done.lines, done.rejected_lines) == (2, 1)
    assert "longer than" in done.rejected[0].reason


def test_a_bomb_is_read_bit_by_bit(empty: ReferenceStore) -> None:
    bomb = gzip.compress(b"#" + b" " * 40_000_000 + b"\ncpu a=1 1\n")

    done = import_lines(empty, io.BytesIO(bomb), default_host="h", now_ms=0)

    assert done.lines == 1
