"""When the next sample is due: pure functions of time."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

SHORTEST_MS = 1000
LONGEST_MS = 3_600_000


def phase_ms(host: str, interval_ms: int) -> int:
    """Where within the interval a host samples: spread by its name, so that a fleet does not report all at once."""
    return zlib.crc32(host.encode()) % interval_ms


def next_tick(now_ms: int, interval_ms: int, phase: int) -> int:
    """The first time after `now_ms` that is `phase` modulo the interval: never drifts, leaves missed ticks out."""
    return now_ms + interval_ms - (now_ms - phase) % interval_ms


@dataclass(frozen=True, slots=True)
class Pace:
    """How often to sample: the setting, and what a collector asks for until some time (0: nothing is asked)."""

    base_ms: int
    asked_ms: int = 0
    each_row: bool = False
    until_ms: int = 0

    def ask(self, now_ms: int, interval_ms: int, each_row: bool, for_s: int) -> Pace:
        """The pace after a collector's wish, within bounds; 0 milliseconds keep the setting, 0 seconds end the wish."""
        asked = min(max(interval_ms, SHORTEST_MS), LONGEST_MS) if interval_ms else self.base_ms
        return Pace(self.base_ms, asked, each_row, now_ms + 1000 * min(for_s, 86_400) if for_s else 0)

    def interval_ms(self, now_ms: int) -> int:
        """The interval in force."""
        return self.asked_ms if now_ms < self.until_ms else self.base_ms

    def ships_each(self, now_ms: int) -> bool:
        """Whether every row is to be sent as it is read."""
        return self.each_row and now_ms < self.until_ms
