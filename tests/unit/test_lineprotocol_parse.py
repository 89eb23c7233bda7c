"""Line protocol to frames: the whole grammar, the limits, and which lines are refused in which words."""

from __future__ import annotations

import time

import numpy as np
import pytest
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.lineprotocol.limits import LineLimits
from fleetwatch_storage.lineprotocol.parse import Parsed, parse

NOW = 1_700_000_000_000


def read(text: str | bytes, precision: str = "ns", limits: LineLimits | None = None) -> Parsed:
    raw = text.encode() if isinstance(text, str) else text
    return parse(raw, default_host="me", precision=precision, now_ms=NOW, limits=limits or LineLimits())


def one(text: str, precision: str = "ns") -> Frame:
    parsed = read(text, precision)
    assert parsed.rejected == []
    (frame,) = parsed.frames
    return frame


def reason(text: str | bytes) -> str:
    parsed = read(text)
    assert parsed.lines == 0
    assert parsed.frames == []
    return parsed.rejected[0].reason


def values(frame: Frame) -> dict[str, list[object]]:
    return {name: column.tolist() for name, column in frame.fields.items()}


def test_a_line_becomes_a_row_with_its_host_apart_and_its_tags_sorted() -> None:
    frame = one("cpu,host=web1,cpu=cpu0,az=b usage_user=1.5,usage_system=2 1700000000123456789")

    assert frame.measurement == "cpu"
    assert frame.time.tolist() == [1_700_000_000_123]
    assert frame.hosts == ("web1",)
    assert frame.tagsets == ((("az", "b"), ("cpu", "cpu0")),)
    assert values(frame) == {"usage_user": [1.5], "usage_system": [2.0]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1.0),
        ("-1.25", -1.25),
        ("+3", 3.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("-1.e3", -1000.0),
        ("1e-3", 0.001),
        ("5i", 5.0),
        ("-9223372036854775808i", -(2.0**63)),
        ("18446744073709551615u", 2.0**64),
        ("t", 1.0),
        ("TRUE", 1.0),
        ("false", 0.0),
        ("F", 0.0),
    ],
)
def test_numbers_integers_and_booleans_become_floats(text: str, value: float) -> None:
    assert values(one(f"m f={text}")) == {"f": [value]}


@pytest.mark.parametrize(("precision", "stamp"), [("ns", 5 * 10**9), ("us", 5 * 10**6), ("ms", 5_000), ("s", 5)])
def test_timestamps_are_read_in_their_precision(precision: str, stamp: int) -> None:
    assert one(f"m f=1 {stamp}", precision).time.tolist() == [5_000]


def test_a_line_without_host_and_time_is_of_the_writer_and_of_now() -> None:
    frame = one("m f=1")

    assert frame.hosts == ("me",)
    assert frame.time.tolist() == [NOW]


def test_escapes_stand_for_commas_spaces_and_equals_signs_only() -> None:
    frame = one(r"my\ m\,x,ta\,g=a\ b\=c\d,t=c:\\x f\ 1=1,f\=2=2")

    assert frame.measurement == "my m,x"
    assert frame.tagsets == ((("t", r"c:\\x"), ("ta,g", r"a b=c\d")),)
    assert values(frame) == {"f 1": [1.0], "f=2": [2.0]}


def test_process_names_are_the_only_text() -> None:
    frame = one(r'process_top,rank=1 pid=3,name="a \"b\" \\c, d=e é",user="" 1')

    assert values(frame) == {"pid": [3.0], "name": ['a "b" \\c, d=e é'], "user": [""]}
    assert "is a string" in reason('cpu name="x"')
    assert "is text" in reason("process_top name=1")


def test_comments_empty_lines_and_carriage_returns_are_nothing() -> None:
    parsed = read("# comment\r\n\r\n   \n m  f=1   5 \r\n")

    assert (parsed.lines, parsed.rejected_lines, parsed.seen) == (1, 0, 4)


def test_rows_with_other_fields_leave_the_missing_ones_out() -> None:
    frame = one("m a=1,b=2 1\nm b=3 2\nm c=4,a=5,b=6 3", "ms")

    assert sorted(frame.fields) == ["a", "b", "c"]
    order = np.argsort(frame.time)
    assert np.isnan(frame.fields["a"][order].astype(float)).tolist() == [False, True, False]
    assert frame.fields["b"][order].tolist() == [2.0, 3.0, 6.0]


def test_good_lines_are_kept_and_bad_ones_named_by_number() -> None:
    parsed = read("m f=1 1\nm f=\nm f=2 2\nm\n\nm f=3 3\nm f=nan 4", "ms")

    assert parsed.lines == 3
    assert sorted(parsed.frames[0].fields["f"].tolist()) == [1.0, 2.0, 3.0]
    assert [line.number for line in parsed.rejected] == [2, 4, 7]


def test_line_numbers_go_on_in_the_next_piece() -> None:
    first = read("m f=1\nbad\n")

    second = parse(b"m f=1\nbad", default_host="me", now_ms=NOW, first_number=1 + first.seen)

    assert [line.number for line in first.rejected + second.rejected] == [2, 4]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("m", "no fields"),
        ("m f", "not name=value"),
        ("m f=", "no value"),
        ("m f=1,", "not name=value"),
        ("m f=1_0", "not a number"),
        ("m f=nan", "leave the field out"),
        ("m f=-inf", "leave the field out"),
        ("m f=1e400", "too large"),
        ("m f=١", "not a number"),
        ("m f=0x10", "not a number"),
        ("m f=5I", "not a number"),
        ("m f=9223372036854775808i", "64 bits"),
        ("m f=-1u", "64 bits"),
        ("m f=1,f=2", "twice"),
        ("m f=1,time=2", "called time"),
        ("m,a=1,a=2 f=1", "twice"),
        ("m,a= f=1", "no value"),
        ("m,a f=1", "not key=value"),
        ("m,=b f=1", "not key=value"),
        ("m,a=b=c f=1", "not key=value"),
        ("m,,a=b f=1", "not key=value"),
        ("m,time=1 f=1", "called time"),
        (",a=b f=1", "measurement is empty"),
        ('m f="open', "not closed"),
        ("m f=1 2 3", "unexpected '3'"),
        ("m f=1 soon", "not a timestamp"),
        ("m f=1 1.5", "not a timestamp"),
        ("m f=1 99999999999999999999", "not a timestamp"),
        ("m f=1 -1", "out of range"),
        ("m,a=b\x01c f=1", "control character"),
        (b"m,a=\xff f=1", "UTF-8"),
    ],
)
def test_a_wrong_line_is_refused_in_words(line: str | bytes, words: str) -> None:
    assert words in reason(line)


@pytest.mark.parametrize(
    "line",
    [
        "m" * 129 + " f=1",
        "m " + "f" * 129 + "=1",
        "m," + "k" * 65 + "=v f=1",
        "m,k=" + "é" * 129 + " f=1",
        "m," + ",".join(f"k{i}=v" for i in range(17)) + " f=1",
        "m " + ",".join(f"f{i}=1" for i in range(513)),
        "m f=1" + " " * 10 + "#" * 70_000,
        'process_top name="' + "x" * 257 + '"',
    ],
)
def test_a_line_over_a_limit_is_refused(line: str) -> None:
    assert reason(line)


def test_lines_at_the_limits_are_taken() -> None:
    tags = ",".join(f"{'k' * 62}{i:02d}={'v' * 256}" for i in range(16))
    fields = ",".join(f"{'f' * 125}{i:03d}=1" for i in range(300))

    assert read(f"{'m' * 128},{tags} {fields}").lines == 1


def test_one_series_is_judged_once_but_refused_every_time() -> None:
    parsed = read("m,time=1 f=1\n" * 5)

    assert parsed.rejected_lines == 5


def test_only_the_first_bad_lines_are_named_but_all_are_counted() -> None:
    parsed = read("bad\n" * 50, limits=LineLimits(reported=10))

    assert (len(parsed.rejected), parsed.rejected_lines) == (10, 50)


def test_memory_is_bounded_by_the_values_however_sparse_the_lines_are() -> None:
    text = "".join(f"m f{i % 500}=1,g{i % 499 % 10}=2\n" for i in range(20_000))

    parsed = read(text)

    cells = sum(len(frame) * len(frame.fields) for frame in parsed.frames)
    points = sum(frame.points for frame in parsed.frames)
    assert cells <= 4 * points
    assert points == 2 * parsed.lines
    assert parsed.lines + parsed.rejected_lines == 20_000


def test_too_many_different_sets_of_fields_are_refused_by_line() -> None:
    text = "".join(f"m{i} f=1\n" for i in range(30))

    parsed = read(text, limits=LineLimits(field_sets=20))

    assert (parsed.lines, parsed.rejected_lines) == (20, 10)


def test_an_unknown_precision_is_an_error_of_the_caller() -> None:
    with pytest.raises(ValueError, match="precision"):
        read("m f=1", precision="m")


def test_fifty_thousand_lines_take_seconds_at_most() -> None:
    text = "".join(f"m,i={i % 500} a=1.5,b=2,c=3 {i}\n" for i in range(50_000)).encode()
    start = time.process_time()

    parsed = parse(text, default_host="me", precision="ms", now_ms=NOW)

    assert parsed.lines == 50_000
    assert time.process_time() - start < 5
