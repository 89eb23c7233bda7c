"""What the engine takes: which rows of a frame are refused for good, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fleetwatch_storage.embedded.names import Field
from fleetwatch_storage.errors import RejectedRow
from fleetwatch_storage.frames import Frame, Numbers, Texts
from fleetwatch_storage.lineprotocol.encode import encode
from fleetwatch_storage.reduce import is_present, take

MOST_NAMED = 1000
"""Refused rows of one write that are named; all are counted."""

_LAST_MS = 253_402_300_800_000  # the year 10000
Mask = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Refused:
    """Rows refused during one write."""

    rows: list[RejectedRow] = field(default_factory=list)
    count: int = 0

    def add(self, frame: Frame, rows: Mask, reason: str) -> None:
        """Rows of a frame that are refused."""
        places = np.flatnonzero(rows)
        self.count += len(places)
        for place in places[: MOST_NAMED - len(self.rows)].tolist():
            one = take(frame, np.array([place]))
            line = encode(one).decode().rstrip("\n") or f"{frame.measurement},host={frame.hosts[frame.host[place]]}"
            self.rows.append(RejectedRow(frame.measurement, line[:1000], reason))


def acceptable(frame: Frame, known: Mapping[str, Field], max_fields: int, refused: Refused) -> Frame:
    """The rows of a frame that are stored, and the fields that have a value in any of them."""
    keep = np.ones(len(frame), np.bool_)
    for rows, reason in _problems(frame, known, max_fields):
        refused.add(frame, rows & keep, reason)
        keep &= ~rows
    keep &= _with_value(frame)
    kept = frame if keep.all() else take(frame, np.flatnonzero(keep))
    return _with_fields(kept, known)


def is_plain(frame: Frame, known: Mapping[str, Field]) -> bool:
    """Whether every row has a number for every field, and all fields are known: then there is nothing to look at."""
    if frame.time.min() < 0 or frame.time.max() >= _LAST_MS:
        return False
    for name, column in frame.fields.items():
        field = known.get(name)
        if field is None or field.text or column.dtype == object or not np.isfinite(column).all():
            return False
    return bool(frame.fields)


def _problems(frame: Frame, known: Mapping[str, Field], max_fields: int) -> Iterator[tuple[Mask, str]]:
    if len(frame) and (frame.time.min() < 0 or frame.time.max() >= _LAST_MS):
        yield (frame.time < 0) | (frame.time >= _LAST_MS), "time is not between the years 1970 and 10000"
    room = max_fields - len(known)
    for name, column in frame.fields.items():
        text, there = column.dtype == object, known.get(name)
        if there is not None and there.text != text:
            kinds = ("text", "a number") if text else ("a number", "text")
            yield is_present(column), f"field type conflict: field {name!r} is {kinds[1]}, not {kinds[0]}"
        elif not text and np.isinf(column).any():
            yield np.isinf(column), f"field {name!r} is infinite"
        if there is None and is_present(column).any():
            room -= 1
            if room < 0:
                yield is_present(column), f"field {name!r} is one more than the {max_fields} a measurement may have"


def _with_value(frame: Frame) -> Mask:
    """Rows in which any field is present; mostly the first field is in all of them."""
    there = np.zeros(len(frame), np.bool_)
    for column in frame.fields.values():
        there |= is_present(column)
        if there.all():
            break
    return there


def _with_fields(frame: Frame, known: Mapping[str, Field]) -> Frame:
    """Without columns that must not become fields: new ones without any value, known ones of the other kind."""
    columns = {name: column for name, column in frame.fields.items() if _is_wanted(column, known.get(name))}
    if len(columns) == len(frame.fields):
        return frame
    return Frame(frame.measurement, frame.time, frame.host, frame.hosts, frame.tagset, frame.tagsets, columns)


def _is_wanted(column: Numbers | Texts, known: Field | None) -> bool:
    if known is not None:
        return known.text == (column.dtype == object)
    return bool(is_present(column).any())
