"""What the InfluxDB driver makes of every answer a server can give: stored, refused lines, split or held."""

from __future__ import annotations

import email.utils
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from fleetwatch_storage.errors import QueryFailed, StoreUnavailable, WriteRejected
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.influx.store import InfluxStore
from fleetwatch_storage.influx.verdict import retry_after_s
from fleetwatch_storage.query import Query
from fleetwatch_storage.settings import InfluxSettings

from tests.support.answering_server import AnsweringServer, Reply, Request
from tests.support.store_rows import Row, frame
from tests.support.stores import directory

NOW = 1_800_000_000_000
BAD = re.compile(rb" value=13(?:\.0)? ")


@pytest.fixture(params=["v1", "v2"])
def dialect(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def store_on(server: AnsweringServer, folder: Path, dialect: str = "v1", **options: object) -> Iterator[InfluxStore]:
    settings = InfluxSettings(
        influx_url=server.url, influx_dialect=dialect, influx_create=False, influx_timeout=1.0, **options
    )
    with closing(InfluxStore(settings, directory(folder, {}))) as store:
        yield store


def rows(count: int, bad: tuple[int, ...] = ()) -> Frame:
    """Rows `h0`, `h1` ...; those in `bad` have the value 13."""
    return frame("m", [Row(f"h{i}", NOW, {"value": 13.0 if i in bad else i + 0.5}) for i in range(count)])


def refuse_13(words: str, status: int = 400) -> Callable[[Request], Reply]:
    """As InfluxDB refuses lines: with `dropped=` and their number, the others are stored."""

    def answer(request: Request) -> Reply:
        bad = len(BAD.findall(request.body))
        error = json.dumps({"error": f"partial write: {words} dropped={bad}"}).encode()
        return Reply(status, error) if bad else Reply(204)

    return answer


def stored(server: AnsweringServer) -> set[bytes]:
    """Lines that were answered with success, by asking the answers again."""
    taken = [request.body for request in server.requests if server.answer(request).status == 204]
    return {line for body in taken for line in body.splitlines()}


@pytest.mark.parametrize("status", [200, 204])
def test_success_is_stored(tmp_path: Path, dialect: str, status: int) -> None:
    with AnsweringServer(lambda _: Reply(status)) as server, store_on(server, tmp_path, dialect) as store:
        store.write([rows(3)])

        (request,) = server.requests
    assert request.path == ("/write" if dialect == "v1" else "/api/v2/write")
    assert request.parameters["precision"] == "ms"
    assert request.parameters["db" if dialect == "v1" else "bucket"] == "fleetwatch"
    assert request.body.splitlines()[0] == b"m,host=h0 value=0.5 1800000000000"


@pytest.mark.parametrize(
    "words",
    [
        'field type conflict: input field "value" on measurement "m" is type string, already exists as type float',
        "points beyond retention policy",
        "max-values-per-tag limit exceeded (100000/100000)",
        "unable to parse 'm value=': missing field value",
    ],
)
def test_bad_lines_are_found_and_the_rest_is_stored(tmp_path: Path, dialect: str, words: str) -> None:
    with (
        AnsweringServer(refuse_13(words)) as server,
        store_on(server, tmp_path, dialect) as store,
        pytest.raises(WriteRejected) as refused,
    ):
        store.write([rows(1000, bad=(0, 500, 501, 999))])

    kept = stored(server)
    assert [re.search(r"host=(\w+)", row.line)[1] for row in refused.value.rows] == ["h0", "h500", "h501", "h999"]  # type: ignore[index]
    assert {row.reason for row in refused.value.rows} == {f"partial write: {words}"}
    assert {row.measurement for row in refused.value.rows} == {"m"}
    assert len(kept) == 996
    assert len(server.requests) < 100


def test_a_bucket_of_influxdb_2_says_422(tmp_path: Path) -> None:
    with (
        AnsweringServer(refuse_13("field type conflict", 422)) as server,
        store_on(server, tmp_path, "v2") as store,
        pytest.raises(WriteRejected) as refused,
    ):
        store.write([rows(10, bad=(3,))])

    assert refused.value.count == 1


def test_lines_that_are_all_refused_cost_one_request(tmp_path: Path) -> None:
    with (
        AnsweringServer(refuse_13("points beyond retention policy")) as server,
        store_on(server, tmp_path) as store,
        pytest.raises(WriteRejected) as refused,
    ):
        store.write([rows(5000, bad=tuple(range(5000)))])

    assert len(server.requests) == 1
    assert refused.value.count == 5000
    assert len(refused.value.rows) == 1000


def test_a_server_that_refuses_every_other_line_does_not_cost_endless_requests(tmp_path: Path) -> None:
    with (
        AnsweringServer(refuse_13("field type conflict")) as server,
        store_on(server, tmp_path) as store,
        pytest.raises(WriteRejected) as refused,
    ):
        store.write([rows(6000, bad=tuple(range(0, 6000, 2)))])

    kept = stored(server)
    assert len(server.requests) < 2100
    assert refused.value.count >= 3000
    assert len(kept) + refused.value.count == 6000, "what could not be told apart is set aside, not dropped"


def test_one_line_refused_in_unknown_words_is_a_bad_line(tmp_path: Path, dialect: str) -> None:
    def answer(request: Request) -> Reply:
        return Reply(400, b'{"error":"the moon is full"}') if BAD.search(request.body) else Reply(204)

    with (
        AnsweringServer(answer) as server,
        store_on(server, tmp_path, dialect) as store,
        pytest.raises(WriteRejected) as refused,
    ):
        store.write([rows(1000, bad=(3,))])

    kept = stored(server)
    assert refused.value.count == 1
    assert refused.value.rows[0].reason == "the moon is full"
    assert len(kept) == 999


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_unknown_words_for_everything_are_held_not_dropped(tmp_path: Path, dialect: str, count: int) -> None:
    def answer(_: Request) -> Reply:
        return Reply(400, b'{"error":"missing route for this token"}')

    with (
        AnsweringServer(answer) as server,
        store_on(server, tmp_path, dialect) as store,
        pytest.raises(StoreUnavailable, match="missing route"),
    ):
        store.write([rows(count)])

    assert len(server.requests) < 20


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "auth"),
        (403, "auth"),
        (404, "missing"),
        (408, "busy"),
        (425, "busy"),
        (429, "busy"),
        (500, "down"),
        (502, "down"),
        (503, "busy"),
        (504, "down"),
        (301, "down"),
        (405, "down"),
        (418, "down"),
    ],
)
def test_every_other_status_is_held(tmp_path: Path, dialect: str, status: int, reason: str) -> None:
    with (
        AnsweringServer(lambda _: Reply(status, b'{"error":"words"}')) as server,
        store_on(server, tmp_path, dialect) as store,
        pytest.raises(StoreUnavailable, match=str(status)) as held,
    ):
        store.write([rows(3)])

    assert len(server.requests) == 1
    assert held.value.reason == reason


@pytest.mark.parametrize("words", ["engine: error writing WAL entry: write x: no space left on device"])
def test_a_full_disk_is_called_full(tmp_path: Path, words: str) -> None:
    with (
        AnsweringServer(lambda _: Reply(500, json.dumps({"error": words}).encode())) as server,
        store_on(server, tmp_path) as store,
        pytest.raises(StoreUnavailable, match="free space") as held,
    ):
        store.write([rows(3)])

    assert held.value.reason == "full"


@pytest.mark.parametrize("dated", [False, True], ids=["seconds", "date"])
def test_retry_after_is_passed_on(tmp_path: Path, dialect: str, dated: bool) -> None:
    text = email.utils.formatdate(time.time() + 40, usegmt=True) if dated else "40"
    with (
        AnsweringServer(lambda _: Reply(429, headers={"Retry-After": text})) as server,
        store_on(server, tmp_path, dialect) as store,
        pytest.raises(StoreUnavailable) as held,
    ):
        store.write([rows(3)])

    assert held.value.retry_after_s == pytest.approx(40, abs=2)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("5", 5.0),
        ("soon", None),
        ("999999", 3600.0),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 0.0),
        ("-3", None),
    ],
)
def test_retry_after_has_two_forms_and_a_bound(text: str | None, seconds: float | None) -> None:
    assert retry_after_s(text, now_s=100.0) == seconds


def test_too_big_is_split_until_it_fits(tmp_path: Path, dialect: str) -> None:
    def answer(request: Request) -> Reply:
        return Reply(413) if len(request.body) > 1000 else Reply(204)

    with AnsweringServer(answer) as server, store_on(server, tmp_path, dialect) as store:
        store.write([rows(200)])

        assert len(stored(server)) == 200


def test_a_line_too_big_by_itself_is_refused(tmp_path: Path) -> None:
    def answer(request: Request) -> Reply:
        return Reply(413, b'{"error":"Request Entity Too Large"}') if BAD.search(request.body) else Reply(204)

    with (
        AnsweringServer(answer) as server,
        store_on(server, tmp_path) as store,
        pytest.raises(WriteRejected, match="Too Large") as refused,
    ):
        store.write([rows(20, bad=(7,))])

    assert len(stored(server)) == 19
    assert refused.value.count == 1


def test_a_server_that_hangs_up_after_the_lines_is_held(tmp_path: Path, dialect: str) -> None:
    with (
        AnsweringServer(lambda _: Reply(hang_up=True)) as server,
        store_on(server, tmp_path, dialect) as store,
        pytest.raises(StoreUnavailable) as held,
    ):
        store.write([rows(3)])

    assert held.value.reason == "down"


def test_nobody_there_is_held(tmp_path: Path, dialect: str) -> None:
    with AnsweringServer(lambda _: Reply()) as server:
        pass

    with store_on(server, tmp_path, dialect) as store, pytest.raises(StoreUnavailable, match="reached"):
        store.write([rows(3)])


@pytest.mark.parametrize("where", ["headers", "body"])
def test_an_answer_that_drips_is_given_up_in_time(tmp_path: Path, where: str) -> None:
    slow = Reply(drip_headers_s=0.1) if where == "headers" else Reply(200, b"x" * 1000, drip_s=0.1)
    with AnsweringServer(lambda _: slow) as server, store_on(server, tmp_path) as store:
        start = time.monotonic()

        with pytest.raises(StoreUnavailable, match="within 1 s"):
            store.write([rows(3)])

    assert time.monotonic() - start < 3


def test_a_hold_in_the_middle_of_a_search_promises_nothing(tmp_path: Path) -> None:
    answers = iter([Reply(400, b'{"error":"partial write: unable to parse dropped=0"}'), Reply(204), Reply(503)])

    with (
        AnsweringServer(lambda _: next(answers)) as server,
        store_on(server, tmp_path) as store,
        pytest.raises(StoreUnavailable),
    ):
        store.write([rows(10)])


def test_only_the_answer_counts_a_server_that_forgets_what_it_acknowledged_is_not_noticed(tmp_path: Path) -> None:
    """The limit of the promise: success means what the server says. InfluxDB says it when its log is on disk."""

    def answer(request: Request) -> Reply:
        return Reply(204) if request.path == "/write" else Reply(200, b'{"results":[{"statement_id":0}]}\n')

    with AnsweringServer(answer) as server, store_on(server, tmp_path) as store:
        store.write([rows(3)])

        assert len(store.read(Query("m", ("value",), 0, NOW * 2))) == 0
        assert store.commit_lag_s == 0.0


def test_large_frames_go_in_bounded_requests(tmp_path: Path) -> None:
    wide = Frame(
        "m",
        np.arange(200_000) + NOW,
        np.zeros(200_000, np.int32),
        ("h",),
        np.zeros(200_000, np.int32),
        ((),),
        {"value": np.random.default_rng(1).random(200_000)},
    )
    with AnsweringServer(lambda _: Reply()) as server, store_on(server, tmp_path) as store:
        store.write([wide])

        sizes = [len(request.body) for request in server.requests]
    assert max(sizes) <= 4 * 1024 * 1024
    assert sum(request.body.count(b"\n") for request in server.requests) == 200_000
    assert len(sizes) < 5


@pytest.mark.parametrize(
    ("status", "body", "error", "reason"),
    [
        (200, b'{"results":[{"error":"database not found: x"}]}', StoreUnavailable, "missing"),
        (200, b'{"results":[{"error":"max-select-point limit exceeded"}]}', QueryFailed, ""),
        (200, b'{"error":"user not authorized to read"}', StoreUnavailable, "auth"),
        (200, b'{"results":[{"error":"max-concurrent-queries limit exceeded(1, 1)"}]}', StoreUnavailable, "busy"),
        (200, b"<html>a proxy</html>", StoreUnavailable, "down"),
        (200, b'{"results":3}', StoreUnavailable, "down"),
        (200, b'{"results":[{"series":[{"name":"m","values":[[1]]}]}]}', StoreUnavailable, "down"),
        (200, b'{"results":[{"series":[{"name":"m","values":[[1,[2]]]}]}]}', StoreUnavailable, "down"),
        (400, b'{"error":"error parsing query"}', QueryFailed, ""),
        (401, b"", StoreUnavailable, "auth"),
        (403, b"", StoreUnavailable, "auth"),
        (404, b"", StoreUnavailable, "missing"),
        (429, b"", StoreUnavailable, "busy"),
        (500, b"", StoreUnavailable, "down"),
        (302, b"", StoreUnavailable, "down"),
    ],
)
def test_every_answer_to_a_question(
    tmp_path: Path, status: int, body: bytes, error: type[Exception], reason: str
) -> None:
    with (
        AnsweringServer(lambda _: Reply(status, body)) as server,
        store_on(server, tmp_path) as store,
        pytest.raises(error) as raised,
    ):
        store.read(Query("m", ("value",), 0, NOW))

    assert getattr(raised.value, "reason", "") == reason


def test_an_answer_cut_off_in_the_middle_is_no_answer(tmp_path: Path) -> None:
    cut = Reply(200, b'{"results":[{"series":[{"name":"m","columns":["time","c0"],"values":[[1,2],[3,')

    with (
        AnsweringServer(lambda _: cut) as server,
        store_on(server, tmp_path) as store,
        pytest.raises(StoreUnavailable),
    ):
        store.read(Query("m", ("value",), 0, NOW))


def test_an_answer_of_too_many_rows_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    part = json.dumps({"results": [{"series": [{"name": "m", "columns": ["time", "c0"], "values": [[1, 2]] * 1000}]}]})

    with (
        AnsweringServer(lambda _: Reply(200, f"{part}\n".encode() * 100)) as server,
        store_on(server, tmp_path, influx_query_rows=5000) as store,
        pytest.raises(QueryFailed, match="5000 rows"),
    ):
        store.read(Query("m", ("value",), 0, NOW))


def test_health_never_raises_and_says_what_is_wrong(tmp_path: Path) -> None:
    with (
        AnsweringServer(lambda _: Reply(401, b'{"error":"authorization failed"}')) as server,
        store_on(server, tmp_path) as store,
    ):
        health = store.health()

    assert (health.ready, health.writable) == (False, False)
    assert "influx_token_file" in health.detail


def test_a_slow_reader_does_not_hold_up_a_writer(tmp_path: Path) -> None:
    release = threading.Event()

    def answer(request: Request) -> Reply:
        if request.path == "/query":
            release.wait(5)
        return Reply(204) if request.path == "/write" else Reply(200, b"")

    with AnsweringServer(answer) as server, store_on(server, tmp_path) as store:
        reading = threading.Thread(target=lambda: store.read(Query("m", ("value",), 0, NOW)))
        reading.start()

        store.write([rows(3)])

        release.set()
        reading.join(5)
    assert not reading.is_alive()
