"""Kills processes at random moments, from a seed, and starts them again; keeps count."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence

from tests.support.processes import Process


class Killer:
    """kill -9 of one victim at a time. Every victim has its turn before one is taken twice."""

    def __init__(
        self,
        victims: Sequence[Process],
        *,
        seed: int,
        pause_s: tuple[float, float] = (0.5, 2.0),
        down_s: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        self.kills: Counter[str] = Counter()
        self._victims, self._rng = list(victims), random.Random(seed)
        self._pause_s, self._down_s = pause_s, down_s
        self._round: list[Process] = []

    def run(self, kills: int, *, enough: Callable[[], bool] = lambda: False) -> None:
        """So many kills, fewer when `enough` says so; all victims run again at the end."""
        for _ in range(kills):
            time.sleep(self._rng.uniform(*self._pause_s))
            if enough():
                return
            self.kill_one()

    def kill_one(self) -> None:
        """One victim dies, stays away for a moment and is back."""
        victim = self._next()
        victim.kill()
        self.kills[victim.name] += 1
        time.sleep(self._rng.uniform(*self._down_s))
        victim.start()

    def _next(self) -> Process:
        if not self._round:
            self._round = self._rng.sample(self._victims, len(self._victims))
        return self._round.pop()
