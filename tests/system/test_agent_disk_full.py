"""The spool on a disk that really is full: a small tmpfs, filled, healed, several times."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleetwatch_agent.spool import Limits, Spool

from tests.support.agent_samples import SCHEMA, WIDTH, append, numbers, waiting

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "disk"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(mount)], check=True)
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def fill(disk: Path) -> Path:
    """Somebody else takes every byte that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(65536))
        except OSError:
            pass
        try:
            while True:
                file.write(bytes(64))
        except OSError:
            pass
    return filler


class Account:
    """What was appended, and what became of it."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.issued = 0

    def append(self, count: int) -> None:
        for _ in range(count):
            append(self.spool, self.issued)
            self.issued += 1

    def held(self) -> list[int]:
        return sorted(number for batch in waiting(self.spool) for number in numbers(batch))

    def lost_points(self) -> int:
        return sum(one.points for _, one in self.spool.lost(1_000_000))


def test_a_full_disk_loses_exactly_what_is_reported_and_heals_by_itself(small_disk: Path) -> None:
    now = [0.0]
    spool = Spool(small_disk / "state", Limits(1 << 26), 1 << 18, clock=lambda: now[0])
    spool.put_schema(SCHEMA, b"schema")
    account = Account(spool)
    modes = []
    for _ in range(3):
        account.append(500)
        filler = fill(small_disk)
        account.append(3000)
        modes.append(spool.figures().durable)
        filler.unlink()
        now[0] += 31
        account.append(10)
        modes.append(spool.figures().durable)

    held = account.held()
    assert len(held) == len(set(held))
    assert len(held) * WIDTH + account.lost_points() == account.issued * WIDTH, "reported lost is really lost"
    assert held[-10:] == list(range(account.issued - 10, account.issued))
    assert modes[1::2] == [True, True, True], "it comes back to disk"
    spool.close()

    again = Spool(small_disk / "state", Limits(1 << 26), 1 << 18)
    assert Account(again).held() == held


def test_without_counting_the_account_would_not_balance(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of the account."""
    monkeypatch.setattr("fleetwatch_agent.spool.overflow.record", lambda db, lost: None)
    spool = Spool(small_disk / "state", Limits(1 << 26), 1 << 18)
    spool.put_schema(SCHEMA, b"schema")
    account = Account(spool)
    account.append(500)
    fill(small_disk)

    account.append(3000)

    assert len(account.held()) * WIDTH + account.lost_points() < account.issued * WIDTH


def test_a_read_only_disk_means_memory_and_back(small_disk: Path) -> None:
    now = [0.0]
    spool = Spool(small_disk / "state", Limits(1 << 26), 1 << 20, clock=lambda: now[0])
    spool.put_schema(SCHEMA, b"schema")
    account = Account(spool)
    account.append(5)
    spool.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    spool = account.spool = Spool(small_disk / "state", Limits(1 << 26), 1 << 20, clock=lambda: now[0])
    spool.put_schema(SCHEMA, b"schema")
    account.append(5)
    in_memory = not spool.figures().durable
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    now[0] += 31
    account.append(1)

    assert in_memory
    assert spool.figures().durable
    assert account.held() == list(range(11))
    spool.close()
