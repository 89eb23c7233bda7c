"""Which batch is sent next: fresh ones first, history beside them. Pure."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence

LIVE_BATCHES = 30
"""How many of the newest batches that wait at the start of a stream are fresh enough for the first lane: 5 minutes at
10 s, the windows that most alert rules look at."""

LIVE_TURNS = 3
_PAGE = 256


class Lanes:
    """Hands out each waiting batch once; a batch that has to be sent again comes back through `again`.

    The live lane goes newest first, the backfill lane oldest first; where both have something, they take turns three to
    one. `after(seq, limit)` tells the waiting batches greater than seq, rising.
    """

    def __init__(self, latest: Sequence[int], after: Callable[[int, int], list[int]]) -> None:
        fresh = sorted(latest)[-LIVE_BATCHES:]
        self._live = fresh
        self._newest = fresh[-1] if fresh else 0
        self._backfill_until = fresh[0] if fresh else 0
        self._backfill: deque[int] = deque()
        self._backfill_from = 0
        self._after = after
        self._again: list[tuple[float, int]] = []
        self._turn = 0

    def refresh(self) -> None:
        """Takes in batches that were closed since."""
        while found := self._after(self._newest, _PAGE):
            self._live += found
            self._newest = found[-1]

    def again(self, seq: int, at_s: float) -> None:
        """Hands a batch out once more, not before `at_s`."""
        heapq.heappush(self._again, (at_s, seq))

    def next_due_s(self) -> float | None:
        """When a batch that was put off may be sent; None when there is none."""
        return self._again[0][0] if self._again else None

    def take(self, now_s: float) -> tuple[int, bool] | None:
        """The next batch and whether it is history; None when nothing is due."""
        if self._again and self._again[0][0] <= now_s:
            seq = heapq.heappop(self._again)[1]
            return seq, seq < self._backfill_until
        history = self._history()
        if self._live and (not history or self._turn < LIVE_TURNS):
            self._turn += 1
            return self._live.pop(), False
        self._turn = 0
        return (self._backfill.popleft(), True) if history else None

    def _history(self) -> bool:
        if not self._backfill and self._backfill_from < self._backfill_until - 1:
            found = [seq for seq in self._after(self._backfill_from, _PAGE) if seq < self._backfill_until]
            self._backfill.extend(found)
            self._backfill_from = found[-1] if found else self._backfill_until
        return bool(self._backfill)
