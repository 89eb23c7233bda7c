"""InfluxDB line encoding, parsing, and the driver on a real influxd: `python -m tests.benchmarks.bench_influx [hosts]`.

CPU seconds of this process (and of influxd, told apart), best of five. Targets: encoding at least 5 M points per
CPU-second. Beside it what was tried instead: influxdb-client's Point, DuckDB's and, where installed, pyarrow's string
functions.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import duckdb
import numpy as np
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.influx.store import InfluxStore
from fleetwatch_storage.lineprotocol.encode import encode
from fleetwatch_storage.lineprotocol.parse import parse
from fleetwatch_storage.query import Query, Transform
from fleetwatch_storage.settings import InfluxSettings
from influxdb_client import Point

from tests.benchmarks.workload import END_MS, HostFleet
from tests.support.influxd import Influxd
from tests.support.stores import directory

HOUR_MS = 3_600_000


def cpu_s(work: Callable[[], object], times: int = 5) -> float:
    """The smallest CPU time of several runs."""
    taken = []
    for _ in range(times):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def by_point(frame: Frame) -> bytes:
    """As influxdb-client's users write it."""
    lines = []
    for row in range(len(frame)):
        point = Point(frame.measurement).tag("host", frame.hosts[frame.host[row]])
        for key, value in frame.tagsets[frame.tagset[row]]:
            point.tag(key, value)
        for name, column in frame.fields.items():
            point.field(name, float(column[row]))
        lines.append(point.time(int(frame.time[row]), "ms").to_line_protocol())
    return "\n".join(lines).encode()


def prefixes(frame: Frame) -> list[str]:
    """Measurement and tags of each row."""
    tags = ["".join(f",{key}={value}" for key, value in one) for one in frame.tagsets]
    return [
        f"{frame.measurement},host={frame.hosts[h]}{tags[t]} "
        for h, t in zip(frame.host.tolist(), frame.tagset.tolist(), strict=True)
    ]


def by_duckdb(frame: Frame, cursor: duckdb.DuckDBPyConnection) -> bytes:
    """One concatenation in SQL."""
    names = list(frame.fields)
    rows = {f"f{i}": frame.fields[name] for i, name in enumerate(names)}
    rows |= {"p": np.array(prefixes(frame), object), "t": frame.time}
    pairs = ", ".join(f"'{',' if i else ''}{name}=', f{i}" for i, name in enumerate(names))
    answer = cursor.execute(f"SELECT string_agg(concat(p, {pairs}, ' ', t), chr(10)) FROM rows").fetchone()
    return str(answer and answer[0]).encode()


def by_pyarrow(frame: Frame) -> bytes:
    """Casts and element-wise joins; the buffer of the result is the body."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = [pa.array(prefixes(frame))]
    for i, (name, column) in enumerate(frame.fields.items()):
        parts += [pa.scalar(f"{',' if i else ''}{name}="), pc.cast(pa.array(column), pa.string())]
    parts += [pa.scalar(" "), pc.cast(pa.array(frame.time), pa.string()), pa.scalar("\n")]
    text = pc.binary_join_element_wise(*parts, "")
    _, offsets, data = text.buffers()
    ends = np.frombuffer(offsets, np.int32)
    return bytes(memoryview(data)[ends[0] : ends[len(text)]])


def encoders() -> dict[str, Callable[[Frame], bytes]]:
    """What is compared."""
    cursor = duckdb.connect(config={"threads": 1})
    found: dict[str, Callable[[Frame], bytes]] = {
        "ours": encode,
        "influxdb-client Point": by_point,
        "DuckDB concat": lambda frame: by_duckdb(frame, cursor),
    }
    if importlib.util.find_spec("pyarrow"):
        found["pyarrow joins"] = by_pyarrow
    return found


def encoding(frames: Sequence[Frame], points: int) -> None:
    """Prints points per CPU-second of each encoder, and of the parser."""
    for name, one in encoders().items():
        taken = cpu_s(lambda one=one: [one(frame) for frame in frames], 2 if "Point" in name else 5)  # type: ignore[misc]
        print(f"encode, {name:<24} {points / taken / 1e6:8.2f} M points per CPU-second")
    text = b"".join(map(encode, frames))
    taken = cpu_s(lambda: parse(text, default_host="", precision="ms", now_ms=0), 3)
    print(
        f"parse, {text.count(10)} lines, {len(text) / points:.1f} B/point "
        f"{points / taken / 1e6:8.2f} M points per CPU-second"
    )


def driver(fleet: HostFleet, ticks: Sequence[Sequence[Frame]]) -> None:
    """Prints what writing and reading cost on a real influxd."""
    points = fleet.points_per_tick * len(ticks)
    with tempfile.TemporaryDirectory() as folder, Influxd(Path(folder) / "influxd") as server:
        settings = InfluxSettings(influx_url=server.url, influx_raw_retention=0.0, influx_rollup_retention=0.0)
        with closing(InfluxStore(settings, directory(Path(folder), {}))) as store:
            before, own = server.usage().cpu_s, time.process_time()
            for tick in ticks:
                store.write(tick)
            own, theirs = time.process_time() - own, server.usage().cpu_s - before
            print(
                f"write, driver  {points / own / 1e6:8.2f} M points per CPU-second ({fleet.points_per_tick} per write)"
            )
            print(f"write, influxd {points / theirs / 1e6:8.2f} M points per CPU-second")
            start_ms = END_MS - len(ticks) * 10_000
            for what, query in questions(fleet, start_ms).items():
                wall, own, theirs = time.perf_counter(), time.process_time(), server.usage().cpu_s
                for _ in range(5):
                    rows = len(store.read(query))
                spent = (time.perf_counter() - wall, time.process_time() - own, server.usage().cpu_s - theirs)
                figures = ", ".join(
                    f"{one * 200:.1f} ms {of}"
                    for one, of in zip(spent, ("wall", "own CPU", "influxd CPU"), strict=True)
                )
                print(f"read, {what:<34} {figures}, {rows} rows")


def questions(fleet: HostFleet, start_ms: int) -> dict[str, Query]:
    """What dashboards and rules ask."""
    from fleetwatch_storage.query import Matcher, Op

    one = (Matcher("host", Op.EQ, fleet.hosts[0]),)
    end_ms = END_MS + 1
    cpu = ("usage_active",)
    return {
        "one host, one metric": Query("cpu", cpu, start_ms, end_ms, where=one),
        "one host, rates of all interfaces": Query(
            "net", ("bytes_recv", "bytes_sent"), start_ms, end_ms, 60_000, transform=Transform.RATE, where=one
        ),
        "ten highest of all hosts": Query(
            "cpu", cpu, end_ms - 300_000, end_ms, 300_000, group_by=("host",), limit=10, order="top"
        ),
        "last two minutes of all hosts": Query("cpu", cpu, end_ms - 120_000, end_ms, 120_000),
    }


def main() -> None:
    """Runs all of it."""
    fleet = HostFleet(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
    ticks = list(fleet.ticks(30))
    print(f"{len(fleet.hosts)} hosts, {fleet.points_per_tick} points per tick, {len(ticks)} ticks")
    encoding([frame for tick in ticks[:3] for frame in tick], 3 * fleet.points_per_tick)
    driver(fleet, ticks)


if __name__ == "__main__":
    main()
