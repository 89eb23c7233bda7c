"""Rates and budgets: how much one agent, and all of them together, may send."""

from __future__ import annotations

import asyncio
from collections import deque


class Allowance:
    """Tokens that refill at a steady rate up to a burst; may be overdrawn once, and is then waited for."""

    __slots__ = ("_at_s", "_burst", "_level", "_rate")

    def __init__(self, rate_per_s: float, burst: float, now_s: float) -> None:
        self._rate = rate_per_s
        self._burst = burst
        self._level = burst
        self._at_s = now_s

    def spend(self, amount: float, now_s: float) -> None:
        """Takes tokens, also more than are there."""
        self._refill(now_s)
        self._level -= amount

    def wait_s(self, now_s: float) -> float:
        """Seconds until the debt is paid; 0 when there is none."""
        self._refill(now_s)
        if self._level >= 0:
            return 0.0
        return -self._level / self._rate if self._rate else 3600.0

    @property
    def level(self) -> float:
        """Tokens left when last looked at; negative: debt."""
        return self._level

    def _refill(self, now_s: float) -> None:
        level = self._level + (now_s - self._at_s) * self._rate
        self._level = level if level < self._burst else self._burst
        self._at_s = now_s


class Budget:
    """Bytes received and not yet durable, over all streams. Used on the event loop's thread only.

    Readers that find no room are woken first come, first served.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.used = 0

    @property
    def full(self) -> bool:
        """Whether reading must stop."""
        return self.used >= self._limit

    def take(self, size: int) -> None:
        """Counts bytes in; the one message that was being read may exceed the limit."""
        self.used += size

    def give_back(self, size: int) -> None:
        """Counts bytes out, and lets as many readers go on as there is room for."""
        self.used -= size
        while self._waiting and not self.full:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)

    async def room(self) -> None:
        """Waits until reading may go on."""
        while self.full:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter
