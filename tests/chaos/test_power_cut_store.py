"""The embedded store under power cuts: what was acknowledged is in the store that is left, unchanged."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.support.conditions import wait_until_async
from tests.support.disks import PowerDisk, needs_root
from tests.support.load import Fleet, LoadSettings
from tests.support.oracle import Verdict, judge, ledger_of
from tests.support.ordeal import HASTY, NO_LIMITS, reopened
from tests.support.parts import Collector
from tests.support.values import host_series

SETTINGS = {**NO_LIMITS, "flush_interval": "200ms", "store_min_free_bytes": "1Mi", "store_maintenance_s": "2s"}
STEP_S = 60.0
"""Data time runs fast, so that hours end, are sealed and rolled up between the cuts."""


async def cut_again_and_again(folder: Path, cuts: int, program: tuple[str, ...] = ()) -> Verdict:
    """The last verdict, or the first one that is not clean, over so many power cuts of one collector and its store."""
    with PowerDisk(folder, mebibytes=512) as disk:
        collector = Collector(folder, SETTINGS, data_dir=disk.path / "data", program=program)
        fleet = Fleet(
            LoadSettings(
                port=collector.port,
                agents=4,
                interval_s=STEP_S,
                flood=True,
                start_ms=time.time_ns() // 1_000_000 - 3 * 86_400_000,
                backoff_s=0.2,
                max_backoff_s=0.5,
            )
        )
        verdict = Verdict()
        fleet.start()
        try:
            for cut in range(cuts):
                await asyncio.to_thread(collector.start)
                await acknowledged(fleet, fleet.tally.batches_acked + 200 + 61 * cut % 400)
                await asyncio.to_thread(disk.cut, collector)
                verdict = await asyncio.to_thread(_verdict, collector, fleet)
                if not verdict.clean:
                    break
        finally:
            collector.close()
            await fleet.stop()
        return verdict


async def acknowledged(fleet: Fleet, batches: int) -> None:
    await wait_until_async(lambda: fleet.tally.batches_acked >= batches, within_s=60, what=f"{batches} acknowledged")


def _verdict(collector: Collector, fleet: Fleet) -> Verdict:
    ledgers = [ledger_of(agent) for agent in fleet.agents]
    with reopened(collector, {}) as store:
        return judge(store, ledgers, host_series())


@needs_root
@pytest.mark.timeout(300)
async def test_five_power_cuts_lose_no_acknowledged_point(tmp_path: Path) -> None:
    verdict = await cut_again_and_again(tmp_path, 5)

    assert verdict.clean, str(verdict)
    assert verdict.accepted > 50_000


@needs_root
@pytest.mark.timeout(300)
async def test_a_collector_that_acknowledges_before_it_commits_is_found_out(tmp_path: Path) -> None:
    verdict = await cut_again_and_again(tmp_path, 3, HASTY)

    assert verdict.lost > 0, f"the negative control found nothing: {verdict}"


@needs_root
@pytest.mark.long
@pytest.mark.timeout(7200)
async def test_two_hundred_power_cuts_lose_no_acknowledged_point(tmp_path: Path) -> None:
    accepted = 0
    for store in range(10):
        verdict = await cut_again_and_again(tmp_path / str(store), 20)
        assert verdict.clean, str(verdict)
        accepted += verdict.accepted

    print(f"\n200 power cuts under embedded stores: {accepted:,} points acknowledged, 0 lost")
