"""Events of hosts on their way to the database: bounded, and a host that makes too many loses its own."""

from __future__ import annotations

from collections import Counter

from fleetwatch_storage.metadata.hosts import Event

from fleetwatch_collector.metrics import Tally
from fleetwatch_collector.names import printable

MOST_PER_HOST_AND_MINUTE = 20
MOST_WAITING = 10_000


class Events:
    """Gathers events until they are taken to be recorded."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._waiting: list[Event] = []
        self._minute = 0
        self._counts: Counter[str] = Counter()

    def add(self, at_ms: int, host: str, kind: str, detail: str) -> bool:
        """An event; left out and counted when there are too many. Whether it was taken."""
        if self._minute != at_ms // 60_000:
            self._minute = at_ms // 60_000
            self._counts.clear()
        self._counts[host] += 1
        if self._counts[host] > MOST_PER_HOST_AND_MINUTE or len(self._waiting) >= MOST_WAITING:
            self._tally.events_left_out += 1
            return False
        self._waiting.append(Event(at_ms, host, kind, printable(detail, 500)))
        return True

    def take(self) -> list[Event]:
        """What waits; nothing waits afterwards."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def put_back(self, events: list[Event]) -> None:
        """Events that could not be recorded."""
        self._waiting = (events + self._waiting)[:MOST_WAITING]
