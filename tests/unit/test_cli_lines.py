"""`fleetwatch write` cuts a stream into whole lines and counts what became of them over the whole stream."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from fleetwatch import lines
from fleetwatch.lines import Written, texts, write_all


@dataclass
class Refused:
    number: int
    reason: str


@dataclass
class Reply:
    lines: int = 0
    points: int = 0
    rejected_lines: int = 0
    rejected: list[Refused] = field(default_factory=list)


def refuse_bad(text: bytes) -> Reply:
    """A collector that refuses every line with `bad` in it."""
    found = text.splitlines()
    wrong = [Refused(number, "bad") for number, line in enumerate(found, 1) if b"bad" in line]
    return Reply(len(found) - len(wrong), len(found) - len(wrong), len(wrong), wrong)


@pytest.fixture
def small_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "TEXT_BYTES", 16)


def stream(data: bytes) -> io.BufferedReader:
    return io.BufferedReader(io.BytesIO(data))


@pytest.mark.usefixtures("small_texts")
def test_texts_hold_whole_lines_and_lose_nothing() -> None:
    data = b"first 1\nsecond 22\nthird\nthe last one"

    found = list(texts(stream(data)))

    assert b"".join(found) == data
    assert all(text.endswith(b"\n") for text in found[:-1])


@pytest.mark.usefixtures("small_texts")
def test_a_line_longer_than_a_text_does_not_grow_without_bound() -> None:
    found = list(texts(stream(b"x" * 100 + b"\n")))

    assert max(map(len, found)) <= 16 + 1


@pytest.mark.usefixtures("small_texts")
def test_wrong_lines_are_numbered_over_the_whole_stream() -> None:
    written, told = Written(), list[int]()

    write_all(stream(b"good 1\nbad 2\ngood 3\ngood 4\nbad 5\ngood 6"), refuse_bad, lambda n, _: told.append(n), written)

    assert told == [2, 5]
    assert (written.lines, written.refused, written.wrong) == (4, 2, [(2, "bad"), (5, "bad")])


def test_a_line_is_sent_when_it_is_there_not_when_the_stream_ends() -> None:
    here, there = os.pipe()
    with open(here, "rb") as reading, open(there, "wb", buffering=0) as writing:
        pieces: Iterator[bytes] = texts(reading)
        writing.write(b"one 1\ntwo")

        assert next(pieces) == b"one 1\n"


def test_only_some_wrong_lines_are_kept_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "NAMED_LINES", 3)
    written = Written()

    write_all(stream(b"bad\n" * 10), refuse_bad, lambda number, reason: None, written)

    assert (written.refused, len(written.wrong)) == (10, 3)
