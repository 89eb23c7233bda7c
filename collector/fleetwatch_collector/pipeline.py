"""What becomes of decoded rows: watchers see them at once, the batcher commits them, the far future is set aside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fleetwatch_collector.arrivals import Rows
from fleetwatch_collector.batcher import Batcher
from fleetwatch_collector.clock import now_ms
from fleetwatch_collector.future import take_out
from fleetwatch_collector.live import Hub
from fleetwatch_collector.metrics import Tally
from fleetwatch_collector.presence import Presence


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The way of rows after decoding."""

    hub: Hub
    batcher: Batcher
    presence: Presence
    tally: Tally
    max_future_ms: float

    def decoded(self, decoded: list[Rows]) -> None:
        """Takes the rows of one turn."""
        at_ms = now_ms()
        present = []
        for rows in decoded:
            if rows.gaps:
                self.tally.dropped_values += int(np.count_nonzero(np.isnan(rows.values)))
            now, aside = take_out(rows, at_ms + int(self.max_future_ms))
            if aside:
                self._tell(rows, len(aside), at_ms)
            self.batcher.add(now, aside)
            present.append(now)
        self.hub.publish(present)

    def _tell(self, rows: Rows, count: int, at_ms: int) -> None:
        for host in {arrival.host for arrival in rows.arrivals if arrival.in_future}:
            self.presence.quarantined(host, "samples from the far future: check the host's clock", count, at_ms)
