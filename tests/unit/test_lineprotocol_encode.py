"""Frames to line protocol and back: exact numbers, exact escapes, absent values left out."""

from __future__ import annotations

import math

import numpy as np
from fleetwatch_storage.frames import Frame, TagSet
from fleetwatch_storage.lineprotocol.encode import encode, encode_pieces, split_lines, writable_tags
from fleetwatch_storage.lineprotocol.parse import parse
from hypothesis import given, settings
from hypothesis import strategies as st

Row = tuple[str, TagSet, int, dict[str, float | str]]


def frame(rows: list[Row], measurement: str = "m") -> Frame:
    hosts = sorted({row[0] for row in rows})
    tagsets = sorted({row[1] for row in rows})
    names = list(dict.fromkeys(name for row in rows for name in row[3]))
    fields = {}
    for name in names:
        values = [row[3].get(name) for row in rows]
        if any(isinstance(value, str) for value in values):
            fields[name] = np.array(values, object)
        else:
            fields[name] = np.array([math.nan if value is None else value for value in values], np.float64)
    return Frame(
        measurement,
        np.array([row[2] for row in rows], np.int64),
        np.array([hosts.index(row[0]) for row in rows], np.int32),
        hosts,
        np.array([tagsets.index(row[1]) for row in rows], np.int32),
        tagsets,
        fields,
    )


def rows(frames: list[Frame]) -> list[tuple[str, Row]]:
    found = []
    for one in frames:
        for i in range(len(one)):
            present = {
                name: column[i]
                for name, column in one.fields.items()
                if column[i] is not None and not (isinstance(column[i], float) and math.isnan(column[i]))
            }
            where = one.hosts[one.host[i]], one.tagsets[one.tagset[i]], int(one.time[i]), present
            found.append((one.measurement, where))
    return found


def back(text: bytes) -> list[tuple[str, Row]]:
    parsed = parse(text, default_host="none", precision="ms", now_ms=0)
    assert parsed.rejected == []
    return rows(parsed.frames)


def key(row: tuple[str, Row]) -> str:
    return repr((row[0], row[1][:3]))


def test_a_row_is_one_line_with_milliseconds() -> None:
    text = encode(frame([("h", (("cpu", "cpu0"),), 1_700_000_000_000, {"a": 1.5, "b": 2.0})], "cpu"))

    assert text == b"cpu,host=h,cpu=cpu0 a=1.5,b=2 1700000000000\n"


def test_absent_values_are_left_out_and_empty_rows_with_them() -> None:
    made = frame(
        [("h", (), 1, {"a": 1.0, "b": 2.0}), ("h", (), 2, {"b": 3.0}), ("h", (), 3, {}), ("h", (), 4, {"a": math.inf})]
    )

    text = encode(made)

    assert sorted(text.splitlines()) == [b"m,host=h a=1,b=2 1", b"m,host=h b=3 2"]


def test_rows_of_one_series_and_time_keep_their_order() -> None:
    made = frame([("h", (), 1, {"a": 1.0, "b": 2.0}), ("h", (), 1, {"a": 9.0}), ("h", (), 1, {"a": 3.0, "b": 4.0})])

    assert encode(made).splitlines() == [b"m,host=h a=1,b=2 1", b"m,host=h a=9 1", b"m,host=h a=3,b=4 1"]


def test_a_frame_without_rows_or_fields_is_no_text() -> None:
    assert encode(frame([])) == b""
    assert encode(frame([("h", (), 1, {})])) == b""


def test_percent_signs_are_themselves() -> None:
    made = frame([("h%s", (("k%d", "%%"),), 1, {"f%s": 1.0}), ("g%", (("k%d", "%%"),), 2, {"f%s": 0.5})], "m%d")

    assert encode(made) == b"m%d,host=h%s,k%d=%% f%s=1.0 1\nm%d,host=g%,k%d=%% f%s=0.5 2\n"


def test_what_line_protocol_cannot_say_is_left_out_and_never_breaks_a_line() -> None:
    made = frame([("h\nx", (("empty", ""), ("path", "C:\\")), 1, {"f": 1.0})])

    assert encode(made) == b"m,host=h\\ x,path=C: f=1 1\n"
    assert writable_tags((("empty", ""), ("path", "C:\\"))) == (("path", "C:"),)


def test_text_is_quoted_and_stays_on_its_line() -> None:
    made = frame([("h", (), 1, {"name": 'a"b\\c\nd', "pid": 1.0})], "process_top")

    assert encode(made) == b'process_top,host=h name="a\\"b\\\\c d",pid=1 1\n'


def test_pieces_end_with_whole_lines_and_lose_nothing() -> None:
    made = frame([(f"host{i}", (), i, {"f": i + 0.5}) for i in range(1000)])

    pieces = list(encode_pieces([made, made], 1000))

    assert b"".join(pieces) == encode(made) * 2
    assert all(len(piece) <= 1000 and piece.endswith(b"\n") for piece in pieces)
    assert len(pieces) < 70


def test_a_line_longer_than_a_piece_is_a_piece() -> None:
    assert list(split_lines(b"aaaa\nbb\nc\nd\n", 4)) == [b"aaaa\n", b"bb\n", b"c\nd\n"]


names = st.text(st.characters(blacklist_categories=("Cc", "Cs")), min_size=1, max_size=12).map(
    lambda text: text.rstrip("\\") or "x"
)
keys = names.filter(lambda name: name not in ("time", "host"))
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**60), 2**60).map(float)
tag_sets = st.dictionaries(keys, names, max_size=3).map(lambda tags: tuple(sorted(tags.items())))


@settings(max_examples=150, deadline=None)
@given(
    measurement=names.filter(
        lambda name: not name.lstrip(" \t").startswith("#") and name.strip() == name and name != "process_top"
    ),
    made=st.lists(
        st.tuples(names, tag_sets, st.integers(0, 2**41), st.dictionaries(keys, numbers, min_size=1, max_size=4)),
        min_size=1,
        max_size=6,
        unique_by=lambda row: row[:3],
    ),
)
def test_whatever_is_written_reads_back_the_same(measurement: str, made: list[Row]) -> None:
    text = encode(frame(made, measurement))

    assert sorted(back(text), key=key) == sorted(((measurement, row) for row in made), key=key)
