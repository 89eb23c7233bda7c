"""Rows from the far future: a host whose clock is wrong must not write where nobody looks for years."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from fleetwatch_storage.errors import RejectedRow

from fleetwatch_collector.arrivals import Rows
from fleetwatch_collector.assemble import frames_of
from fleetwatch_collector.quarantine import rows_of


def take_out(rows: Rows, latest_ms: int) -> tuple[Rows, list[RejectedRow]]:
    """`rows` without those later than `latest_ms`, and these as text with the reason.

    Batches keep their place, with fewer rows or none, so that they are acknowledged with the others.
    """
    if not any(arrival.in_future for arrival in rows.arrivals):
        return rows, []
    late = rows.time > latest_ms
    reason = f"later than the collector's clock by more than allowed (limit was {latest_ms} unix ms)"
    aside = [row for frame in frames_of([_chosen(rows, late)]) for row in rows_of(frame, reason)]
    return _chosen(rows, ~late), aside


def _chosen(rows: Rows, keep: npt.NDArray[np.bool_]) -> Rows:
    owner = np.repeat(np.arange(len(rows.arrivals)), np.array(rows.counts))
    counts: Sequence[int] = np.bincount(owner[keep], minlength=len(rows.arrivals)).tolist()
    return Rows(rows.layout, rows.values[keep], rows.time[keep], rows.arrivals, counts, rows.gaps)
