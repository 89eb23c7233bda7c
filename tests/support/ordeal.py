"""The ordeal: real agents, a real collector and a real store, killed at random, and the oracle's verdict at the end."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fleetwatch_storage.metadata.database import open_database, sqlite_url
from fleetwatch_storage.metadata.hosts import HostDirectory
from fleetwatch_storage.opening import open_store
from fleetwatch_storage.settings import StoreSettings
from fleetwatch_storage.store import StoreReader

from tests.support.conditions import wait_until
from tests.support.influxd import Influxd
from tests.support.kills import Killer
from tests.support.oracle import Verdict, judge
from tests.support.parts import Collector, DeterministicAgent
from tests.support.processes import Process
from tests.support.values import host_series

HASTY = (sys.executable, "-m", "tests.support.hasty_collector")
LIVELINESS_S = 60.0
"""A point that is sampled after the last fault is in the store within this time."""

NO_LIMITS = {"points_per_s": 1e9, "points_burst": 10**9, "new_series_per_minute": 10**6}


@dataclass(frozen=True, slots=True)
class Ordeal:
    """How much is done to whom. Kills go on until there were `kills` of them and `points` points were accepted."""

    points: int
    kills: int
    agents: int = 4
    interval_ms: int = 200
    pause_s: tuple[float, float] = (0.2, 1.0)
    down_s: tuple[float, float] = (0.0, 0.5)
    seed: int = 1
    influx: bool = False
    program: tuple[str, ...] = ()  # instead of `fleetwatch collector`


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    verdict: Verdict
    kills: dict[str, int]
    drained_s: float  # from the last start of a victim until everything was acknowledged
    logs: dict[str, str] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.verdict}\nkills {self.kills}, drained {self.drained_s:.1f} s after the last of them"


def undergo(ordeal: Ordeal, folder: Path) -> Outcome:
    """Runs the ordeal in `folder` and judges the store after a last kill -9 of everything."""
    with contextlib.ExitStack() as stack:
        influxd = stack.enter_context(Influxd(folder / "influx")) if ordeal.influx else None
        if influxd is not None:
            influxd.query("CREATE DATABASE fleetwatch")  # a collector killed too soon would not have come to it
        store = {} if influxd is None else {"store": "influx", "influx_url": influxd.url}
        collector = Collector(folder, {**store, **NO_LIMITS}, program=ordeal.program)
        stack.enter_context(collector)
        agents = [_agent(number, ordeal, collector, folder) for number in range(ordeal.agents)]
        for agent in agents:
            stack.enter_context(agent)
        servers: list[Process] = [collector, *([influxd] if influxd else [])]
        victims = [*agents, *servers * max(1, len(agents) // 2)]  # a third or half of the kills hit a server
        kills = _kill(ordeal, victims, agents)
        drained_s = _drain(agents)
        collector.kill()
        if influxd is not None:
            influxd.restart()
        with reopened(collector, store) as reader:
            verdict = judge(reader, [agent.ledger() for agent in agents], host_series())
        return Outcome(verdict, kills, drained_s, {victim.name: victim.log for victim in [*servers, *agents]})


@contextlib.contextmanager
def reopened(collector: Collector, store: dict[str, str]) -> Iterator[StoreReader]:
    """The store of a collector that does not run, opened by the product's own code."""
    database = open_database(sqlite_url(collector.data_dir))
    settings = StoreSettings(data_dir=collector.data_dir, **store)  # type: ignore[arg-type]
    opened = open_store(settings, HostDirectory(database))
    try:
        yield opened
    finally:
        opened.close()
        database.dispose()


def _agent(number: int, ordeal: Ordeal, collector: Collector, folder: Path) -> DeterministicAgent:
    return DeterministicAgent(f"host-{number}", collector.address, folder, interval_ms=ordeal.interval_ms)


def _accepted(agents: list[DeterministicAgent]) -> int:
    return 150 * sum(len(agent.ledger().accepted) for agent in agents)


def _kill(ordeal: Ordeal, victims: list[Process], agents: list[DeterministicAgent]) -> dict[str, int]:
    killer = Killer(victims, seed=ordeal.seed, pause_s=ordeal.pause_s, down_s=ordeal.down_s)
    killer.run(ordeal.kills)
    while _accepted(agents) < ordeal.points:
        killer.run(1)
    return dict(killer.kills)


def _drain(agents: list[DeterministicAgent]) -> float:
    """Waits for a fresh row of every agent, then for all of them to be acknowledged; how long that took."""
    started = time.monotonic()
    before = [len(agent.ledger().accepted) for agent in agents]
    wait_until(
        lambda: all(len(agent.ledger().accepted) > count for agent, count in zip(agents, before, strict=True)),
        within_s=LIVELINESS_S,
        what="a fresh row of every agent",
    )
    for agent in agents:
        agent.sample_no_more()
    wait_until(lambda: all(agent.drained for agent in agents), within_s=LIVELINESS_S, what="everything acknowledged")
    return time.monotonic() - started
