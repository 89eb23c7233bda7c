"""The wall clock of a host jumps while it is sampled: no row takes the place of another, none is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from fleetwatch_storage.metadata.database import open_database, sqlite_url
from fleetwatch_storage.metadata.hosts import HostDirectory

from tests.support.conditions import wait_until
from tests.support.oracle import Ledger, judge
from tests.support.ordeal import NO_LIMITS, reopened
from tests.support.parts import Collector, DeterministicAgent
from tests.support.values import host_series

OVER_AND_OVER_MS = tuple(-700 * number for number in range(6))
"""How wrong the clock is, one after the other: the same second again and again."""

FAR_MS = (-3_600_000, 0, -10_000, 300_000, -86_400_000, 290_000, -5_000, 0)
"""Hours and days back, minutes ahead; further ahead would be set aside by the collector."""


def sample_through(clock: Path, agent: DeterministicAgent, steps_ms: tuple[int, ...], *, kill: bool) -> None:
    """Thirty rows at every wrongness of the clock; `kill`: the agent dies before every second one."""
    for number, wrong_ms in enumerate(steps_ms):
        clock.write_text(str(wrong_ms))
        if kill and number % 2:
            agent.restart()
        rows = len(agent.ledger().issued) + 30
        wait_for_rows(agent, rows)


def wait_for_rows(agent: DeterministicAgent, rows: int) -> None:
    wait_until(lambda: len(agent.ledger().issued) >= rows, within_s=30, what=f"{rows} rows")


def run(folder: Path, steps_ms: tuple[int, ...], *, kill: bool, naive: bool = False) -> tuple[Ledger, Collector]:
    clock = folder / "clock"
    clock.write_text("0")
    with Collector(folder, NO_LIMITS) as collector, _agent(collector, folder, clock, naive=naive) as agent:
        sample_through(clock, agent, steps_ms, kill=kill)
        agent.sample_no_more()
        wait_until(lambda: agent.drained, within_s=60, what="everything acknowledged")
        agent.stop()
        collector.stop()
        return agent.ledger(), collector


def _agent(collector: Collector, folder: Path, clock: Path, *, naive: bool) -> DeterministicAgent:
    return DeterministicAgent(
        "jumpy",
        collector.address,
        folder,
        interval_ms=20,
        gather_ms=100,
        clock_file=clock,
        naive_stamps=naive,
    )


@pytest.mark.parametrize(
    ("steps_ms", "kill"),
    [(OVER_AND_OVER_MS, True), (FAR_MS, False)],
    ids=["the same second over and over, the agent killed between", "far"],
)
def test_no_row_overwrites_another_however_the_clock_jumps(
    tmp_path: Path, steps_ms: tuple[int, ...], kill: bool
) -> None:
    ledger, collector = run(tmp_path, steps_ms, kill=kill)

    with reopened(collector, {}) as store:
        verdict = judge(store, [ledger], host_series())
    assert not ledger.repeated
    assert len(ledger.accepted) >= 30 * len(steps_ms)
    assert verdict.clean, str(verdict)
    assert kill or "clock_step" in kinds_of_events(collector)


def kinds_of_events(collector: Collector) -> set[str]:
    database = open_database(sqlite_url(collector.data_dir))
    kinds = {event.kind for event in HostDirectory(database).events("jumpy", 0, 1 << 45)}
    database.dispose()
    return kinds


def test_with_the_wall_clock_as_it_is_rows_overwrite_each_other(tmp_path: Path) -> None:
    ledger, _ = run(tmp_path, OVER_AND_OVER_MS, kill=False, naive=True)

    assert ledger.repeated, "the negative control found nothing: the test above proves nothing"
