"""Random kill -9 of agents and collector over the embedded store: nothing lost, doubled or altered."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ordeal import HASTY, Ordeal, undergo


@pytest.mark.timeout(300)
def test_fifty_thousand_points_survive_kills_of_agents_and_collector(tmp_path: Path) -> None:
    outcome = undergo(Ordeal(points=50_000, kills=16), tmp_path)

    assert outcome.verdict.clean, str(outcome)
    assert outcome.kills["collector"] >= 4


@pytest.mark.timeout(300)
def test_a_collector_that_acknowledges_before_it_commits_is_found_out(tmp_path: Path) -> None:
    outcome = undergo(Ordeal(points=1, kills=4, agents=1, interval_ms=50, program=HASTY), tmp_path)

    assert outcome.verdict.lost > 0, f"the negative control found nothing: {outcome}"


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_million_points_survive_thirty_kills(tmp_path: Path) -> None:
    outcome = undergo(Ordeal(points=1_000_000, kills=30, agents=8, interval_ms=100, pause_s=(1, 4)), tmp_path)

    print(f"\n{outcome}")
    assert outcome.verdict.clean, str(outcome)
    assert outcome.verdict.accepted >= 1_000_000
