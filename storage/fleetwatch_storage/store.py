"""The seam: what every store promises.

Calls block; servers make them in worker threads. Every method may be called from several threads at once, except that
one thread writes at a time. Frames passed in are not kept or changed after the call returns.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fleetwatch_storage.frames import Frame, TagSet
from fleetwatch_storage.hosts import Host
from fleetwatch_storage.query import Matcher, Query

Progress = Callable[[int, int], None]
"""Called with (done, total) of some unit during long work."""


@dataclass(frozen=True, slots=True)
class SeriesKey:
    """A known series: where it is, and the fields its measurement has had, by name; it may lack some of them."""

    measurement: str
    host: str
    tags: TagSet
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the store can read and write now; `detail` says in words what is wrong, and what to do about it."""

    ready: bool
    writable: bool
    engine: str
    detail: str = ""


class StoreReader(Protocol):
    """What the alert manager and the dashboard need."""

    def read(self, query: Query) -> Frame:
        """The answer, ordered by host, tag set, time.

        Raises:
            QueryFailed: the question is wrong or asks for too much.
            StoreUnavailable: try again later.
        """

    def latest(self, measurements: Sequence[str] = ()) -> list[Frame]:
        """The last row of every series of these measurements (all when empty), from memory where the engine can.

        A series whose last row is older than an hour is left out.
        """

    def series(self, measurement: str = "", where: Sequence[Matcher] = ()) -> list[SeriesKey]:
        """Known series, ordered by measurement, host, tags."""

    def hosts(self) -> list[Host]:
        """Known hosts with their tags and facts, by name."""

    def health(self) -> Health:
        """Never raises; answers within seconds."""

    def close(self) -> None:
        """Flushes and releases everything; idempotent."""


class Store(StoreReader, Protocol):
    """A store that can also be written to."""

    commit_lag_s: float
    """Seconds from the return of `write` until the rows survive a power cut; 0 where return means durable."""

    def write(self, frames: Sequence[Frame]) -> None:
        """Stores all rows of all frames in one commit; returns when durable (see `commit_lag_s`).

        A row with the host, tag set and time of a stored one is merged into it, its present fields winning: writing the
        same twice changes nothing.

        Raises:
            StoreUnavailable: nothing is promised; the same frames may be written again.
            WriteRejected: some rows were refused for good (a field that was a number is text now, a limit), all others
                are durable.
        """


class LiveSource(Protocol):
    """Frames as they arrive, before they are durable: a view for whoever watches."""

    def watch(
        self, hosts: frozenset[str] = frozenset(), measurements: frozenset[str] = frozenset(), *, fast: bool = False
    ) -> AsyncIterator[list[Frame]]:
        """Frames of these hosts and measurements (empty: all) from now on.

        A watcher that is too slow misses frames, never delays others. `fast` asks the hosts' agents for one-second rows
        as long as the iterator is open.
        """
