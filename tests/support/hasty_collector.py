"""The negative control: `fleetwatch collector` with one guard taken out. It acknowledges before it commits."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

from fleetwatch.main import run
from fleetwatch_collector import acknowledging

LATE_S = 0.5


async def acknowledge_before_commit(
    commit: Callable[[], Awaitable[None]], commit_lag_s: float, acknowledge: Callable[[], None]
) -> None:
    """Promises first, and takes its time to keep it, so that a kill finds promises not yet kept."""
    acknowledge()
    await asyncio.sleep(LATE_S)
    await commit()


if __name__ == "__main__":
    acknowledging.acknowledge_after_commit = acknowledge_before_commit
    sys.exit(run(["collector", *sys.argv[1:]]))
