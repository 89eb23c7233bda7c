"""The checksum of a batch's header notices a change of anything that says where its values belong."""

from __future__ import annotations

import pytest
from fleetwatch_proto.checksum import header_crc32
from fleetwatch_proto.v1.ingest_pb2 import Batch


def batch(**changes: object) -> Batch:
    fields = {"seq": 5, "schema_id": 7, "base_seq": 4, "t0_ms": 1_795_168_800_000, "offset_ms": [0, 10]}
    return Batch(**fields | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [{"seq": 7}, {"schema_id": 6}, {"base_seq": 0}, {"t0_ms": -1}, {"offset_ms": [0, 11]}, {"offset_ms": [0]}],
)
def test_a_change_of_the_header_changes_its_checksum(change: dict[str, object]) -> None:
    assert header_crc32(batch(**change)) != header_crc32(batch())


def test_values_have_a_checksum_of_their_own() -> None:
    assert header_crc32(batch(values=b"other", crc32=1)) == header_crc32(batch()) != 0
