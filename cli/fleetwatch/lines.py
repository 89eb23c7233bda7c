"""Line protocol from a stream, cut into texts of whole lines that are each acknowledged."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

TEXT_BYTES = 4 * 1024 * 1024
"""About the largest text of one acknowledgement; a line longer than this is cut and refused by the collector."""
NAMED_LINES = 1000
"""How many wrong lines are kept by number."""


class Refused(Protocol):
    """One line that was not stored."""

    number: int
    reason: str


class Reply(Protocol):
    """What the collector says about one text; as in import.proto."""

    lines: int
    points: int
    rejected_lines: int

    @property
    def rejected(self) -> Iterable[Refused]:
        """Numbers count from 1 within the text."""


@dataclass(slots=True)
class Written:
    """What became of the lines so far; numbers count from 1 over the whole stream."""

    lines: int = 0
    points: int = 0
    refused: int = 0
    wrong: list[tuple[int, str]] = field(default_factory=list)
    sent: int = 0

    def add(self, reply: Reply, text: bytes) -> list[tuple[int, str]]:
        """Counts one reply; the wrong lines that are new."""
        new = [(self.sent + one.number, one.reason) for one in reply.rejected]
        self.lines, self.points = self.lines + reply.lines, self.points + reply.points
        self.refused += reply.rejected_lines
        self.wrong += new[: NAMED_LINES - len(self.wrong)]
        self.sent += text.count(b"\n")
        return new


def texts(stream: io.BufferedReader) -> Iterator[bytes]:
    """Whole lines as soon as they are there, so that a program that writes one now and then is answered."""
    tail = b""
    while block := stream.read1(TEXT_BYTES - len(tail)):
        head, newline, tail = (tail + block).rpartition(b"\n")
        if newline:
            yield head + newline
        elif len(tail) >= TEXT_BYTES:
            yield tail
            tail = b""
    if tail:
        yield tail


def write_all(
    stream: io.BufferedReader, send: Callable[[bytes], Reply], tell: Callable[[int, str], None], written: Written
) -> None:
    """Sends every text and counts into `written`; `tell` is called for each wrong line that is named."""
    for text in texts(stream):
        for number, reason in written.add(send(text), text):
            tell(number, reason)
