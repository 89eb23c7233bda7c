"""Live frames to whoever watches: a view of what arrives, not a promise that it is durable."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import numpy as np
from fleetwatch_storage.frames import Frame

from fleetwatch_collector.arrivals import Rows
from fleetwatch_collector.assemble import frames_of
from fleetwatch_collector.metrics import Tally
from fleetwatch_collector.processes import process_frame

_Filter = tuple[frozenset[str], frozenset[str]]


class Watcher(AsyncIterator[list[Frame]]):
    """One watcher's updates. It stops watching when it is closed or nobody holds it any more."""

    def __init__(
        self, hosts: frozenset[str], measurements: frozenset[str], fast: bool, length: int, tally: Tally
    ) -> None:
        self.hosts, self.measurements, self.fast = hosts, measurements, fast
        self.closed = False
        self._length = length
        self._tally = tally
        self._updates: deque[list[Frame]] = deque()
        self._news = asyncio.Event()

    def offer(self, frames: list[Frame]) -> None:
        """Adds an update; the oldest one is skipped when the watcher is too slow."""
        if len(self._updates) >= self._length:
            self._tally.live_skipped += len(self._updates.popleft())
        self._updates.append(frames)
        self._news.set()

    async def __anext__(self) -> list[Frame]:
        while not self._updates:
            if self.closed:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._updates.popleft()

    async def aclose(self) -> None:
        """Stops watching; a waiting reader's iteration ends. Idempotent."""
        self.close()

    def close(self) -> None:
        """As `aclose`."""
        self.closed = True
        self._news.set()


class Hub:
    """All watchers. A `LiveSource`; used on the event loop's thread only."""

    def __init__(self, length: int, tally: Tally) -> None:
        self._length = length
        self._tally = tally
        self._watchers: weakref.WeakSet[Watcher] = weakref.WeakSet()
        self.on_change: Callable[[], None] = lambda: None

    def watch(
        self, hosts: frozenset[str] = frozenset(), measurements: frozenset[str] = frozenset(), *, fast: bool = False
    ) -> Watcher:
        """Frames of these hosts and measurements (empty: all) from this call on."""
        watcher = Watcher(hosts, measurements, fast, self._length, self._tally)
        self._watchers.add(watcher)
        self.on_change()
        return watcher

    def fast_hosts(self, connected: Sequence[str], most: int) -> set[str]:
        """Hosts that fast watchers look at, at most `most`; those who watch all hosts count when all are so few."""
        found: set[str] = set()
        for watcher in self._open():
            if watcher.fast:
                found.update(watcher.hosts or (connected if len(connected) <= most else ()))
        return set(sorted(found)[:most])

    def publish(self, rows: Sequence[Rows]) -> None:
        """Offers decoded rows to everybody who watches their hosts."""
        made: dict[_Filter, list[Frame]] = {}
        for watcher in self._open():
            key = (watcher.hosts, watcher.measurements)
            if key not in made:
                made[key] = _frames(rows, *key)
            if made[key]:
                watcher.offer(made[key])

    def close(self) -> None:
        """Ends all iterations."""
        for watcher in self._open():
            watcher.close()

    def _open(self) -> list[Watcher]:
        return [watcher for watcher in self._watchers if not watcher.closed]


def _frames(rows: Iterable[Rows], hosts: frozenset[str], measurements: frozenset[str]) -> list[Frame]:
    chosen = [part for one in rows if (part := _of_hosts(one, hosts)) is not None]
    tables = process_frame([arrival for one in chosen for arrival in one.arrivals])
    frames = frames_of(chosen) + ([] if tables is None else [tables])
    return [frame for frame in frames if not measurements or frame.measurement in measurements]


def _of_hosts(rows: Rows, hosts: frozenset[str]) -> Rows | None:
    if not hosts:
        return rows
    chosen = [arrival.host in hosts for arrival in rows.arrivals]
    if not any(chosen):
        return None
    keep = np.repeat(np.array(chosen), np.array(rows.counts))
    return Rows(
        rows.layout,
        rows.values[keep],
        rows.time[keep],
        [arrival for arrival, yes in zip(rows.arrivals, chosen, strict=True) if yes],
        [count for count, yes in zip(rows.counts, chosen, strict=True) if yes],
        rows.gaps,
    )
