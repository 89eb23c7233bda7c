"""Encodings of a batch's values: pure functions, standard library only.

Values are float64, little-endian. Encoding ten rows of 150 values costs about 15 µs a row, one row as a bitmap about 10
µs.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from collections.abc import Sequence

_LEVEL = 6


def columns_zlib(rows: Sequence[array[float]]) -> bytes:
    """COLUMNS_ZLIB: the values column by column, compressed."""
    count = len(rows)
    if count == 1:
        return zlib.compress(_little(rows[0]), _LEVEL)
    columns = array("d", bytes(8 * count * len(rows[0])))
    for number, row in enumerate(rows):
        columns[number::count] = row
    return zlib.compress(_little(columns), _LEVEL)


def rows_of(data: bytes, count: int) -> list[array[float]]:
    """The rows back from COLUMNS_ZLIB.

    Raises:
        ValueError: not that encoding, or not of that many rows.
    """
    try:
        columns = _values(zlib.decompress(data))
    except zlib.error as error:
        raise ValueError(f"values cannot be inflated: {error}") from error
    if len(columns) % count:
        raise ValueError(f"{len(columns)} values are not {count} rows")
    return [columns[number::count] for number in range(count)]


def raw(rows: Sequence[array[float]]) -> bytes:
    """RAW_F64: the values row by row."""
    return b"".join([_little(row) for row in rows])


def crc(rows: Sequence[array[float]]) -> int:
    """The checksum that travels with a batch: CRC-32 over RAW_F64."""
    found = 0
    for row in rows:
        found = zlib.crc32(_little(row), found)
    return found


def bitmap(row: array[float], base: array[float] | None) -> bytes:
    """BITMAP_F64 of one row: a bit per column, set when it differs from `base`, then the values that differ.

    Values are compared as bytes, so that a NaN equals itself. Without a base every bit is set.
    """
    width = len(row)
    new = array("Q", row.tobytes())
    if base is None:
        mask = (1 << width) - 1
        changed = new
    else:
        differs = [one != two for one, two in zip(new, array("Q", base.tobytes()), strict=True)]
        changed = array("Q", [one for one, is_new in zip(new, differs, strict=True) if is_new])
        # One digit per column, the last column first, read as a number in base two.
        mask = int(bytes(differs[::-1]).translate(_DIGITS), 2) if width else 0
    if sys.byteorder == "big":
        changed.byteswap()
    return mask.to_bytes((width + 7) // 8, "little") + changed.tobytes()


_DIGITS = b"01" + bytes(range(2, 256))


def _little(values: array[float]) -> bytes:
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values.tobytes()


def _values(data: bytes) -> array[float]:
    if len(data) % 8:
        raise ValueError(f"{len(data)} bytes are not whole values")
    values = array("d", data)
    if sys.byteorder == "big":
        values.byteswap()
    return values
