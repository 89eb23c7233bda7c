"""A store's samples as a text file of line protocol, and back.

Both may be run again: writing the same twice changes nothing. The file begins with a comment that names the precision
of its timestamps (milliseconds), so that it is read back right.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from fleetwatch_storage.errors import QueryFailed, StorageError, WriteRejected
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.lineprotocol.encode import encode
from fleetwatch_storage.lineprotocol.limits import LineLimits
from fleetwatch_storage.lineprotocol.parse import PRECISIONS, RejectedLine, parse
from fleetwatch_storage.query import Query
from fleetwatch_storage.store import Progress, Store, StoreReader

HEADER = b"# fleetwatch samples in InfluxDB line protocol, precision=ms\n"
READ_BYTES = 4 * 1024 * 1024
_FIRST_WINDOW_MS = 10_000
_LONGEST_WINDOW_MS = 30 * 86_400_000
_ENOUGH_ROWS = 100_000
_GZIP = b"\x1f\x8b"


class BadTextFile(StorageError):
    """The file cannot be read as what it says it is."""


class Writable(Protocol):
    """Where bytes go."""

    def write(self, data: bytes, /) -> object:
        """Takes all of them."""


@dataclass(slots=True)
class Imported:
    """What became of a file: good lines and bad ones.

    `rejected` names the first thousand bad lines (number 0: refused by the store, the reason has the line),
    `rejected_lines` counts all.
    """

    lines: int = 0
    rejected: list[RejectedLine] = field(default_factory=list)
    rejected_lines: int = 0


def _nobody(_done: int, _total: int) -> None:
    pass


def export_lines(
    store: StoreReader,
    target: Path | Writable,
    start_ms: int,
    end_ms: int,
    measurements: Sequence[str] = (),
    progress: Progress = _nobody,
) -> int:
    """Writes the samples of these measurements (all when empty) in [start_ms, end_ms); how many points that were.

    A path that ends in `.gz` is compressed; it appears when it is complete. `progress` counts seconds of all
    measurements. Memory holds about `_ENOUGH_ROWS` rows at a time.

    Raises:
        StoreUnavailable: the store does not answer.
        QueryFailed: one millisecond holds more than the store answers at once.
        OSError: the file cannot be written.
    """
    fields: dict[str, tuple[str, ...]] = {}
    for key in store.series():
        fields[key.measurement] = tuple(sorted({*fields.get(key.measurement, ()), *key.fields}))
    chosen = sorted(measurements or fields)
    total_ms = (end_ms - start_ms) * len(chosen)
    points = 0
    with _written(target) as file:
        file.write(HEADER)
        for number, name in enumerate(chosen):
            for frame, done_ms in _windows(store, name, fields.get(name, ()), start_ms, end_ms):
                file.write(encode(frame))
                points += frame.points
                progress((number * (end_ms - start_ms) + done_ms) // 1000, total_ms // 1000)
    return points


def _windows(
    store: StoreReader, measurement: str, fields: tuple[str, ...], start_ms: int, end_ms: int
) -> Iterator[tuple[Frame, int]]:
    """The samples of one measurement bit by bit, and how much of the range is done; windows fit what they hold.

    A window that has grown over an empty time is counted before it is read.
    """
    at_ms, width_ms = start_ms, _FIRST_WINDOW_MS
    while at_ms < end_ms and fields:
        until_ms = min(at_ms + width_ms, end_ms)
        try:
            if width_ms > _FIRST_WINDOW_MS and _rows(store, measurement, fields, at_ms, until_ms) > 2 * _ENOUGH_ROWS:
                width_ms = max(width_ms // 4, _FIRST_WINDOW_MS)
                continue
            frame = store.read(Query(measurement, fields, at_ms, until_ms))
        except QueryFailed:
            if width_ms <= 1:
                raise
            width_ms = max(width_ms // 4, 1)
            continue
        yield frame, until_ms - start_ms
        at_ms = until_ms
        if len(frame) > _ENOUGH_ROWS:
            width_ms = max(width_ms // 2, 1)
        elif len(frame) < _ENOUGH_ROWS // 4:
            width_ms = min(width_ms * 2, _LONGEST_WINDOW_MS)


def _rows(store: StoreReader, measurement: str, fields: tuple[str, ...], start_ms: int, end_ms: int) -> float:
    """About how many rows there are: as many as the field that most of them have."""
    query = Query(
        measurement, fields, start_ms, end_ms, end_ms - start_ms, ("count",), group_by=(), group_aggregate="sum"
    )
    return max(float(np.nansum(column)) for column in store.read(query).fields.values())


@contextmanager
def _written(target: Path | Writable) -> Iterator[Writable]:
    if not isinstance(target, Path):
        yield target
        return
    unfinished = target.with_name(target.name + ".part")
    try:
        with unfinished.open("wb") as raw:
            if target.suffix == ".gz":
                with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=6) as packed:
                    yield packed
            else:
                yield raw
            raw.flush()
            os.fsync(raw.fileno())
        unfinished.replace(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def import_lines(
    store: Store,
    source: Path | BinaryIO,
    progress: Progress = _nobody,
    *,
    default_host: str,
    now_ms: int,
    precision: str = "ns",
) -> Imported:
    """Stores the lines of a file, compressed or not; bad ones are named by number and left out.

    Timestamps are in `precision` unless the file says otherwise in its first line. `progress` counts bytes of the file
    as it lies on disk (0 in total when that is not known).

    Raises:
        BadTextFile: compressed data that is broken; what came before is stored.
        StoreUnavailable: the store does not take it now; import the same file again.
        OSError: the file cannot be read.
    """
    if isinstance(source, Path):
        with source.open("rb") as raw:
            return _import(store, raw, source.stat().st_size, progress, default_host, now_ms, precision)
    return _import(store, source, 0, progress, default_host, now_ms, precision)


def _import(
    store: Store, raw: BinaryIO, size: int, progress: Progress, default_host: str, now_ms: int, precision: str
) -> Imported:
    done = Imported()
    number = 1
    counted = _Counted(raw)
    for text in _whole_lines(_unpacked(counted)):
        if number == 1:
            precision = _said_precision(text) or precision
        parsed = parse(
            text, default_host=default_host, precision=precision, now_ms=now_ms, first_number=number, limits=_LIMITS
        )
        number += parsed.seen
        _note(done, parsed.rejected, parsed.rejected_lines)
        _store(store, parsed.frames, parsed.lines, done)
        progress(counted.bytes, size)
    return done


_LIMITS = LineLimits(field_sets=10_000)


def _store(store: Store, frames: Sequence[Frame], lines: int, done: Imported) -> None:
    refused = 0
    try:
        store.write(frames)
    except WriteRejected as error:
        refused = error.count
        _note(done, [RejectedLine(0, f"{row.reason}: {row.line}") for row in error.rows], refused)
    done.lines += lines - refused


def _note(done: Imported, rejected: Sequence[RejectedLine], count: int) -> None:
    done.rejected += rejected[: max(0, _LIMITS.reported - len(done.rejected))]
    done.rejected_lines += count


def _said_precision(text: bytes) -> str:
    first = text.split(b"\n", 1)[0].decode("utf-8", "replace")
    said = first.rpartition("precision=")[2].strip() if first.startswith("#") and "precision=" in first else ""
    return said if said in PRECISIONS else ""


class _Counted:
    """Reads on, counting."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self.bytes = 0

    def read(self) -> bytes:
        """The next bytes; none at the end."""
        found = self._raw.read(READ_BYTES // 16)
        self.bytes += len(found)
        return found


def _unpacked(source: _Counted) -> Iterator[bytes]:
    first = source.read()
    if not first.startswith(_GZIP):
        while first:
            yield first
            first = source.read()
        return
    yield from _inflated(first, source.read)


def _inflated(packed: bytes, more: Callable[[], bytes]) -> Iterator[bytes]:
    """Gzip members one after the other, a bounded piece at a time."""
    try:
        while packed:
            member = zlib.decompressobj(zlib.MAX_WBITS | 16)
            while not member.eof:
                if not (packed or (packed := more())):
                    raise BadTextFile("the compressed file ends in the middle: it was cut off")
                yield member.decompress(packed, READ_BYTES)
                packed = member.unconsumed_tail
            packed = member.unused_data.lstrip(b"\0") or more().lstrip(b"\0")  # padding is allowed
    except zlib.error as error:
        raise BadTextFile(f"the compressed file is broken: {error}") from error


def _whole_lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Texts of about `READ_BYTES` that end with a line; of a line that is too long only as much as proves it."""
    waiting = b""
    try:
        for chunk in chunks:
            waiting += chunk
            if len(waiting) >= READ_BYTES:
                end = waiting.rfind(b"\n") + 1
                if end:
                    yield waiting[:end]
                waiting = waiting[end:] if end else waiting[: _LIMITS.line_bytes + 1]
    except BadTextFile:
        yield waiting[: waiting.rfind(b"\n") + 1]
        raise
    if waiting:
        yield waiting
