"""What memory lost while the disk was unusable gets numbers of the disk's spool, so that it is told exactly once."""

from __future__ import annotations

from pathlib import Path

from fleetwatch_agent.samples import Lost
from fleetwatch_agent.spool.file import Limits, SpoolFile
from fleetwatch_agent.stamps import Stamps


def test_adopted_losses_are_numbered_and_no_number_is_used_again(tmp_path: Path) -> None:
    spool = SpoolFile(tmp_path / "spool.db", Limits(1 << 24))

    spool.adopt([], [Lost(0, 0, 300, "memory"), Lost(0, 0, 150, "corrupt")], {}, Stamps())

    assert [one for _, one in spool.lost(10)] == [Lost(1, 1, 300, "memory"), Lost(2, 2, 150, "corrupt")]
    assert spool.figures().lost_points == 450
    assert spool.next_seq == 3
    spool.close()
