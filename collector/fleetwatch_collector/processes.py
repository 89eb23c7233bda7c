"""Process tables to one frame of `process_top`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from fleetwatch_proto.v1.ingest_pb2 import ProcessTable
from fleetwatch_storage.frames import Frame, Numbers, Texts

from fleetwatch_collector.arrivals import Arrival
from fleetwatch_collector.names import printable

MOST_ROWS = 100
MEASUREMENT = "process_top"

_NUMBERS = ("cpu_percent", "pid", "rss", "read_bytes", "write_bytes", "threads")
_TEXTS = ("name", "user")


def table_problem(table: ProcessTable) -> str:
    """What is wrong with a table; empty when nothing is."""
    rows = len(table.pid)
    if rows > MOST_ROWS:
        return f"{rows} processes; at most {MOST_ROWS} are taken"
    if any(len(getattr(table, name)) != rows for name in (*_NUMBERS, *_TEXTS, "started_ms")):
        return "the columns of the process table have different lengths"
    return ""


def process_frame(arrivals: Sequence[Arrival]) -> Frame | None:
    """Rows of all tables at the time of their batch's last row, ranked by CPU within each; None without any.

    `started` is unix seconds, as a number.
    """
    tables = [(arrival, arrival.table) for arrival in arrivals if arrival.table is not None and arrival.table.pid]
    if not tables:
        return None
    counts = np.array([len(table.pid) for _, table in tables])
    which = np.repeat(np.arange(len(tables)), counts)
    order = np.lexsort((-_column(tables, "cpu_percent"), which))
    rank = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    fields: dict[str, Numbers | Texts] = {name: _text(tables, name)[order] for name in _TEXTS}
    fields |= {name: _finite(_column(tables, name)[order]) for name in _NUMBERS}
    fields["started"] = _column(tables, "started_ms")[order] / 1000
    hosts: dict[str, int] = {}
    codes = np.array([hosts.setdefault(arrival.host, len(hosts)) for arrival, _ in tables], np.int32)
    return Frame(
        measurement=MEASUREMENT,
        time=np.repeat(np.array([arrival.newest_ms for arrival, _ in tables], np.int64), counts),
        host=np.repeat(codes, counts),
        hosts=tuple(hosts),
        tagset=rank.astype(np.int32),
        tagsets=tuple((("rank", str(place + 1)),) for place in range(int(counts.max()))),
        fields=fields,
    )


_Tables = list[tuple[Arrival, ProcessTable]]


def _column(tables: _Tables, name: str) -> Numbers:
    values: list[float] = []
    for _, table in tables:
        values.extend(getattr(table, name))
    return np.array(values, np.float64)


def _finite(values: Numbers) -> Numbers:
    return np.where(np.isfinite(values), values, np.nan)


def _text(tables: _Tables, name: str) -> Texts:
    values = [printable(text, 128) or None for _, table in tables for text in getattr(table, name)]
    return np.array(values, np.object_)
