"""The spool under power cuts: what it accepted is on the disk that is left, unchanged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fleetwatch_agent import wire
from fleetwatch_agent.spool import Limits, Spool

from tests.support.conditions import wait_until
from tests.support.deterministic_agent import SPOOL_KEY
from tests.support.disks import PowerDisk, needs_root
from tests.support.oracle import Ledger
from tests.support.parts import DeterministicAgent
from tests.support.processes import free_port
from tests.support.values import HostValues, host_series

VALUES = HostValues(host_series())


def spooled(folder: Path) -> dict[int, list[float]]:
    """Every row in the spool, by time."""
    spool = Spool(folder, Limits(256 << 20), 1 << 20)
    assert not spool.trouble, spool.trouble
    spool.flush()
    found: dict[int, list[float]] = {}
    for seq in spool.after(0, 1_000_000):
        batch = spool.get(seq)
        assert batch is not None, f"batch {seq} is damaged"
        rows = wire.rows_of(batch.columns, batch.rows)
        times = [batch.t0_ms + offset for offset in batch.offsets_ms]
        assert not found.keys() & set(times), f"batch {seq} repeats a row"
        found |= {time: row.tolist() for time, row in zip(times, rows, strict=True)}
    spool.close()
    return found


def lost_rows(ledger: Ledger, found: dict[int, list[float]]) -> set[int]:
    """Accepted rows that are not there; asserts that nothing else and nothing altered is."""
    assert found.keys() <= ledger.issued.keys(), "the spool holds rows that were never issued"
    times = sorted(found)
    ticks = np.array([ledger.issued[time] for time in times], np.int64)
    assert [found[time] for time in times] == VALUES.ticks(ledger.host, SPOOL_KEY, ticks).tolist()
    return ledger.accepted - found.keys()


def wait_for_rows(agent: DeterministicAgent, rows: int) -> None:
    wait_until(lambda: len(agent.ledger().accepted) > rows, within_s=30, what=f"{rows} rows spooled")


def cut_again_and_again(folder: Path, cuts: int, synchronous: str) -> tuple[int, int]:
    """Rows accepted and rows lost over so many power cuts of one agent that no collector answers."""
    with PowerDisk(folder) as disk:
        agent = DeterministicAgent(
            "spooler",
            f"127.0.0.1:{free_port()}",
            folder,
            state_dir=disk.path / "state",
            interval_ms=2,
            gather_ms=20,
            synchronous=synchronous,
        )
        lost: set[int] = set()
        for cut in range(cuts):
            agent.start()
            wait_for_rows(agent, len(agent.ledger().accepted) + 40 + 37 * cut % 100)
            disk.cut(agent)
            lost |= lost_rows(agent.ledger(), spooled(agent.state_dir))
        return len(agent.ledger().accepted), len(lost)


@needs_root
def test_five_power_cuts_lose_no_accepted_row(tmp_path: Path) -> None:
    accepted, lost = cut_again_and_again(tmp_path, 5, "FULL")

    assert accepted > 200
    assert lost == 0


@needs_root
def test_without_fsync_on_commit_the_same_cuts_lose_rows(tmp_path: Path) -> None:
    _, lost = cut_again_and_again(tmp_path, 5, "NORMAL")

    assert lost > 0, "the negative control found nothing: the test above proves nothing"


@needs_root
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_two_hundred_power_cuts_lose_no_accepted_row(tmp_path: Path) -> None:
    accepted = lost = 0
    for spool in range(10):
        found = cut_again_and_again(tmp_path / str(spool), 20, "FULL")
        accepted, lost = accepted + found[0], lost + found[1]

    print(f"\n200 power cuts under spools: {accepted:,} rows accepted, {lost:,} lost")
    assert accepted > 10_000
    assert lost == 0
