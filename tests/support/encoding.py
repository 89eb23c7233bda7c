"""Rows of a batch in the wire's three encodings, as an agent writes them (`Encoding` in ingest.proto says how)."""

from __future__ import annotations

import zlib

import numpy as np
from fleetwatch_proto.checksum import header_crc32
from fleetwatch_proto.v1 import ingest_pb2 as wire

from tests.support.values import Numbers


def encode(batch: wire.Batch, rows: Numbers, encoding: str, base: tuple[int, Numbers] | None) -> None:
    """Fills in values, encoding, checksums and base of `batch`.

    `rows` is (rows, columns) float64; `base` the seq and last row of the batch sent before on this call, or None.
    """
    raw = rows.astype("<f8", copy=False).tobytes()
    batch.crc32 = zlib.crc32(raw)
    if encoding == "raw":
        batch.encoding, batch.values = wire.RAW_F64, raw
    elif encoding == "zlib":
        batch.encoding, batch.values = wire.COLUMNS_ZLIB, zlib.compress(rows.T.astype("<f8").tobytes(), 1)
    else:
        batch.encoding, batch.values = wire.BITMAP_F64, _bitmap(rows, None if base is None else base[1])
        batch.base_seq = 0 if base is None else base[0]
    batch.header_crc32 = header_crc32(batch)


def _bitmap(rows: Numbers, before: Numbers | None) -> bytes:
    words = rows.view(np.uint64)
    changed = np.ones(words.shape, bool)
    changed[1:] = words[1:] != words[:-1]
    if before is not None:
        changed[0] = words[0] != before.view(np.uint64)
    masks = np.packbits(changed, axis=1, bitorder="little")
    return b"".join(masks[row].tobytes() + rows[row, changed[row]].tobytes() for row in range(len(rows)))
