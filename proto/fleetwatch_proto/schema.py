"""The identity of a schema: a hash of what its columns mean, the same on every host and after every restart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from fleetwatch_proto.v1.ingest_pb2 import Series


def schema_id(series: Iterable[Series]) -> int:
    """Unsigned 64-bit hash of measurements, tags and fields in column order.

    Every part is length-prefixed, so no two different schemas are spelled alike.
    """
    digest = hashlib.blake2b(digest_size=8)
    for one in series:
        parts = [one.measurement, *(text for tag in one.tags for text in (tag.key, tag.value))]
        for group in (parts, list(one.fields)):
            digest.update(len(group).to_bytes(4, "little"))
            for text in group:
                raw = text.encode()
                digest.update(len(raw).to_bytes(4, "little") + raw)
    return int.from_bytes(digest.digest(), "little")


def columns(series: Iterable[Series]) -> int:
    """How many float64 values one row of this schema has."""
    return sum(len(one.fields) for one in series)
