"""The wire's encodings to rows of float64. Pure; hostile bytes give a reason in words and nothing else.

All functions take many payloads of the same shape at once: a batch of one row costs a few microseconds of Python by
itself and a fraction of one when it is decoded with others.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fleetwatch_proto.v1.ingest_pb2 import BITMAP_F64, COLUMNS_ZLIB, RAW_F64
from fleetwatch_storage.frames import Numbers

ENCODINGS = frozenset({RAW_F64, BITMAP_F64, COLUMNS_ZLIB})

CHECKSUM = "the checksum does not match the values"


@dataclass(frozen=True, slots=True)
class Decoded:
    """`values` (batches, rows, columns) float64; `problems` says by batch why it is not valid."""

    values: Numbers
    problems: dict[int, str]


def decode(
    encoding: int,
    rows: int,
    columns: int,
    payloads: Sequence[bytes],
    bases: Sequence[Numbers | None],
    checksums: Sequence[int],
) -> Decoded:
    """Decodes batches of `rows` x `columns` values each.

    `bases` are the rows (columns,) that the first rows are relative to, None for batches that stand by themselves; only
    BITMAP_F64 looks at them. `checksums` are CRC-32 of the decoded rows as RAW_F64. The caller bounds rows x columns.
    """
    problems: dict[int, str] = {}
    if encoding == RAW_F64:
        values = _raw(rows, columns, payloads, problems)
    elif encoding == COLUMNS_ZLIB:
        values = _columns(rows, columns, payloads, problems)
    else:
        values = _bitmap(rows, columns, payloads, bases, problems)
    crc32 = zlib.crc32
    for index, checksum in enumerate(checksums):
        if crc32(values[index]) != checksum and index not in problems:
            problems[index] = CHECKSUM
    return Decoded(values, problems)


def _raw(rows: int, columns: int, payloads: Sequence[bytes], problems: dict[int, str]) -> Numbers:
    size = rows * columns * 8
    right = list(payloads)
    for index, payload in enumerate(payloads):
        if len(payload) != size:
            problems[index] = f"{len(payload)} bytes of values; {rows} rows of {columns} columns have {size}"
            right[index] = bytes(size)
    return np.frombuffer(b"".join(right), "<f8").reshape(len(right), rows, columns)


def _columns(rows: int, columns: int, payloads: Sequence[bytes], problems: dict[int, str]) -> Numbers:
    size = rows * columns * 8
    right = [_inflate(payload, size, index, problems) for index, payload in enumerate(payloads)]
    values = np.frombuffer(b"".join(right), "<f8").reshape(len(right), columns, rows)
    return np.ascontiguousarray(values.transpose(0, 2, 1))


def _inflate(payload: bytes, size: int, index: int, problems: dict[int, str]) -> bytes:
    """`size` bytes, zeros when the payload does not hold exactly those; never makes more than one byte beyond."""
    stream = zlib.decompressobj()
    try:
        inflated = stream.decompress(payload, size + 1)
    except zlib.error as error:
        problems[index] = f"the values cannot be decompressed: {error}"
        return bytes(size)
    if len(inflated) != size or not stream.eof or stream.unused_data:
        problems[index] = f"the values do not decompress to the {size} bytes that the schema says"
        return bytes(size)
    return inflated


def _bitmap(
    rows: int, columns: int, payloads: Sequence[bytes], bases: Sequence[Numbers | None], problems: dict[int, str]
) -> Numbers:
    width = (columns + 7) // 8
    masks: list[bytes] = []
    changed: list[bytes] = []
    for index, payload in enumerate(payloads):
        problem = _split(payload, rows, columns, bases[index] is None, masks, changed)
        if problem:
            problems[index] = problem
            masks.append(bytes(width * rows))
    bits = np.frombuffer(b"".join(masks), np.uint8).reshape(len(payloads), rows, width)
    mask = np.unpackbits(bits, axis=2, count=columns, bitorder="little").view(np.bool_)
    values = np.empty((len(payloads), rows, columns))
    values[mask] = np.frombuffer(b"".join(changed), "<f8")
    nothing = np.zeros(columns)
    before = np.concatenate([nothing if base is None else base for base in bases]).reshape(len(payloads), columns)
    for row in range(rows):
        np.copyto(values[:, row], before, where=~mask[:, row])
        before = values[:, row]
    return values


def _split(payload: bytes, rows: int, columns: int, whole_first: bool, masks: list[bytes], changed: list[bytes]) -> str:
    """Adds the masks and values of one payload to the lists; adds nothing and says why when they are not there."""
    width, size = (columns + 7) // 8, len(payload)
    own_masks, own_values = [], []
    at = 0
    for row in range(rows):
        values_at = at + width
        mask = payload[at:values_at]
        bits = int.from_bytes(mask, "little")
        count = bits.bit_count()
        end = values_at + 8 * count
        if end > size or bits >> columns:
            return f"row {row + 1} of {rows} is cut short or has bits for columns that are not there"
        if whole_first and row == 0 and count != columns:
            return f"the first row stands by itself and has only {count} of {columns} columns"
        own_masks.append(mask)
        own_values.append(payload[values_at:end])
        at = end
    if at != size:
        return f"{size - at} bytes after the last row"
    masks += own_masks
    changed += own_values
    return ""
