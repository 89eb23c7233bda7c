"""When a batch may be acknowledged. The promise of the whole system is this one function."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def acknowledge_after_commit(
    commit: Callable[[], Awaitable[None]], commit_lag_s: float, acknowledge: Callable[[], None]
) -> None:
    """Acknowledges once `commit` has returned and the store's commit lag has passed; not at all when it raises.

    The lag is waited for beside the next commits. Chaos tests replace this function to show that they notice an
    acknowledgement that comes too early; nothing else may.
    """
    await commit()
    if commit_lag_s > 0:
        asyncio.get_running_loop().call_later(commit_lag_s, acknowledge)
    else:
        acknowledge()
