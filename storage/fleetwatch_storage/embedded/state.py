"""What readers, writer and sealing share in memory."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from fleetwatch_storage.embedded.layout import Layout
from fleetwatch_storage.embedded.names import Names
from fleetwatch_storage.embedded.series import SeriesTable


@dataclass(slots=True)
class State:
    """Changed only by the holder of `lock`. Readers need no lock for names and layout, `memory` for last rows.

    `frozen` names hot tables that are being sealed: they take no more rows. `touched_ms` is when an hour was last
    written to, by (measurement, hour). `epoch` counts how often all this was
    read from the database: files written in an earlier one may have been removed since, as left from a crash.
    """

    names: Names
    layout: Layout
    series: dict[int, SeriesTable]
    lock: threading.RLock = field(default_factory=threading.RLock)
    memory: threading.Lock = field(default_factory=threading.Lock)
    frozen: set[str] = field(default_factory=set)
    touched_ms: dict[tuple[int, int], int] = field(default_factory=dict)
    points: int = 0
    generation: int = 0
    epoch: int = 0

    def next_generation(self) -> int:
        """A number no sealed file has yet; only the sealing thread takes one."""
        self.generation += 1
        return self.generation
