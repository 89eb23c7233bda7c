"""Frames to line protocol: one `%` over all rows of a frame, which is faster here than any array library (see README).

Timestamps are milliseconds, every number is written as a float that reads back as the same float64 (integers without a
point, everything else as the shortest text that does).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetwatch_storage.frames import Codes, Frame, Numbers, TagSet, Texts, Times

_EXACT = 2.0**53
_NAME_SPECIAL = re.compile(r"[, ]")
_SPECIAL = re.compile(r"[,= ]")
_QUOTED_SPECIAL = re.compile(r'["\\]')
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f]")
_ANY_SPECIAL = re.compile(r"[,= \\\x00-\x1f\x7f]")

_AT_A_TIME = 20_000

Rows = slice | npt.NDArray[np.intp]
"""Which rows: a range, or indices."""


def encode(frame: Frame) -> bytes:
    """The frame's rows as lines, each ended by a line break; rows of one series and time keep their order.

    NaN, infinities and None are left out, and rows that have nothing else. Line protocol cannot say an empty tag value
    or a backslash at the end of a name or value: these are left out, as Telegraf does. Control characters become
    spaces, so that a line is always one row.
    """
    writer = _Writer(frame)
    return b"".join(
        writer.lines(names, some).encode("utf-8", "replace")
        for names, rows in _patterns(frame)
        for some in _some_at_a_time(rows)
    )


def encode_pieces(frames: Iterable[Frame], max_bytes: int) -> Iterator[bytes]:
    """The lines of all frames in bodies of at most about `max_bytes`, cut between lines."""
    gathered: list[bytes] = []
    size = 0
    for text in map(encode, frames):
        for piece in split_lines(text, max_bytes):
            if size and size + len(piece) > max_bytes:
                yield b"".join(gathered)
                gathered, size = [], 0
            gathered.append(piece)
            size += len(piece)
    if size:
        yield b"".join(gathered)


def split_lines(text: bytes, max_bytes: int) -> Iterator[bytes]:
    """Pieces of at most `max_bytes` that end with a line break; a longer line is a piece by itself."""
    start = 0
    while len(text) - start > max_bytes:
        end = text.rfind(b"\n", start, start + max_bytes) + 1 or text.find(b"\n", start) + 1
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def writable_tags(tags: TagSet) -> TagSet:
    """The tag set as a server of line protocol knows it after it was written."""
    return tuple(sorted((_plain(key), _plain(value)) for key, value in tags if _plain(key) and _plain(value)))


def _plain(text: str) -> str:
    return _UNWRITABLE.sub(" ", text).rstrip("\\")


def _name(text: str) -> str:
    return _NAME_SPECIAL.sub(r"\\\g<0>", _plain(text))


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", _plain(text))


def _quoted(text: str | None) -> str:
    return '"' + _QUOTED_SPECIAL.sub(r"\\\g<0>", _UNWRITABLE.sub(" ", text or "")) + '"'


def _tag_text(tags: TagSet) -> str:
    return "".join(f",{_escaped(key)}={_escaped(value)}" for key, value in writable_tags(tags))


def _host_texts(hosts: Sequence[str]) -> list[str]:
    if _ANY_SPECIAL.search("".join(hosts)) is None and "" not in hosts:
        return [f",host={host}" for host in hosts]
    return [_tag_text((("host", host),)) for host in hosts]


def _patterns(frame: Frame) -> Iterator[tuple[list[str], Rows]]:
    """Groups of rows that have the same fields."""
    names = list(frame.fields)
    there = [_there(column) for column in frame.fields.values()]
    if all(one is None for one in there):
        if names and len(frame):
            yield names, slice(0, len(frame))
        return
    full = np.ones(len(frame), bool)
    bits = np.packbits(np.stack([full if one is None else one for one in there]), axis=0)
    patterns, which = np.unique(bits, axis=1, return_inverse=True)
    order = np.arange(len(frame)) if _has_repeats(frame) else np.argsort(which, kind="stable")
    edges = np.flatnonzero(np.diff(which[order], prepend=-1, append=-1))
    for start, end in itertools.pairwise(edges.tolist()):
        kept = np.unpackbits(patterns[:, which[order[start]]], count=len(names)).astype(bool)
        if kept.any():
            chosen = [name for name, keep in zip(names, kept, strict=True) if keep]
            yield chosen, order[start:end]


def _has_repeats(frame: Frame) -> bool:
    """Whether two rows are of the same series and time: then the later one has to stay behind the earlier one."""
    order = np.lexsort((frame.time, frame.tagset, frame.host))
    keys = (frame.time[order], frame.tagset[order], frame.host[order])
    return bool(np.logical_and.reduce([key[1:] == key[:-1] for key in keys]).any())


def _some_at_a_time(rows: Rows) -> Iterator[Rows]:
    if isinstance(rows, slice):
        yield from (slice(at, min(at + _AT_A_TIME, rows.stop)) for at in range(rows.start, rows.stop, _AT_A_TIME))
    else:
        yield from (rows[at : at + _AT_A_TIME] for at in range(0, len(rows), _AT_A_TIME))


def _there(column: Numbers | Texts) -> npt.NDArray[np.bool_] | None:
    """Where a column has a value; None: everywhere."""
    if column.dtype == object:
        there: npt.NDArray[np.bool_] = column != None  # noqa: E711 - elementwise comparison with None
    else:
        there = np.isfinite(column)
    return None if there.all() else there


class _Writer:
    """Writes rows of one frame."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._hosts = np.array(_host_texts(frame.hosts), object)
        self._tags = np.array([_tag_text(tags) for tags in frame.tagsets], object)

    def lines(self, names: list[str], rows: Rows) -> str:
        frame = self._frame
        parts: list[Part] = [
            (_percent(_name(frame.measurement)), None),
            _texts(self._hosts, frame.host[rows]),
            _texts(self._tags, frame.tagset[rows]),
        ]
        for index, name in enumerate(names):
            parts += [(f"{',' if index else ' '}{_percent(_escaped(name))}=", None), _values(frame.fields[name][rows])]
        parts += [(" ", None), _times(frame.time[rows]), ("\n", None)]
        columns = [values for _, values in parts if values is not None]
        count = len(frame.time[rows])
        flat: list[Any] = [None] * (count * len(columns))
        for index, values in enumerate(columns):
            flat[index :: len(columns)] = values
        return "".join(form for form, _ in parts) * count % tuple(flat)


Part = tuple[str, list[Any] | None]
"""A piece of the format of a line, and the values it takes from each row; None when it is the same in all rows."""


def _percent(text: str) -> str:
    return text.replace("%", "%%")


def _texts(texts: npt.NDArray[np.object_], codes: Codes) -> Part:
    if len(texts) == 1 or (codes == codes[0]).all():
        return _percent(texts[codes[0]]), None
    return "%s", texts[codes].tolist()


def _times(times: Times) -> Part:
    return (str(times[0]), None) if (times == times[0]).all() else ("%d", times.tolist())


def _values(column: npt.NDArray[Any]) -> Part:
    """`%d` is twice as fast as `%r`, so whole columns of integers use it."""
    if column.dtype == object:
        return "%s", [_quoted(text) for text in column]
    if (column == column[0]).all():
        return _number(float(column[0])), None
    if (np.rint(column) == column).all() and np.abs(column).max() <= _EXACT:
        return "%d", column.astype(np.int64).tolist()
    return "%r", column.tolist()


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) <= _EXACT else repr(value)
