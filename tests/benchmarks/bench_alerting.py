"""What an evaluation of all rules costs: `python -m tests.benchmarks.bench_alerting [hosts ...]`.

100 rules on 25 metrics, each evaluated over every host, at 100, 1,000 and 10,000 hosts; with 0 and with 1 in 100 hosts
in breach. Once on a store that answers from ready arrays (the cost of alerting itself), once on the embedded store (the
whole). CPU time of this process; the target is below one second for 100 rules x 10,000 hosts.

Then the time from a breach to the receiver's HTTP request with `every: 1s` and no delays, at random phases; the target
is p95 below two seconds.
"""

from __future__ import annotations

import asyncio
import math
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fleetwatch_alerting import fleet as fleets
from fleetwatch_alerting.desk import Desk
from fleetwatch_alerting.evaluate import evaluate
from fleetwatch_alerting.manager import AlertManager
from fleetwatch_alerting.rules.loader import loads
from fleetwatch_alerting.rules.schema import RuleFile
from fleetwatch_alerting.settings import AlertingSettings
from fleetwatch_storage.embedded import EmbeddedSettings, EmbeddedStore
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.hosts import Host
from fleetwatch_storage.metadata.database import open_database, sqlite_url
from fleetwatch_storage.metadata.hosts import HostDirectory
from fleetwatch_storage.query import Query
from fleetwatch_storage.store import StoreReader

from tests.support.alert_process import store_of
from tests.support.conditions import wait_until_async
from tests.support.receivers import Receiver

FIELDS = {
    "mem": ("used_percent", "available_percent", "swap_cached", "dirty", "slab", "shared"),
    "system": ("load1", "load5", "load15", "n_users", "load1_per_core"),
    "swap": ("used_percent",),
    "processes": ("total", "running", "blocked", "zombies", "total_threads"),
    "netstat": ("tcp_established", "tcp_listen", "tcp_time_wait", "tcp_close_wait", "tcp_orphan", "udp_socket"),
    "linux_sysctl_fs": ("file_nr",),
    "kernel": ("oom_kill", "context_switches"),
}
METRICS = [
    f"{measurement}.{field}" for measurement, fields in FIELDS.items() for field in fields if field != "swap_cached"
]
RULES = 100
HOT = 95.0
BREACHES = 15


def rule_file() -> RuleFile:
    """A hundred rules: the last value, and averages over two windows, at a few thresholds."""
    rows = []
    for index in range(RULES):
        window = ("", ", agg: avg, window: 2m", ", agg: max, window: 5m")[index % 3]
        rows.append(
            f"  - {{name: R{index}, metric: {METRICS[index % len(METRICS)]}, above: {80 + index % 7}, for: 5m{window}}}"
        )
    return loads("version: 1\nsettings: {every: 30s, eval_delay: 0s}\nrules:\n" + "\n".join(rows), "bench")


@dataclass
class ReadyStore:
    """Answers every question with the same columns: what is measured is alerting, not a store."""

    known: list[Host]
    values: np.ndarray

    def read(self, query: Query) -> Frame:
        count = len(self.known)
        names = [host.name for host in self.known]
        zeros = np.zeros(count, np.int32)
        columns = dict.fromkeys(query.fields, self.values)
        return Frame(
            query.measurement, np.zeros(count, np.int64), np.arange(count, dtype=np.int32), names, zeros, [()], columns
        )

    def hosts(self) -> list[Host]:
        return self.known


def hosts(count: int, now: int) -> list[Host]:
    """Hosts that have just been heard of."""
    return [Host(f"host-{index:05}", last_seen_ms=now, first_seen_ms=1, connected=True) for index in range(count)]


def values(count: int, hot_share: float) -> np.ndarray:
    """One value per host, some of them in breach of every rule."""
    rng = np.random.default_rng(1)
    found = rng.uniform(5, 70, count)
    found[: round(count * hot_share)] = HOT
    return found


def cpu_s(store: StoreReader, now: int, *, evaluations: int = 5) -> tuple[float, int]:
    """CPU seconds of one evaluation of all rules with its transaction (the median), and alerts that pend then."""
    with tempfile.TemporaryDirectory() as folder:
        engine = open_database(sqlite_url(Path(folder)))
        desk = Desk(store, engine)
        desk.use(rule_file(), now, 0)
        spent = []
        for index in range(evaluations):
            started = time.process_time()
            desk.tick(now + 30_000 * index, 30_000 * index)
            spent.append(time.process_time() - started)
        engine.dispose()
        return float(np.median(spent)), sum(map(len, desk._live.alerts.values()))


def ready(count: int, hot_share: float) -> str:
    """The cost without a store, evaluation alone and with the transaction."""
    now = 1_800_000_000_000
    store = ReadyStore(hosts(count, now), values(count, hot_share))
    rules = rule_file().rules
    started = time.process_time()
    evaluate(rules, {}, store.read, now, fleets.at(store.hosts(), now))
    alone = time.process_time() - started
    whole, alerts = cpu_s(store, now)  # type: ignore[arg-type]
    return f"{count:7,} {hot_share:6.0%}   ready arrays   {alone:8.3f} {whole:8.3f} {alerts:8,}"


def embedded(count: int, hot_share: float) -> str:
    """The cost over the embedded store with five minutes of samples in it."""
    now = int(time.time() * 1000) // 30_000 * 30_000
    with tempfile.TemporaryDirectory() as folder:
        directory = HostDirectory(open_database(sqlite_url(Path(folder))))
        for host in hosts(count, now + 600_000):
            directory.put(host)
        with closing(EmbeddedStore(Path(folder) / "data", directory, EmbeddedSettings(store_maintenance_s=0))) as store:
            for at in range(now - 300_000, now + 150_000, 10_000):
                store.write(list(_samples(count, hot_share, at)))
            whole, alerts = cpu_s(store, now)
    return f"{count:7,} {hot_share:6.0%}   embedded       {'':8} {whole:8.3f} {alerts:8,}"


def _samples(count: int, hot_share: float, at: int) -> list[Frame]:
    names = [f"host-{index:05}" for index in range(count)]
    found = values(count, hot_share)
    zeros, codes = np.zeros(count, np.int32), np.arange(count, dtype=np.int32)
    return [
        Frame(measurement, np.full(count, at, np.int64), codes, names, zeros, [()], dict.fromkeys(fields, found))
        for measurement, fields in FIELDS.items()
    ]


RULES_AT_ONCE = """version: 1
settings: {every: 1s, eval_delay: 0s, startup_grace: 0s}
rules: [{name: HighCPU, metric: cpu.usage_active, above: 80}]
receivers: {hook: {webhook: {url: "%s"}}}
routes: [{to: hook, group_wait: 0s, group_interval: 0s}]
"""


async def latencies_s(folder: Path, breaches: int) -> list[float]:
    """Seconds from the moment a value goes wrong until the receiver has the request, for each of so many breaches."""
    found: list[float] = []
    rng = random.Random(1)
    with Receiver() as hook:
        (folder / "rules.yaml").write_text(RULES_AT_ONCE % hook.url)
        (folder / "value").write_text("20")
        engine = open_database(sqlite_url(folder))
        settings = AlertingSettings(rules=folder / "rules.yaml", egress_allow=("127.0.0.0/8",))
        manager = AlertManager(settings, store_of(folder), engine)
        await manager.start()
        for count in range(breaches):
            await asyncio.sleep(rng.random())
            (folder / "value").write_text("95")
            went_wrong = (folder / "value").stat().st_mtime
            await wait_until_async(lambda n=count: len(hook.accepted) > 2 * n)
            found.append(hook.requests[-1].at - went_wrong)
            (folder / "value").write_text("20")
            await wait_until_async(lambda n=count: len(hook.accepted) > 2 * n + 1)
        await manager.stop()
        engine.dispose()
    return sorted(found)


def main(counts: Sequence[int]) -> None:
    """Prints the table."""
    print(f"{RULES} rules on {len(METRICS)} metrics; CPU seconds for one evaluation of all")
    print("  hosts breach   store          evaluate    whole   alerts")
    for count in counts:
        for hot_share in (0.0, 0.01):
            print(ready(count, hot_share), flush=True)
        print(embedded(count, 0.01), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(latencies_s(Path(folder), BREACHES))
    p95 = found[math.ceil(0.95 * len(found)) - 1]
    print(f"breach to request, every 1s, {len(found)} breaches: p50 {found[len(found) // 2]:.2f} s, p95 {p95:.2f} s")


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or [100, 1000, 10_000])
