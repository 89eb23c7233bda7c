"""The window in memory: how deep the rings of all measurements may be together, and questions they answer."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from fleetwatch_storage import reduce
from fleetwatch_storage.embedded.question import Question
from fleetwatch_storage.embedded.rows import Places
from fleetwatch_storage.embedded.series import MOST_ROWS, SeriesTable
from fleetwatch_storage.embedded.state import State
from fleetwatch_storage.frames import Frame

_LEAST_ROWS = 2


def fit(tables: Iterable[SeriesTable], budget_bytes: int) -> None:
    """Makes all rings less deep when together they take more memory than they may; the caller holds the memory lock."""
    tables = list(tables)
    used = sum(table.ring.bytes for table in tables)
    if used <= budget_bytes:
        return
    per_row = sum(table.ring.bytes / table.ring.depth for table in tables)
    depth = max(_LEAST_ROWS, min(MOST_ROWS, int(0.8 * budget_bytes / per_row)))
    for table in tables:
        if table.ring.depth > depth:
            table.ring = table.ring.deepened(depth)


def answer(state: State, question: Question) -> Frame | None:
    """The rows or steps of a question, ordered; None when memory does not hold all it needs."""
    query, table = question.query, state.series[question.measurement.id]
    with state.memory:
        every = table.in_order(question.measurement, state.names.ranking)
        series = _chosen(every, question.selection.mask)
        found = table.ring.between(series, query.start_ms, query.end_ms, reduce.first_needed_ms(query), question.known)
    if found is None:
        return None
    fields = {field.name: column for field, column in zip(question.known, found.columns, strict=True)}
    values = question.all_columns(fields, len(found.time))
    rows = table.frame(question.measurement, state.names.ranking, series[found.series], found.time, values)
    changed = reduce.transformed(rows, query.transform, query.start_ms)
    return reduce.stepped(changed, query) if query.step_ms else reduce.with_values(changed)


def _chosen(every: Places, mask: npt.NDArray[np.bool_] | None) -> Places:
    """The series a mask selects, in the order given; series that came after it was made are not among them."""
    if mask is None:
        return every
    known = every[every < len(mask)]
    return known[mask[known]]
