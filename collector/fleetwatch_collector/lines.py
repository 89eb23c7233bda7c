"""Line protocol from programs: pieces of whole lines, which of them may be stored, and the reply. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from fleetwatch_proto.v1.import_pb2 import RejectedLine, WriteReply
from fleetwatch_storage.errors import WriteRejected
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.lineprotocol.limits import LineLimits
from fleetwatch_storage.lineprotocol.parse import Parsed, parse

from fleetwatch_collector.settings import CollectorSettings
from fleetwatch_collector.writers import Key, WriterSeries

LIMITS = LineLimits()

Judge = Callable[[Key, int], str]
"""Why a row (its series, its time in unix milliseconds) is not stored; empty when it is."""


class LinePieces:
    """Cuts chunks into texts of whole lines; of a line that is too long it keeps enough for the parser to say so."""

    def __init__(self, longest: int = LIMITS.line_bytes) -> None:
        self._longest = longest
        self._tail = b""

    def add(self, chunk: bytes) -> bytes:
        """The lines that are whole now; empty when none is."""
        if len(self._tail) > self._longest:
            end = chunk.find(b"\n")
            chunk = chunk[end:] if end >= 0 else b""
        head, newline, rest = chunk.rpartition(b"\n")
        if not newline:
            self._tail = (self._tail + rest)[: self._longest + 1]
            return b""
        text = self._tail + head + newline
        self._tail = rest[: self._longest + 1]
        return text

    def end(self) -> bytes:
        """The last line, when it has no line break."""
        tail, self._tail = self._tail, b""
        return tail


@dataclass(slots=True)
class Import:
    """One Write call: what was taken and refused so far. `take` and `stored` run in any thread, one at a time."""

    host: str
    precision: str
    series: WriterSeries
    settings: CollectorSettings
    points: int = 0
    lines: int = 0
    rejected_lines: int = 0
    rejected: list[RejectedLine] = field(default_factory=list)
    next_number: int = 1

    def take(self, text: bytes, now_ms: int, now_s: float) -> list[Frame]:
        """Frames to be stored; lines that cannot be are noted.

        Raises:
            ValueError: an unknown precision.
        """
        parsed = self._parse(text, now_ms)
        self.rejected_lines += parsed.rejected_lines
        self._name((one.number, one.reason) for one in parsed.rejected)
        frames, judge = self._admit(parsed.frames, now_ms, now_s)
        refused = parsed.lines - sum(map(len, frames))
        if refused:
            self.rejected_lines += refused
            self._name(self._lines_that(judge, text, now_ms, refused))
        self.lines += parsed.lines - refused
        self.points += sum(frame.points for frame in frames)
        self.next_number += parsed.seen
        return frames

    def refused_by_store(self, text: bytes, refused: WriteRejected, now_ms: int) -> None:
        """Rows of the text just taken that the store did not want."""
        reasons: dict[tuple[Key, int], str] = {}
        for row in refused.rows:
            for key, time_ms in _rows(parse(row.line.encode(), default_host="", precision="ms", now_ms=0).frames):
                reasons[key, time_ms] = row.reason
        self.next_number -= text.count(b"\n") + (not text.endswith(b"\n"))
        self._name(self._lines_that(lambda key, time_ms: reasons.get((key, time_ms), ""), text, now_ms, refused.count))
        self.next_number += text.count(b"\n") + (not text.endswith(b"\n"))
        self.lines -= refused.count
        self.rejected_lines += refused.count

    def reply(self) -> WriteReply:
        """What to tell the writer."""
        rejected = sorted(self.rejected, key=lambda line: line.number)
        return WriteReply(points=self.points, lines=self.lines, rejected=rejected, rejected_lines=self.rejected_lines)

    def _parse(self, text: bytes, now_ms: int, first_number: int | None = None) -> Parsed:
        number = self.next_number if first_number is None else first_number
        return parse(text, default_host=self.host, precision=self.precision, now_ms=now_ms, first_number=number)

    def _admit(self, frames: Sequence[Frame], now_ms: int, now_s: float) -> tuple[list[Frame], Judge]:
        latest_ms = now_ms + int(self.settings.max_future * 1000)
        refusals: dict[Key, str] = {}
        for frame in frames:
            for host, tagset in _pairs(frame):
                key = (frame.measurement, frame.hosts[host], frame.tagsets[tagset])
                if refusal := self.series.refusal(key, now_s):
                    refusals[key] = refusal

        def judge(key: Key, time_ms: int) -> str:
            if time_ms > latest_ms:
                return f"its time {time_ms} unix ms is too far in the future: is the precision right?"
            return refusals.get(key, "")

        admitted = (_without(frame, refusals, latest_ms) for frame in frames)
        return [frame for frame in admitted if len(frame)], judge

    def _lines_that(self, judge: Judge, text: bytes, now_ms: int, most: int) -> Iterator[tuple[int, str]]:
        """Numbers and reasons of the lines a judge refuses, found by reading them one by one."""
        for number, line in enumerate(text.split(b"\n"), self.next_number):
            if most <= 0:
                return
            for key, time_ms in _rows(self._parse(line, now_ms, number).frames):
                if reason := judge(key, time_ms):
                    most -= 1
                    yield number, reason

    def _name(self, lines: Iterator[tuple[int, str]]) -> None:
        while len(self.rejected) < LIMITS.reported:
            number, reason = next(lines, (0, ""))
            if not number:
                return
            self.rejected.append(RejectedLine(number=number, reason=reason))


def _rows(frames: Sequence[Frame]) -> Iterator[tuple[Key, int]]:
    for frame in frames:
        for row in range(len(frame)):
            key = (frame.measurement, frame.hosts[frame.host[row]], frame.tagsets[frame.tagset[row]])
            yield key, int(frame.time[row])


def _series_of(frame: Frame) -> npt.NDArray[np.int64]:
    return frame.host.astype(np.int64) * len(frame.tagsets) + frame.tagset


def _pairs(frame: Frame) -> list[tuple[int, int]]:
    """The (host, tag set) codes that a frame has rows of."""
    return [divmod(code, len(frame.tagsets)) for code in np.unique(_series_of(frame)).tolist()]


def _without(frame: Frame, refusals: dict[Key, str], latest_ms: int) -> Frame:
    refused = [
        host * len(frame.tagsets) + tagset
        for host, tagset in _pairs(frame)
        if (frame.measurement, frame.hosts[host], frame.tagsets[tagset]) in refusals
    ]
    keep = (frame.time <= latest_ms) & ~np.isin(_series_of(frame), refused)
    if keep.all():
        return frame
    columns = {name: column[keep] for name, column in frame.fields.items()}
    return Frame(
        frame.measurement, frame.time[keep], frame.host[keep], frame.hosts, frame.tagset[keep], frame.tagsets, columns
    )
