"""The checksum of what a batch says beside its values: damage there would store good values in a wrong place."""

from __future__ import annotations

import struct
import zlib

from fleetwatch_proto.v1.ingest_pb2 import Batch


def header_crc32(batch: Batch) -> int:
    """CRC-32 of number, schema id, base, time of the first row and row offsets, little-endian; never 0.

    0 on the wire means that a sender gave none, so a true 0 is given as 1.
    """
    offsets = batch.offset_ms
    head = struct.pack("<QQQq", batch.seq, batch.schema_id, batch.base_seq, batch.t0_ms)
    return zlib.crc32(struct.pack(f"<{len(offsets)}I", *offsets), zlib.crc32(head)) or 1
