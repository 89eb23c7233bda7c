"""The agent's disk fills up and is healed, again and again: what it reports as lost is what is missing, exactly."""

from __future__ import annotations

from pathlib import Path

import pytest
from fleetwatch_storage.metadata.database import open_database, sqlite_url
from fleetwatch_storage.metadata.hosts import HostDirectory

from tests.support.conditions import wait_until
from tests.support.disks import SmallDisk, needs_root
from tests.support.oracle import Ledger, judge
from tests.support.ordeal import NO_LIMITS, reopened
from tests.support.parts import Collector, DeterministicAgent
from tests.support.values import host_series

POINTS_PER_ROW = 150
FOR_EVER_MS = 1 << 45


def reported_lost(collector: Collector, host: str) -> int:
    """Points that the collector was told are lost."""
    database = open_database(sqlite_url(collector.data_dir))
    events = HostDirectory(database).events(host, 0, FOR_EVER_MS, limit=1_000_000)
    database.dispose()
    texts = [event.detail for event in events if event.kind == "points_lost"]
    return sum(int(text.split()[0]) for text in texts)


def missing_rows(collector: Collector, ledger: Ledger) -> set[int]:
    """Times of issued rows that are not stored; asserts that what is stored is right."""
    all_wanted = Ledger(ledger.host, ledger.spool, ledger.issued, set(ledger.issued))
    with reopened(collector, {}) as store:
        verdict = judge(store, [all_wanted], host_series())
    assert not (verdict.invented or verdict.doubled or verdict.altered), str(verdict)
    return verdict.lost_rows[ledger.host]


def fill_and_heal(disk: SmallDisk, agent: DeterministicAgent) -> None:
    """The disk is full for three hundred rows, then has room for as many."""
    disk.fill()
    sampled(agent, 300)
    disk.heal()
    sampled(agent, 300)


def sampled(agent: DeterministicAgent, rows: int) -> None:
    goal = len(agent.ledger().issued) + rows
    wait_until(lambda: len(agent.ledger().issued) >= goal, within_s=60, what=f"{rows} rows sampled")


def run(folder: Path, cycles: int) -> tuple[int, int, int]:
    """Points issued, missing from the store, and reported as lost."""
    collector = Collector(folder, NO_LIMITS)
    with SmallDisk(folder, mebibytes=24) as disk:
        agent = DeterministicAgent(
            "narrow",
            collector.address,
            folder,
            state_dir=disk.path / "state",
            interval_ms=5,
            gather_ms=40,
            memory_bytes=300_000,
        )
        with agent:
            for _ in range(cycles):
                fill_and_heal(disk, agent)
            agent.sample_no_more()
            with collector:
                wait_until(lambda: agent.drained, within_s=60, what="what is left acknowledged")
                agent.stop()
                collector.stop()
        ledger = agent.ledger()
    missing = missing_rows(collector, ledger)
    return POINTS_PER_ROW * len(ledger.issued), POINTS_PER_ROW * len(missing), reported_lost(collector, "narrow")


@needs_root
@pytest.mark.timeout(180)
def test_three_full_disks_lose_exactly_what_is_reported(tmp_path: Path) -> None:
    issued, missing, reported = run(tmp_path, 3)

    assert issued > 200_000
    assert missing == reported


@needs_root
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_thirty_full_disks_lose_exactly_what_is_reported(tmp_path: Path) -> None:
    issued, missing, reported = run(tmp_path, 30)

    print(f"\n{issued:,} points issued, {missing:,} missing, {reported:,} reported lost")
    assert missing == reported
