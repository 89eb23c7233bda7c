"""The seam's dataclasses as messages: the same on the other side, and hostile messages refused."""

from __future__ import annotations

import numpy as np
import pytest
from fleetwatch_proto.v1 import ingest_pb2, query_pb2
from fleetwatch_storage import messages
from fleetwatch_storage.errors import QueryFailed
from fleetwatch_storage.frames import Frame, empty
from fleetwatch_storage.hosts import Completeness, Facts, Host
from fleetwatch_storage.query import Matcher, Op, Query, Transform
from fleetwatch_storage.store import Health, SeriesKey
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.store_rows import Row, frame, rows_of

QUERY = Query(
    "cpu",
    ("a", "b"),
    1,
    2,
    3,
    ("p95", "max"),
    Transform.RATE,
    (Matcher("env", Op.RE, "x.*"), Matcher("host", Op.NE, "")),
    ("host", "env"),
    "max",
    3,
    "top",
)


@pytest.mark.parametrize("query", [QUERY, Query("m", ("f",), 0, 10), Query("m", ("f",), 0, 10, 5, group_by=())])
def test_a_query_is_the_same_on_the_other_side(query: Query) -> None:
    assert messages.query_from_message(messages.query_to_message(query)) == query


def test_what_a_request_leaves_out_has_the_defaults() -> None:
    request = query_pb2.QueryRequest(measurement="m", fields=["f"], start_ms=1, end_ms=2)

    assert messages.query_from_message(request) == Query("m", ("f",), 1, 2)


@pytest.mark.parametrize(
    "change",
    [
        {"fields": []},
        {"fields": ["f"] * 513},
        {"fields": ["f" * 1025]},
        {"measurement": "m" * 1025},
        {"end_ms": -1},
        {"step_ms": -1},
        {"limit": -1},
        {"aggregates": ["mean"]},
        {"aggregates": ["avg"] * 17},
        {"transform": "explode"},
        {"where": [query_pb2.Matcher(tag="a", op="~", value="b")]},
        {"where": [query_pb2.Matcher(tag="a", op="=~", value="(")]},
        {"where": [query_pb2.Matcher(tag="a", op="=", value="b" * 1025)]},
        {"where": [query_pb2.Matcher(tag="a", op="=", value="b")] * 65},
        {"grouped": True},
        {"grouped": True, "step_ms": 1, "group_by": ["x"] * 65},
        {"grouped": True, "step_ms": 1, "group_aggregate": "last"},
        {"order": "sideways"},
    ],
    ids=str,
)
def test_a_request_that_is_no_question_is_refused(change: dict[str, object]) -> None:
    request = {"measurement": "m", "fields": ["f"], "start_ms": 0, "end_ms": 5} | change

    with pytest.raises(QueryFailed):
        messages.query_from_message(query_pb2.QueryRequest(**request))  # type: ignore[arg-type]


def test_patterns_of_a_request_for_series_are_judged() -> None:
    with pytest.raises(QueryFailed, match="regular expression"):
        messages.matchers_from_messages([query_pb2.Matcher(tag="a", op="=~", value="(")])
    with pytest.raises(QueryFailed, match="at most"):
        messages.matchers_from_messages([query_pb2.Matcher(tag="a", op="=", value="b")] * 65)


def test_hosts_series_and_health_are_the_same_on_the_other_side() -> None:
    facts = Facts("Debian", "6.1", "x86_64", "EPYC", 2, 4, 2**40, "kvm", 5, "10.0.0.1")
    host = Host("h", "id", {"b": "2", "a": "1"}, facts, "0.1", 1, 2, 3, True, 4, -1.5, Completeness(1, 2, 3, 4, 5))
    series = SeriesKey("m", "h", (("a", "1"),), ("x", "y"))
    health = Health(True, False, "DuckDB", "full")

    assert messages.host_from_message(messages.host_to_message(host)) == host
    assert messages.series_from_message(messages.series_to_message(series)) == series
    assert messages.health_from_message(messages.health_to_message(health)) == health


def test_a_tag_given_twice_is_refused() -> None:
    tags = [ingest_pb2.Tag(key="a", value="1"), ingest_pb2.Tag(key="a", value="2")]

    with pytest.raises(ValueError, match="twice"):
        messages.series_from_message(query_pb2.SeriesKey(measurement="m", tags=tags))


def test_facts_are_cut_to_a_length_that_can_be_shown() -> None:
    assert len(messages.facts_from_message(ingest_pb2.Facts(os="x" * 100_000)).os) == 256


def good() -> query_pb2.FrameMessage:
    rows = [Row(f"h{i % 2}", i, {"a": i, "name": "x" if i % 3 else None}, {"t": "v"}) for i in range(4)]
    return messages.frame_to_message(frame("m", rows))


def i4(*codes: int) -> bytes:
    return np.array(codes, "<i4").tobytes()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda message: message.MergeFrom(query_pb2.FrameMessage(time=b"x")) or setattr(message, "time", b"123"),
        lambda message: setattr(message, "host", i4(0, 1, 0)),
        lambda message: setattr(message, "host", i4(0, 1, 0, 2)),
        lambda message: setattr(message, "tagset", i4(0, 0, 0, -1)),
        lambda message: setattr(message, "tagset", b"abc"),
        lambda message: setattr(message, "resolution_ms", -1),
        lambda message: setattr(message.columns[0], "name", message.columns[1].name),
        lambda message: setattr(message.columns[0], "numbers", bytes(8)),
        lambda message: setattr(message.columns[0], "numbers", bytes(33)),
        lambda message: message.columns[1].text.append("more"),
        lambda message: message.columns.append(query_pb2.Column(name="new")),
        lambda message: message.tagsets[0].tags.append(ingest_pb2.Tag(key="t", value="again")),
    ],
)
def test_a_frame_that_lies_about_its_size_is_refused(spoil: object) -> None:
    message = good()
    spoil(message)  # type: ignore[operator]

    with pytest.raises(ValueError, match=r"\w"):
        messages.frame_from_message(message)


def test_a_frame_without_rows_keeps_its_columns() -> None:
    back = messages.frame_from_message(messages.frame_to_message(empty("m", ("a", "b"))))

    assert (back.measurement, len(back), list(back.fields)) == ("m", 0, ["a", "b"])


def answer(series: int, rows: int) -> Frame:
    return frame(
        "m",
        [
            Row(f"h{s:03d}", i, {"a": s + i / 7, "text": f"ü{i}" if i % 2 else None}, {"s": str(s)})
            for s in range(series)
            for i in range(rows)
        ],
    )


def same(left: Frame, right: Frame) -> bool:
    return rows_of(left) == rows_of(right) and left.resolution_ms == right.resolution_ms


@settings(max_examples=60, deadline=None)
@given(series=st.integers(0, 12), rows=st.integers(1, 40), max_bytes=st.integers(1, 5000))
def test_pieces_joined_are_the_whole(series: int, rows: int, max_bytes: int) -> None:
    whole = answer(series, rows)

    pieces = [messages.frame_from_message(one) for one in messages.frame_pieces(whole, max_bytes)]

    assert same(messages.join_pieces(pieces), whole)


def test_pieces_are_small_and_cut_between_series() -> None:
    pieces = list(messages.frame_pieces(answer(100, 10), 4096))

    assert all(piece.ByteSize() < 2 * 4096 for piece in pieces)
    assert all(len(piece.time) // 8 % 10 == 0 for piece in pieces)
    assert len(pieces) > 5


def test_pieces_of_different_frames_are_not_joined() -> None:
    with pytest.raises(ValueError, match="different"):
        messages.join_pieces([answer(1, 1), empty("other", ("a",))])
