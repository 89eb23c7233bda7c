"""Agents older and newer than the collector: the older are served, the newer are told in words and lose nothing."""

from __future__ import annotations

from pathlib import Path

from fleetwatch_proto import PROTOCOL

from tests.support.conditions import wait_until_async
from tests.support.load import Fleet, LoadSettings
from tests.support.parts import Collector


async def test_an_older_agent_is_served(tmp_path: Path) -> None:
    with Collector(tmp_path) as collector:
        fleet = Fleet(LoadSettings(port=collector.port, agents=1, protocol=PROTOCOL - 1, interval_s=0.1, batches=5))

        fleet.start()
        await fleet.all_acked(within_s=30)
        await fleet.stop()

    assert fleet.tally.points_acked == 5 * 150


async def test_a_newer_agent_is_told_so_in_words_and_keeps_everything(tmp_path: Path) -> None:
    with Collector(tmp_path) as collector:
        settings = LoadSettings(port=collector.port, agents=1, protocol=PROTOCOL + 1, interval_s=0.1, batches=5)
        fleet = Fleet(settings)

        fleet.start()
        await wait_until_async(lambda: fleet.tally.connects >= 2 and fleet.agents[0].exhausted, within_s=30)
        await fleet.stop()

    (reason,) = fleet.tally.closed
    assert f"the agent speaks protocol {PROTOCOL + 1}, this collector up to {PROTOCOL}: upgrade the collector" in reason
    assert fleet.unacked == 5
