"""Parts of the line go away and come back: nothing is missing afterwards, and everybody is back."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np
import pytest
from fleetwatch_storage.errors import StorageError
from fleetwatch_storage.frames import Times
from fleetwatch_storage.query import Matcher, Op, Query
from fleetwatch_storage.store import StoreReader

from tests.support.conditions import wait_until
from tests.support.influxd import Influxd, needs_influxd
from tests.support.load import Fleet, LoadSettings
from tests.support.oracle import judge, ledger_of
from tests.support.ordeal import NO_LIMITS, reopened
from tests.support.parts import Agent, Collector, remote
from tests.support.values import host_series

LONGEST_GAP_MS = 2_500
"""Between samples that are taken every second: a second, and what a busy machine adds; outages here are longer."""
OUTAGE_S = 3.5


def times(store: StoreReader, host: str) -> Times:
    """When the samples of a host were taken, of the last hour."""
    now_ms = time.time_ns() // 1_000_000
    where = (Matcher("host", Op.EQ, host),)
    return store.read(Query("system", ("uptime",), now_ms - 3_600_000, now_ms + 60_000, where=where)).time


def stored_after(collector: Collector, agent: Agent, time_ms: int) -> None:
    """Waits until a sample later than that is stored."""

    def newest_ms() -> int:
        try:
            found = times(store, agent.host)
        except StorageError:
            return 0
        return int(found[-1]) if len(found) else 0

    with remote(collector.address) as store:
        wait_until(lambda: newest_ms() > time_ms, within_s=60, every_s=0.2, what="fresh samples")


def outage(agent: Agent) -> int:
    """Lets a while pass in which the agent has only its spool; the time after it, unix milliseconds."""
    end = time.monotonic() + OUTAGE_S
    wait_until(lambda: time.monotonic() > end, within_s=2 * OUTAGE_S, what="the outage")
    assert agent.running
    return time.time_ns() // 1_000_000


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_a_collector_that_is_away_leaves_no_gap(tmp_path: Path, how: str) -> None:
    with Collector(tmp_path) as collector, Agent(collector.address, tmp_path) as agent:
        stored_after(collector, agent, 0)
        collector.kill() if how == "killed" else collector.freeze()
        back_ms = outage(agent)
        collector.start() if how == "killed" else collector.thaw()
        stored_after(collector, agent, back_ms)
        agent.stop()
        collector.stop()

    with reopened(collector, {}) as store:
        found = times(store, agent.host)
    assert len(found) > OUTAGE_S
    assert int(np.diff(found).max()) <= LONGEST_GAP_MS


@needs_influxd
def test_influxd_away_and_the_agent_killed_meanwhile_leaves_no_gap_but_its_restart(tmp_path: Path) -> None:
    with Influxd(tmp_path / "influx") as influxd:
        store = {"store": "influx", "influx_url": influxd.url}
        with Collector(tmp_path, store) as collector, Agent(collector.address, tmp_path) as agent:
            stored_after(collector, agent, 0)
            influxd.kill()
            killed_ms = outage(agent)
            agent.restart()
            started_ms = outage(agent)
            influxd.start()
            stored_after(collector, agent, started_ms)
            agent.stop()
            collector.stop()

        with reopened(collector, store) as reader:
            found = times(reader, agent.host)
    gaps = np.diff(found)
    at_the_kill = int(np.searchsorted(found, killed_ms)) - 1
    assert len(found) > 2 * OUTAGE_S
    assert int(np.delete(gaps, at_the_kill).max()) <= LONGEST_GAP_MS
    assert int(gaps[at_the_kill]) <= 10_000, "the agent was back at work within ten seconds"


@pytest.mark.timeout(180)
async def test_a_hundred_agents_are_back_after_a_kill_of_the_collector_and_lose_nothing(tmp_path: Path) -> None:
    with Collector(tmp_path, NO_LIMITS) as collector:
        fleet = Fleet(LoadSettings(port=collector.port, agents=100, interval_s=0.5, batches=20, max_backoff_s=2.0))
        fleet.start()
        await fleet.all_connected()

        await asyncio.to_thread(collector.restart)
        await fleet.all_connected(within_s=60)
        await fleet.all_acked(within_s=60)
        await fleet.stop()
        collector.kill()

    with reopened(collector, {}) as store:
        verdict = judge(store, [ledger_of(agent) for agent in fleet.agents], host_series())
    assert verdict.clean, str(verdict)
    assert verdict.accepted == 100 * 20 * 150
    assert fleet.tally.connects >= 200


async def test_a_collector_that_is_stopped_sends_its_agents_away_in_order(tmp_path: Path) -> None:
    with Collector(tmp_path) as collector:
        fleet = Fleet(LoadSettings(port=collector.port, agents=20, interval_s=0.5, batches=12, max_backoff_s=1.0))
        fleet.start()
        await fleet.all_connected()

        code = await asyncio.to_thread(collector.stop)
        await asyncio.to_thread(collector.start)
        await fleet.all_acked(within_s=60)
        await fleet.stop()

    assert code == 0
    assert fleet.tally.closed["asked to leave"] == 20
