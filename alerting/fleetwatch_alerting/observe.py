"""What a rule sees: one question to the store for all hosts, answered as columns."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from fleetwatch_proto import catalog
from fleetwatch_storage.frames import Frame, Numbers
from fleetwatch_storage.query import Matcher, Op, Query, Transform

from fleetwatch_alerting.alert import Labels
from fleetwatch_alerting.rules.schema import Comparison, Guard, Rule

Read = Callable[[Query], Frame]

CUSTOM_LOOKBACK_MS = 300_000
_SHORTEST_LOOKBACK_MS = 60_000


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """The values of a rule at one evaluation: `values` (n,), one per row of `frame`, which tells their labels."""

    frame: Frame
    values: Numbers
    group_by: tuple[str, ...] | None

    def labels(self, row: int) -> Labels:
        """The group labels of a row."""
        pairs = list(self.frame.tagsets[int(self.frame.tagset[row])])
        if host := self.frame.hosts[int(self.frame.host[row])]:
            pairs.append(("host", host))
        wanted = self.group_by
        return tuple(sorted(pair for pair in pairs if pair[1] and (wanted is None or pair[0] in wanted)))

    def rows_of(self, groups: Iterable[Labels]) -> dict[Labels, int]:
        """The rows of these groups, as far as they are there; looks only at rows of their hosts."""
        wanted = set(groups)
        return {labels: row for row in self._rows_near(wanted) if (labels := self.labels(row)) in wanted}

    def _rows_near(self, groups: set[Labels]) -> Iterator[int]:
        if not groups or not len(self.frame):
            return
        if len(self.frame.hosts) == 1:
            yield from range(len(self.frame))
            return
        names = {value for labels in groups for name, value in labels if name == "host"}
        codes = [code for code, name in enumerate(self.frame.hosts) if name in names]
        yield from np.flatnonzero(np.isin(self.frame.host, codes)).tolist()


def look(rule: Rule, read: Read, t: int, interval_ms: int) -> Sight:
    """What the rule sees at `t`.

    Raises:
        QueryFailed, StoreUnavailable: as the store says.
    """
    group_by = _grouping(rule)
    query = Query(
        rule.measurement,
        (rule.field,),
        *window(rule.metric, rule.window_ms, t, interval_ms),
        aggregates=(rule.agg,),
        transform=rule.transform,
        where=rule.where,
        group_by=group_by,
        group_aggregate=rule.group_agg,
    )
    sight = _seen(read(query), rule.field, rule.group_by)
    return Sight(sight.frame, np.abs(sight.values), rule.group_by) if rule.absolute else sight


def look_at_guard(rule: Rule, guard: Guard, read: Read, t: int, interval_ms: int) -> Sight:
    """The last values of a guard's metric, in the groups of the rule."""
    measurement, _, field = guard.metric.rpartition(".")
    query = Query(
        measurement,
        (field,),
        *window(guard.metric, 0, t, interval_ms),
        aggregates=("last",),
        where=guard.where,
        group_by=rule.group_by,
        group_aggregate="max" if guard.comparison.rising else "min",
    )
    return _seen(read(query), field, rule.group_by)


def window(metric: str, window_ms: int, t: int, interval_ms: int) -> tuple[int, int, int]:
    """Start, end and step of a query whose answer has one row per series: all of `(t - window, t]`.

    Without a window the last value counts while it is fresh: three intervals of the agents, at least a minute; five
    minutes for custom metrics, which come at their own pace.
    """
    known = catalog.lookup(metric) is not None
    fresh_ms = max(_SHORTEST_LOOKBACK_MS, 3 * interval_ms) if known else CUSTOM_LOOKBACK_MS
    start = t + 1 - (window_ms or fresh_ms)
    return start, t + 1, one_step(start, t + 1)


def one_step(start_ms: int, end_ms: int) -> int:
    """A step that holds the whole range, though steps are aligned to the epoch.

    The range lies in step number n when n * step <= start and end <= (n + 1) * step; for n up to about the root of the
    start there is a whole number between. Whole seconds are left out: no roll-up has such a width, so no engine takes
    one for it and reads past the edges.
    """
    width = end_ms - start_ms
    n = max((math.isqrt(width * width + 4 * start_ms) - width) // 2, 1)
    while True:
        for step in range(-(-end_ms // (n + 1)), start_ms // n + 1):
            if step % 1000:
                return step
        n -= 1
        if not n:
            return end_ms + (1 if end_ms % 1000 == 0 else 0)


def _grouping(rule: Rule) -> tuple[str, ...] | None:
    """None where every series is a group by itself, which spares the store the grouping."""
    measurement = catalog.BY_NAME.get(rule.measurement)
    if rule.group_by is None or measurement is None or "host" not in rule.group_by:
        return rule.group_by
    fixed = {matcher.tag for matcher in rule.where if matcher.op is Op.EQ and matcher.value}
    by_series = set(measurement.tags) - fixed <= set(rule.group_by) <= {*measurement.tags, "host"}
    return None if by_series else rule.group_by


def _seen(frame: Frame, field: str, group_by: tuple[str, ...] | None) -> Sight:
    column = frame.fields.get(field)
    values = np.full(len(frame), np.nan) if column is None or column.dtype == object else column
    return Sight(frame, np.asarray(values, np.float64), group_by)


def breaching(comparison: Comparison, values: Numbers, threshold: float) -> npt.NDArray[np.bool_]:
    """Which values (n,) are on the wrong side; NaN never is."""
    compare = {
        Comparison.ABOVE: np.greater,
        Comparison.AT_LEAST: np.greater_equal,
        Comparison.BELOW: np.less,
        Comparison.AT_MOST: np.less_equal,
    }[comparison]
    with np.errstate(invalid="ignore"):
        found: npt.NDArray[np.bool_] = compare(values, threshold)
    return found


def history(rule: Rule, read: Read, hosts: Sequence[str], t: int, span_ms: int, points: int) -> Frame:
    """The rule's series of some hosts before `t`, about `points` steps of their averages, for a sparkline."""
    step = max(span_ms // points, 1000)
    end = (t // step + 1) * step
    differences = rule.transform in (Transform.INCREASE, Transform.DELTA)
    return read(
        Query(
            rule.measurement,
            (rule.field,),
            end - points * step,
            end,
            step,
            aggregates=("sum" if differences else "avg",),
            transform=rule.transform,
            where=(*rule.where, any_host(hosts)),
            group_by=_grouping(rule),
            group_aggregate=rule.group_agg,
        )
    )


def any_host(names: Sequence[str]) -> Matcher:
    """A matcher for any of these hosts."""
    return Matcher("host", Op.RE, "|".join(map(re.escape, names)))
