"""The embedded store's disk fills up and is healed, again and again: nothing acknowledged is lost, and it goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.conditions import wait_until_async
from tests.support.disks import SmallDisk, needs_root
from tests.support.load import Fleet, LoadSettings
from tests.support.oracle import judge, ledger_of
from tests.support.ordeal import NO_LIMITS, reopened
from tests.support.parts import Collector
from tests.support.values import host_series

SETTINGS = {**NO_LIMITS, "flush_interval": "200ms", "store_min_free_bytes": "1Mi", "retry_max": "1s"}


async def acked_more(fleet: Fleet, batches: int) -> None:
    goal = fleet.tally.batches_acked + batches
    await wait_until_async(
        lambda: fleet.tally.batches_acked >= goal, within_s=60, what=f"{batches} batches acknowledged"
    )


async def full_for_a_while(disk: SmallDisk, fleet: Fleet) -> None:
    """The disk is full until the agents have gathered a backlog; then there is room again."""
    await asyncio.to_thread(disk.fill)
    backlog = fleet.unacked + 400
    await wait_until_async(lambda: fleet.unacked >= backlog, within_s=60, what="a backlog")
    disk.heal()
    await acked_more(fleet, 400)


async def fill_again_and_again(folder: Path, cycles: int) -> None:
    with SmallDisk(folder, mebibytes=160) as disk:
        with Collector(folder, SETTINGS, data_dir=disk.path / "data") as collector:
            fleet = Fleet(
                LoadSettings(port=collector.port, agents=20, interval_s=0.1, backoff_s=0.2, max_backoff_s=1.0)
            )
            fleet.start()
            await acked_more(fleet, 100)
            for _ in range(cycles):
                await full_for_a_while(disk, fleet)
                assert collector.running
            await fleet.stop()
            collector.kill()

        with reopened(collector, {}) as store:
            verdict = await asyncio.to_thread(judge, store, [ledger_of(agent) for agent in fleet.agents], host_series())
    print(f"\n{cycles} full disks under the embedded store: {verdict}")
    assert verdict.clean, str(verdict)
    assert fleet.tally.batches_refused == 0


@needs_root
@pytest.mark.timeout(240)
async def test_three_full_disks_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    await fill_again_and_again(tmp_path, 3)


@needs_root
@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_thirty_full_disks_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    await fill_again_and_again(tmp_path, 30)
