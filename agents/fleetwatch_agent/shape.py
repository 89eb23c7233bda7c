"""From readings to one row: flattening, leaving out what is no number, naming the columns."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from math import isfinite

from fleetwatch_proto.schema import schema_id
from fleetwatch_proto.v1 import ingest_pb2 as pb

from fleetwatch_agent.samples import ABSENT, Reading, Series, Shape


def flatten(readings: Iterable[Reading]) -> tuple[list[Series], array[float], int, int]:
    """Series and values of one row, how many values are present, and how many NaN and infinities were left out."""
    shape, row, absent, dropped = [], array("d"), 0, 0
    for series, values in readings:
        # A finite sum of finite values is the rule; only a NaN or an infinity makes it otherwise.
        if not isfinite(sum(values)):
            missing = sum(1 for value in values if not isfinite(value))
            dropped += sum(1 for value in values if not isfinite(value) and value is not ABSENT)
            values = [value if isfinite(value) else ABSENT for value in values]
            absent += missing
        shape.append(series)
        row.extend(values)
    return shape, row, len(row) - absent, dropped


def message(shape: Shape) -> pb.Schema:
    """The wire's schema of a shape."""
    series = [
        pb.Series(
            measurement=one.measurement,
            tags=[pb.Tag(key=key, value=value) for key, value in one.tags],
            fields=one.fields,
        )
        for one in shape
    ]
    return pb.Schema(id=schema_id(series), series=series)
