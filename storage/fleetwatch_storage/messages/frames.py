"""Frames as messages: whole, in pieces of whole series, and back. Columns travel as the bytes of their arrays."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from fleetwatch_proto.v1 import query_pb2

from fleetwatch_storage.frames import Codes, Frame, Numbers, TagSet, Texts, empty
from fleetwatch_storage.messages.tags import tags_from_messages, tags_to_messages

T = TypeVar("T")

_ROW_BYTES = 16


def frame_to_message(frame: Frame) -> query_pb2.FrameMessage:
    """The message of a frame. An absent text travels as the empty text."""
    return query_pb2.FrameMessage(
        measurement=frame.measurement,
        time=_bytes(frame.time, "<i8"),
        hosts=frame.hosts,
        host=_bytes(frame.host, "<i4"),
        tagsets=[query_pb2.TagSet(tags=tags_to_messages(tags)) for tags in frame.tagsets],
        tagset=_bytes(frame.tagset, "<i4"),
        columns=[_column(name, column) for name, column in frame.fields.items()],
        resolution_ms=frame.resolution_ms,
    )


def _column(name: str, column: Numbers | Texts) -> query_pb2.Column:
    if column.dtype == object:
        return query_pb2.Column(name=name, text=[value or "" for value in column], is_text=True)
    return query_pb2.Column(name=name, numbers=_bytes(column, "<f8"))


def _bytes(values: npt.NDArray[Any], dtype: str) -> bytes:
    return values.astype(dtype, copy=False).tobytes()


def frame_from_message(message: query_pb2.FrameMessage) -> Frame:
    """The frame of a message; an empty text becomes None.

    Raises:
        ValueError: columns of different lengths, codes that name nothing, a column or tag twice.
    """
    time = _array(message.time, "<i8", "time")
    fields: dict[str, Numbers | Texts] = {}
    for column in message.columns:
        values = _values(column)
        if column.name in fields or len(values) != len(time):
            raise ValueError(f"column {column.name[:64]!r} is there twice or has {len(values)} rows, not {len(time)}")
        fields[column.name] = values
    host = _codes(message.host, "host", len(time), len(message.hosts))
    tagset = _codes(message.tagset, "tagset", len(time), len(message.tagsets))
    tagsets = tuple(tags_from_messages(one.tags) for one in message.tagsets)
    if message.resolution_ms < 0:
        raise ValueError(f"a resolution of {message.resolution_ms} ms")
    return Frame(message.measurement, time, host, tuple(message.hosts), tagset, tagsets, fields, message.resolution_ms)


def _values(column: query_pb2.Column) -> Numbers | Texts:
    if column.is_text:
        texts: Texts = np.empty(len(column.text), object)
        texts[:] = [text or None for text in column.text]
        return texts
    numbers: Numbers = _array(column.numbers, "<f8", f"column {column.name[:64]!r}")
    return numbers


def _array(raw: bytes, dtype: str, what: str) -> Any:
    if len(raw) % np.dtype(dtype).itemsize:
        raise ValueError(f"{what} has {len(raw)} bytes, not a whole number of values")
    return np.frombuffer(raw, dtype).astype(np.dtype(dtype).newbyteorder("="), copy=False)


def _codes(raw: bytes, what: str, rows: int, names: int) -> Codes:
    codes: Codes = _array(raw, "<i4", what)
    if len(codes) != rows:
        raise ValueError(f"{what} has {len(codes)} rows, not {rows}")
    if rows and not 0 <= int(codes.min()) <= int(codes.max()) < names:
        raise ValueError(f"a {what} code outside of the {names} there are")
    return codes


def frame_pieces(frame: Frame, max_bytes: int) -> Iterator[query_pb2.FrameMessage]:
    """Messages of at most about `max_bytes` each, cut between series where these are small enough; one at least.

    `frame` is ordered by host, tag set, time, as answers are; joined again (`join_pieces`) it is the same.
    """
    rows = max(1, max_bytes // _bytes_per_row(frame))
    for start, end in itertools.pairwise(_cuts(frame, rows)):
        yield frame_to_message(_slice(frame, start, end))
    if not len(frame):
        yield frame_to_message(frame)


def _bytes_per_row(frame: Frame) -> int:
    per_row = _ROW_BYTES
    for column in frame.fields.values():
        per_row += 4 + (max(map(len, filter(None, column)), default=0) * 4 if column.dtype == object else 8)
    return per_row


def _cuts(frame: Frame, rows: int) -> list[int]:
    change = (np.diff(frame.host) != 0) | (np.diff(frame.tagset) != 0)
    edges = np.flatnonzero(change) + 1
    cuts = [0]
    while len(frame) - cuts[-1] > rows:
        most = cuts[-1] + rows
        edge = int(np.searchsorted(edges, most, "right")) - 1
        cuts.append(int(edges[edge]) if edge >= 0 and edges[edge] > cuts[-1] else most)
    return [*cuts, len(frame)] if len(frame) else cuts


def _slice(frame: Frame, start: int, end: int) -> Frame:
    hosts, host = _used(frame.hosts, frame.host[start:end])
    tagsets, tagset = _used(frame.tagsets, frame.tagset[start:end])
    fields = {name: column[start:end] for name, column in frame.fields.items()}
    return Frame(frame.measurement, frame.time[start:end], host, hosts, tagset, tagsets, fields, frame.resolution_ms)


def _used(names: Sequence[T], codes: Codes) -> tuple[tuple[T, ...], Codes]:
    used, recoded = np.unique(codes, return_inverse=True)
    return tuple(names[code] for code in used.tolist()), recoded.astype(np.int32)


def join_pieces(pieces: Iterable[Frame]) -> Frame:
    """One frame of pieces of the same measurement with the same columns, in their order.

    Raises:
        ValueError: pieces that do not belong together.
    """
    frames = list(pieces)
    if len(frames) <= 1:
        return frames[0] if frames else empty("")
    first = frames[0]
    if any(one.measurement != first.measurement or list(one.fields) != list(first.fields) for one in frames):
        raise ValueError("pieces of different frames")
    hosts: dict[str, int] = {}
    tagsets: dict[TagSet, int] = {}
    host = np.concatenate([_recode(one.hosts, one.host, hosts) for one in frames])
    tagset = np.concatenate([_recode(one.tagsets, one.tagset, tagsets) for one in frames])
    time = np.concatenate([one.time for one in frames])
    fields: dict[str, Numbers | Texts] = {
        name: np.concatenate([one.fields[name] for one in frames]) for name in first.fields
    }
    return Frame(first.measurement, time, host, tuple(hosts), tagset, tuple(tagsets), fields, first.resolution_ms)


def _recode(names: Sequence[T], codes: Codes, known: dict[T, int]) -> Codes:
    table = np.array([known.setdefault(name, len(known)) for name in names], np.int32)
    recoded: Codes = table[codes] if len(codes) else codes
    return recoded
