"""The wire's encodings: exact for what is right, words for what is wrong, and never anything else."""

from __future__ import annotations

import random
import zlib

import numpy as np
import pytest
from fleetwatch_collector.decode import ENCODINGS, Decoded, decode
from fleetwatch_proto.v1 import ingest_pb2 as wire
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.encoding import encode
from tests.support.stream_client import checksum

NAMES = {"raw": wire.RAW_F64, "bitmap": wire.BITMAP_F64, "zlib": wire.COLUMNS_ZLIB}


def coded(rows: np.ndarray, encoding: str, base: np.ndarray | None = None) -> wire.Batch:
    batch = wire.Batch()
    encode(batch, rows, encoding, None if base is None else (1, base))
    return batch


def one(batch: wire.Batch, rows: int, columns: int, base: np.ndarray | None = None) -> Decoded:
    return decode(batch.encoding, rows, columns, [batch.values], [base], [batch.crc32])


@pytest.mark.parametrize("encoding", list(NAMES))
@settings(deadline=None)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 30)),
    seed=st.integers(0, 1000),
    relative=st.booleans(),
)
def test_what_was_encoded_comes_back_bit_by_bit(
    encoding: str, shape: tuple[int, int, int], seed: int, relative: bool
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.choice([0.0, -0.0, 1.5, np.nan, np.inf, 1e308], shape)
    bases = [rng.choice([0.0, 1.5, np.nan], shape[2]) if relative else None for _ in range(shape[0])]
    batches = [coded(batch_rows, encoding, base) for batch_rows, base in zip(rows, bases, strict=True)]

    found = decode(
        NAMES[encoding], shape[1], shape[2], [batch.values for batch in batches], bases, [b.crc32 for b in batches]
    )

    assert not found.problems
    assert found.values.tobytes() == rows.tobytes()


@pytest.mark.parametrize("encoding", list(NAMES))
def test_a_bad_batch_does_not_touch_its_neighbours(encoding: str) -> None:
    rows = np.arange(12.0).reshape(3, 2, 2)
    batches = [coded(one_rows, encoding) for one_rows in rows]
    payloads = [batches[0].values, batches[1].values[:-1], batches[2].values]

    found = decode(NAMES[encoding], 2, 2, payloads, [None] * 3, [batch.crc32 for batch in batches])

    assert list(found.problems) == [1]
    assert found.values[[0, 2]].tolist() == rows[[0, 2]].tolist()


@pytest.mark.parametrize("encoding", list(NAMES))
def test_a_wrong_checksum_is_a_problem(encoding: str) -> None:
    batch = coded(np.ones((1, 3)), encoding)

    found = decode(NAMES[encoding], 1, 3, [batch.values], [None], [batch.crc32 ^ 1])

    assert found.problems == {0: "the checksum does not match the values"}


def test_a_bomb_is_not_inflated_beyond_what_the_schema_says() -> None:
    bomb = zlib.compress(bytes(50_000_000), 9)

    found = decode(wire.COLUMNS_ZLIB, 1, 4, [bomb], [None], [0])

    assert "do not decompress to the 32 bytes" in found.problems[0]


def test_data_behind_the_end_of_a_compressed_batch_is_a_problem() -> None:
    payload = zlib.compress(np.ones(4).tobytes()) + b"more"

    found = decode(wire.COLUMNS_ZLIB, 1, 4, [payload], [None], [checksum(np.ones((1, 4)))])

    assert list(found.problems) == [0]


def test_a_first_row_that_stands_by_itself_must_have_every_column() -> None:
    payload = bytes([0b01]) + np.ones(1).tobytes()

    found = decode(wire.BITMAP_F64, 1, 2, [payload], [None], [checksum([[1.0, 0.0]])])

    assert "only 1 of 2 columns" in found.problems[0]


def test_bits_for_columns_that_are_not_there_are_a_problem() -> None:
    payload = bytes([0b111]) + np.ones(3).tobytes()

    found = decode(wire.BITMAP_F64, 1, 2, [payload], [None], [0])

    assert "columns that are not there" in found.problems[0]


def test_twenty_thousand_hostile_payloads_end_in_values_or_words() -> None:
    rng = random.Random(20_260)
    right = (
        coded(np.arange(30.0).reshape(3, 10), "bitmap"),
        coded(np.ones((3, 10)), "zlib"),
        coded(np.ones((3, 10)), "raw"),
    )
    refused = 0

    for _ in range(250):
        payloads, bases, sums = [], [], []
        encoding = rng.choice(sorted(ENCODINGS))
        rows, columns = rng.randint(1, 4), rng.randint(1, 20)
        for _ in range(100):
            payloads.append(_mutated(rng, rng.choice(right).values))
            bases.append(None if rng.random() < 0.5 else np.zeros(columns))
            sums.append(rng.getrandbits(32))
        found = decode(encoding, rows, columns, payloads, bases, sums)
        assert found.values.shape == (100, rows, columns)
        refused += len(found.problems)

    assert refused == 25_000


def _mutated(rng: random.Random, payload: bytes) -> bytes:
    if rng.random() < 0.2:
        return rng.randbytes(rng.randint(0, 300))
    changed = bytearray(payload)
    for _ in range(rng.randint(0, 6)):
        at = rng.randrange(len(changed) + 1)
        changed[at : at + rng.randint(0, 3)] = rng.randbytes(rng.randint(0, 3))
    return bytes(changed)
