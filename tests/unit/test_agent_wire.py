"""Encodings round-trip through a decoder written from the protocol's text."""

from __future__ import annotations

import math
import zlib
from array import array

import pytest
from fleetwatch_agent import wire
from fleetwatch_agent.samples import ABSENT, Series
from fleetwatch_agent.shape import flatten, message
from fleetwatch_proto.v1 import ingest_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from tests.support.agent_collector import Decoder

FLOATS = st.floats(allow_nan=True, allow_infinity=True)


@st.composite
def tables(draw: st.DrawFn) -> list[array[float]]:
    width = draw(st.integers(1, 40))
    row = st.lists(FLOATS, min_size=width, max_size=width).map(lambda numbers: array("d", numbers))
    return draw(st.lists(row, min_size=1, max_size=12))


def schema_of(width: int) -> pb.Schema:
    return message((Series("m", (), tuple(f"f{n}" for n in range(width))),))


def batch(
    rows: list[array[float]], encoding: pb.Encoding.ValueType, values: bytes, seq: int = 1, base: int = 0
) -> pb.Batch:
    made = pb.Batch(seq=seq, schema_id=schema_of(len(rows[0])).id, encoding=encoding, values=values, base_seq=base)
    made.offset_ms.extend(range(len(rows)))
    made.crc32 = wire.crc(rows)
    return made


def same(one: list[array[float]], two: list[array[float]]) -> bool:
    return [row.tobytes() for row in one] == [row.tobytes() for row in two]


@given(tables())
def test_columns_round_trip(rows: list[array[float]]) -> None:
    decoder = Decoder()
    decoder.learn(schema_of(len(rows[0])))
    encoded = wire.columns_zlib(rows)

    assert same(wire.rows_of(encoded, len(rows)), rows)
    assert same(decoder.rows(batch(rows, pb.COLUMNS_ZLIB, encoded)), rows)


@given(tables())
def test_raw_round_trips(rows: list[array[float]]) -> None:
    decoder = Decoder()
    decoder.learn(schema_of(len(rows[0])))

    assert same(decoder.rows(batch(rows, pb.RAW_F64, wire.raw(rows))), rows)


@given(tables())
def test_bitmaps_round_trip_as_a_chain(rows: list[array[float]]) -> None:
    decoder = Decoder()
    decoder.learn(schema_of(len(rows[0])))
    before = None
    for seq, row in enumerate(rows, start=1):
        encoded = wire.bitmap(row, before)
        base = seq - 1 if before is not None else 0
        assert same(decoder.rows(batch([row], pb.BITMAP_F64, encoded, seq, base)), [row])
        before = row


def test_a_bitmap_of_nothing_new_is_the_mask_alone() -> None:
    row = array("d", [1.0, math.nan, 0.0] * 50)

    assert wire.bitmap(row, row[:]) == bytes(19)


def test_minus_zero_and_zero_are_different_values() -> None:
    encoded = wire.bitmap(array("d", [-0.0]), array("d", [0.0]))

    assert encoded == b"\x01" + array("d", [-0.0]).tobytes()


@pytest.mark.parametrize("data", [b"no zlib", zlib.compress(b"1234567"), zlib.compress(bytes(24))])
def test_what_is_no_table_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"inflated|whole values|rows"):
        wire.rows_of(data, 2)


def test_the_checksum_is_that_of_the_raw_rows() -> None:
    rows = [array("d", [1.0, 2.0]), array("d", [3.0, 4.0])]

    assert wire.crc(rows) == zlib.crc32(wire.raw(rows))


def test_no_numbers_are_left_out_and_told_apart_from_absent_ones() -> None:
    series = Series("m", (), ("a", "b", "c"))
    readings = [(series, (1.0, math.nan, ABSENT)), (series, [math.inf, 2.0, 3.0]), (series, (1e308, 1e308, 1.0))]

    shape, row, points, dropped = flatten(readings)

    assert shape == [series] * 3
    assert (points, dropped) == (6, 2)
    assert [n for n, value in enumerate(row) if value is ABSENT or math.isnan(value)] == [1, 2, 3]
