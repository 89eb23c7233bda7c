"""InfluxDB's JSON answers as frames, piece by piece, so that only columns and a few thousand rows are held."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fleetwatch_storage.errors import QueryFailed, StoreUnavailable
from fleetwatch_storage.frames import Frame, Numbers, TagSet, Texts, Times

_ROWS_AT_A_TIME = 20_000

Part = Mapping[str, Any]
"""One element of `series` in an answer: name, tags, columns, values."""


def parts(lines: Iterable[bytes]) -> Iterator[Part]:
    """The series of an answer sent line by line (`chunked=true`).

    Raises:
        QueryFailed: the server refused the statement.
        StoreUnavailable: it cannot answer now, or what it says is not an answer.
    """
    for line in lines:
        if line.strip():
            yield from _parts_of(line)


def _parts_of(line: bytes) -> Iterator[Part]:
    try:
        message = json.loads(line)
        results = message.get("results", [])
        problem = message.get("error") or next((one["error"] for one in results if "error" in one), None)
        found = [part for one in results for part in one.get("series", ())]
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise StoreUnavailable(f"InfluxDB gave an answer that is not one: {line[:200]!r}") from error
    if problem:
        raise refusal(str(problem))
    yield from found


def refusal(words: str) -> QueryFailed | StoreUnavailable:
    """The error for a refused statement, by the server's words."""
    lower = words.lower()
    if "database not found" in lower or ("bucket" in lower and "not found" in lower):
        return StoreUnavailable(f"InfluxDB: {words}: create it, or allow it with influx_create", reason="missing")
    if "not authorized" in lower or "unauthorized" in lower or "authorization failed" in lower:
        return StoreUnavailable(f"InfluxDB: {words}", reason="auth")
    if "max-concurrent-queries" in lower or "engine is closed" in lower:
        return StoreUnavailable(f"InfluxDB: {words}", reason="busy")
    return QueryFailed(f"InfluxDB: {words}")


class Rows:
    """Rows of one measurement gathered from parts; the columns are named when they are complete."""

    def __init__(self, measurement: str, columns: Sequence[str]) -> None:
        self._measurement, self._columns = measurement, columns
        self._hosts: dict[str, int] = {}
        self._tagsets: dict[TagSet, int] = {}
        self._where: list[tuple[int, int, int]] = []
        self._waiting: list[list[Any]] = []
        self._times: list[Times] = []
        self._values: list[list[Numbers | Texts]] = [[] for _ in columns]
        self.count = 0

    def add(self, part: Part) -> None:
        """Adds the rows of one series; its values are time and the columns in order.

        Raises:
            StoreUnavailable: the part is not what it should be.
        """
        try:
            tags = {key: value for key, value in part.get("tags", {}).items() if value}
            rows = part["values"]
            if any(len(row) != len(self._columns) + 1 for row in rows):
                raise ValueError("a row of another length")
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            raise StoreUnavailable(f"InfluxDB gave an answer that is not one: {str(part)[:200]}") from error
        host = self._hosts.setdefault(tags.pop("host", ""), len(self._hosts))
        tagset = self._tagsets.setdefault(tuple(sorted(tags.items())), len(self._tagsets))
        self._where.append((host, tagset, len(rows)))
        self._waiting += rows
        self.count += len(rows)
        if len(self._waiting) >= _ROWS_AT_A_TIME:
            self._settle()

    def _settle(self) -> None:
        if not self._waiting:
            return
        times, *columns = zip(*self._waiting, strict=True)
        self._times.append(_times(times))
        for values, column in zip(self._values, columns, strict=True):
            values.append(_column(column))
        self._waiting = []

    def frame(self) -> Frame:
        """All rows, in the order they came."""
        self._settle()
        where = np.array(self._where, np.int32).reshape(-1, 3)
        host, tagset, counts = where[:, 0], where[:, 1], where[:, 2]
        fields = {name: _joined(values) for name, values in zip(self._columns, self._values, strict=True)}
        time = np.concatenate(self._times) if self._times else np.empty(0, np.int64)
        return Frame(
            self._measurement,
            time,
            np.repeat(host, counts),
            tuple(self._hosts),
            np.repeat(tagset, counts),
            tuple(self._tagsets),
            fields,
        )


def _times(values: Sequence[Any]) -> Times:
    try:
        return np.array(values, np.int64).reshape(len(values))
    except (ValueError, TypeError, OverflowError) as error:
        raise StoreUnavailable(f"InfluxDB gave times that are none: {error}") from error


def _column(values: Sequence[Any]) -> Numbers | Texts:
    kind = next((type(value) for value in values if value is not None), float)
    if kind is str:
        texts: Texts = np.empty(len(values), object)
        texts[:] = values
        return texts
    try:
        numbers = np.array(values, np.float64)
    except (ValueError, TypeError) as error:
        raise StoreUnavailable(f"InfluxDB gave values that are neither numbers nor text: {error}") from error
    if numbers.ndim != 1:
        raise StoreUnavailable("InfluxDB gave lists in place of values")
    return numbers


def _joined(pieces: list[Numbers | Texts]) -> Numbers | Texts:
    """One column of its pieces; all are text when one of them is."""
    if any(piece.dtype == object for piece in pieces):
        texts: Texts = np.concatenate([_text(piece) for piece in pieces])
        return texts
    numbers: Numbers = np.concatenate(pieces) if pieces else np.empty(0, np.float64)
    return numbers


def _text(piece: Numbers | Texts) -> Texts:
    texts: Texts = piece.astype(object)
    texts[[isinstance(value, float) and value != value for value in texts]] = None
    return texts
