"""The embedded store by the targets of the performance design, with VictoriaMetrics beside it on the same data.

    python -m tests.benchmarks.bench_store [--hosts 100 500 1000] [--hours 1] [--no-peer] [--no-day]

CPU is user and system time: of this process around `write` for the embedded store, of the server and of encoding line
protocol for the peer. Compare figures of one run only: machines are noisy.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from fleetwatch_storage.embedded import EmbeddedSettings, EmbeddedStore
from fleetwatch_storage.embedded.layout import Tier
from fleetwatch_storage.query import Matcher, Op, Query, Transform

from tests.benchmarks.victoria import Victoria
from tests.support.stores import directory
from tests.support.workload import END_S, HostFleet

HOUR_S, HOUR = 3600, 3_600_000
END = END_S * 1000
TICK_S = 10


@dataclass
class Result:
    """What was measured, by the words it is printed with."""

    figures: dict[str, str] = field(default_factory=dict)

    def note(self, what: str, figure: str, target: str = "") -> None:
        """Keeps and prints one figure."""
        self.figures[what] = figure
        print(f"  {what:<44}{figure:>22}   {target}", flush=True)


def main() -> None:
    """Runs what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, nargs="+", default=[500])
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--no-day", action="store_true")
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    for hosts in options.hosts:
        ticks = int(options.hours * HOUR_S / TICK_S)
        fleet = HostFleet(hosts, step_s=TICK_S)
        total = fleet.points_per_tick * ticks / 1e6
        print(f"\n{hosts} hosts, {fleet.points_per_tick} points per commit, {ticks} commits, {total:.1f} M points")
        embedded(hosts, ticks)
        if not options.no_peer:
            peer(hosts, ticks)
    if not options.no_day:
        whole_day()


def embedded(hosts: int, ticks: int) -> None:
    """Ingest, sizes and queries of the embedded store."""
    result = Result()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        known = directory(folder, {})
        settings = EmbeddedSettings(store_maintenance_s=0, store_min_free_bytes=0, store_window_bytes=256 << 20)
        with closing(EmbeddedStore(folder / "store", known, settings, now_ms=lambda: END + 1000)) as store:
            print(" embedded")
            points = ingest(store, HostFleet(hosts, step_s=TICK_S), ticks, result)
            queries(store, "hot", result)
            store.database.writer.execute("CHECKPOINT")
            result.note("bytes per point, hot", f"{store.maintenance.hot_bytes() / points:.2f}", "<= 3.7")
            seal(store, points, result)
            queries(store, "sealed", result)
            peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            result.note("peak RSS of this process, data included", f"{peak_mib:.0f} MiB")


def ingest(store: EmbeddedStore, fleet: HostFleet, ticks: int, result: Result) -> int:
    """Writes all ticks; how many points that were."""
    cpu, wall, checkpoints = [], [], []
    log = store.path / "hot.duckdb.wal"
    for frames in fleet.ticks(ticks, END_S - TICK_S):
        before = log.stat().st_size if log.exists() else 0
        started, used = time.perf_counter(), time.process_time()
        store.write(frames)
        cpu.append(time.process_time() - used)
        wall.append(time.perf_counter() - started)
        checkpoints.append((log.stat().st_size if log.exists() else 0) < before)
    points = fleet.points_per_tick * ticks
    plain = np.array(wall)[~np.array(checkpoints)] * 1000
    result.note("ingest, M points per CPU-second", f"{points / sum(cpu) / 1e6:.2f}", ">= 4")
    result.note("the same, median commit", f"{fleet.points_per_tick / np.median(cpu) / 1e6:.2f}")
    commit = f"{np.median(plain):.1f} / {np.quantile(plain, 0.99):.1f} / {plain.max():.1f}"
    result.note("commit p50 / p99 / max ms", commit, "p99 < 50")
    stalls = np.array(wall)[np.array(checkpoints)] * 1000
    result.note("checkpoints, longest ms", f"{len(stalls)}, {stalls.max() if len(stalls) else 0:.0f}")
    return points


def seal(store: EmbeddedStore, points: int, result: Result) -> None:
    """Seals all hours, then brings the day's files together; sizes."""
    used = time.process_time()
    store.maintenance.run(END + 24 * HOUR)
    result.note("sealing, M points per CPU-second", f"{points / (time.process_time() - used) / 1e6:.1f}")
    store.maintenance.run(END + 50 * HOUR)
    sizes = {
        tier: sum(one.bytes for one in store.state.layout.all_files() if one.tier is tier) / points for tier in Tier
    }
    result.note("bytes per point, sealed", f"{sizes[Tier.RAW]:.3f}", "<= 1.25")
    rolled = [sizes[tier] for tier in Tier if tier is not Tier.RAW]
    each = " + ".join(f"{size:.3f}" for size in rolled)
    result.note("bytes per point, roll-ups 1m + 5m + 1h", f"{sum(rolled):.3f} = {each}", "<= 0.7 (whole days)")


def timed(ask: Callable[[], object], repeat: int = 15) -> str:
    """Median wall and processor milliseconds of a question."""
    ask()
    wall, cpu = [], []
    for _ in range(repeat):
        started, used = time.perf_counter(), time.process_time()
        ask()
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - used)
    return f"{np.median(wall) * 1000:.2f} / {np.median(cpu) * 1000:.2f}"


def queries(store: EmbeddedStore, state: str, result: Result) -> None:
    """The questions of the performance design; wall and processor ms."""
    host = (Matcher("host", Op.EQ, "host-00007"),)
    total = (Matcher("cpu", Op.EQ, "cpu-total"),)
    page = {"start_ms": END - 6 * HOUR, "end_ms": END, "where": host, "step_ms": 60_000}
    host_page = [
        Query("net", ("bytes_recv", "bytes_sent", "packets_recv", "packets_sent"), transform=Transform.RATE, **page),
        Query("cpu", ("usage_active", "usage_iowait"), aggregates=("avg",), **page),
        Query("mem", ("used", "available", "cached", "used_percent"), aggregates=("avg",), **page),
        Query("disk", ("used_percent",), aggregates=("max",), **page),
        Query("system", ("load1",), **page),
    ]
    one = Query("cpu", ("usage_active",), END - HOUR, END, where=(*host, *total))
    top = Query("cpu", ("usage_active",), END - 300_000, END, step_ms=300_000, where=total, limit=10, order="top")
    over = Query("cpu", ("usage_active",), END - 120_000, END, step_ms=120_000, where=total, group_by=("host",))
    rates = Query("net", ("bytes_recv",), END - 120_000, END, step_ms=120_000, transform=Transform.RATE)
    fleet = Query("cpu", ("usage_active",), END - 6 * HOUR, END, step_ms=300_000, where=total, group_by=())
    for name, ask, target in (
        ("one host, one metric, 1 h", lambda: store.read(one), "< 10"),
        ("host page, 30 series, 6 h at 1 min", lambda: [store.read(query) for query in host_page], "< 50"),
        ("top 10 of 5 min", lambda: store.read(top), "< 10"),
        ("threshold over all hosts, 2 min", lambda: store.read(over), "< 5"),
        ("rate over all interfaces, 2 min", lambda: store.read(rates), ""),
        ("fleet average, 6 h at 5 min", lambda: store.read(fleet), ""),
        ("latest of everything", lambda: store.latest(), "< 10"),
    ):
        result.note(f"{name}, {state}, ms wall / CPU", timed(ask), target)


def peer(hosts: int, ticks: int) -> None:
    """The same with VictoriaMetrics, where it is installed."""
    result = Result()
    with tempfile.TemporaryDirectory() as name, Victoria(Path(name)) as server:
        if not server.there:
            print(" victoria-metrics is not installed (Debian: apt install victoria-metrics)")
            return
        print(f" {server.version}")
        fleet, encode_s = HostFleet(hosts, step_s=TICK_S), 0.0
        used = server.cpu_s()
        for frames in fleet.ticks(ticks, END_S - TICK_S):
            encode_s += server.write(frames)
        server.flush()
        points = fleet.points_per_tick * ticks
        cpu = server.cpu_s() - used
        result.note(
            "ingest, M points per CPU-second",
            f"{points / (cpu + encode_s) / 1e6:.2f}",
            f"server alone {points / cpu / 1e6:.2f}",
        )
        server.merge()
        result.note("bytes per point", f"{server.bytes() / points:.3f}")
        start = END_S - 6 * HOUR_S
        shown = (
            "net_(bytes|packets).*|cpu_usage_(active|iowait)|mem_(used|available|cached)|disk_used_percent|system_load1"
        )
        page = f'avg_over_time({{__name__=~"{shown}",host="host-00007"}}[1m])'
        for label, ask in (
            (
                "one host, one metric, 1 h",
                lambda: server.export('cpu_usage_active{host="host-00007",cpu="cpu-total"}', END_S - HOUR_S, END_S),
            ),
            ("host page, 30 series, 6 h at 1 min", lambda: server.range(page, start, END_S, 60)),
            (
                "top 10 of 5 min",
                lambda: server.query('topk(10, avg_over_time(cpu_usage_active{cpu="cpu-total"}[5m]))', END_S),
            ),
            (
                "threshold over all hosts, 2 min",
                lambda: server.query('avg_over_time(cpu_usage_active{cpu="cpu-total"}[2m]) > 90', END_S),
            ),
            ("rate over all interfaces, 2 min", lambda: server.query("rate(net_bytes_recv[2m])", END_S)),
            (
                "fleet average, 6 h at 5 min",
                lambda: server.range('avg(avg_over_time(cpu_usage_active{cpu="cpu-total"}[5m]))', start, END_S, 300),
            ),
            ("latest of everything", lambda: server.query('{host!=""}', END_S)),
        ):
            result.note(f"{label}, ms wall / client CPU", timed(ask))


def whole_day() -> None:
    """Sizes of roll-ups once a day's files are one."""
    result, hosts = Result(), 40
    ticks = 24 * HOUR_S // TICK_S
    print(f"\n{hosts} hosts, a whole day, ten rows per series and commit")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = EmbeddedSettings(store_maintenance_s=0, store_min_free_bytes=0)
        day_end_s = END_S // 86400 * 86400
        known = directory(folder, {})
        with closing(EmbeddedStore(folder / "store", known, settings, now_ms=lambda: day_end_s * 1000)) as store:
            batch = []
            for number, frames in enumerate(HostFleet(hosts, step_s=TICK_S).ticks(ticks, day_end_s - TICK_S), 1):
                batch += frames
                if number % 10 == 0:
                    store.write(batch)
                    batch = []
                if number % 1080 == 0:
                    store.maintenance.run((day_end_s + HOUR_S) * 1000)
            seal(store, HostFleet(hosts).points_per_tick * ticks, result)


if __name__ == "__main__":
    main()
