"""One sample as text: a table, JSON, or InfluxDB line protocol. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from fleetwatch_proto.catalog import BY_NAME
from fleetwatch_proto.v1.ingest_pb2 import ProcessTable

Rows: TypeAlias = Sequence[tuple[str, Mapping[str, str], Mapping[str, float]]]
"""Measurement, tags and fields of each series."""


def as_table(rows: Rows, processes: bytes) -> str:
    """For people: a line per field with its unit, the processes below."""
    lines = []
    for measurement, tags, fields in rows:
        labels = ",".join(f"{key}={value}" for key, value in tags.items() if measurement != "disk" or key == "path")
        lines += [
            f"{measurement:<16} {labels:<32} {field:<20} {_amount(measurement, field, value)}"
            for field, value in fields.items()
        ]
    table = ProcessTable.FromString(processes)
    if table.pid:
        lines += ["", f"{'PID':>8} {'USER':<12} {'CPU%':>6} {'RSS MiB':>8} {'READ/s':>10} {'WRITE/s':>10} NAME"]
    for n, pid in enumerate(table.pid):
        lines.append(
            f"{pid:>8} {table.user[n]:<12} {table.cpu_percent[n]:>6.1f} {table.rss[n] / 2**20:>8.1f} "
            f"{table.read_bytes[n]:>10.0f} {table.write_bytes[n]:>10.0f} {table.name[n]}"
        )
    return "\n".join(lines)


def as_json(time_ms: int, host: str, rows: Rows, processes: bytes) -> str:
    """For programs: one object with the time, the host, the series and the processes."""
    table = ProcessTable.FromString(processes)
    listed = [
        {
            "pid": pid,
            "name": table.name[n],
            "user": table.user[n],
            "cpu_percent": round(table.cpu_percent[n], 1),
            "rss": table.rss[n],
            "read_bytes": table.read_bytes[n],
            "write_bytes": table.write_bytes[n],
            "threads": table.threads[n],
            "started": table.started_ms[n] / 1000,
        }
        for n, pid in enumerate(table.pid)
    ]
    series = [{"measurement": name, "tags": dict(tags), "fields": dict(fields)} for name, tags, fields in rows]
    return json.dumps({"time_ms": time_ms, "host": host, "series": series, "processes": listed})


def as_lines(time_ms: int, host: str, rows: Rows) -> str:
    """InfluxDB line protocol, nanoseconds."""
    lines = []
    for measurement, tags, fields in rows:
        if fields:
            key = "".join(
                f",{name}={_escaped(value)}" for name, value in sorted({**tags, "host": host}.items()) if value
            )
            values = ",".join(f"{_escaped(name)}={value!r}" for name, value in fields.items())
            lines.append(f"{measurement}{key} {values} {time_ms * 1_000_000}")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return re.sub(r"([,= \\])", r"\\\1", text)


def _amount(measurement: str, field: str, value: float) -> str:
    known = BY_NAME[measurement].field(field) if measurement in BY_NAME else None
    unit = known.unit if known else ""
    if unit == "bytes" and value >= 1024:
        power = min(4, int(value).bit_length() // 10)
        return f"{value / 1024**power:.1f} {'BKMGT'[power]}iB"
    number = f"{value:.0f}" if value == int(value) else f"{value:.2f}"
    return f"{number} {'%' if unit == 'percent' else unit}".rstrip()
