"""A question to the stored series, as data. Every engine compiles it; every engine gives the same answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fleetwatch_storage.errors import QueryFailed
from fleetwatch_storage.patterns import compile_pattern

AGGREGATES = frozenset(
    {"avg", "min", "max", "sum", "count", "last", "first", "median", "stddev", "p50", "p90", "p95", "p99"}
)
"""How the samples of one series within one step become one value. pNN is the nearest rank: element
floor(n x NN / 100 + 0.5), counted from 1 and at least 1, of the sorted values, as InfluxQL's PERCENTILE; stddev divides
by n - 1 and is NaN for one sample; median is the mean of the middle two for an even count. A text field has first, last
and count only."""

GROUP_AGGREGATES = frozenset({"avg", "min", "max", "sum", "count", "median", "p50", "p90", "p95", "p99"})
"""How the series of one group become one, step by step, over the series that have a value there."""


class Transform(StrEnum):
    """What is done to each field of each series before aggregation, from each value and the one before it.

    The result stands at the later sample's time; the first sample of the range uses the last one before it (looked for
    up to ten minutes back from the start of the range).
    A counter that goes backwards was restarted: that one interval has no value, it is neither
    negative nor made up. `increase` and `delta` are differences, `rate` and `deriv` are those per second; only increase
    and rate are for counters. With a step, differences (`increase`, `delta`) are summed over it whatever the aggregate
    says. Text has none of these.
    """

    NONE = "none"
    RATE = "rate"
    INCREASE = "increase"
    DELTA = "delta"
    DERIV = "deriv"


class Op(StrEnum):
    """How a matcher compares; patterns match the whole value. A tag that is absent equals the empty text."""

    EQ = "="
    NE = "!="
    RE = "=~"
    NRE = "!~"


@dataclass(frozen=True, slots=True)
class Matcher:
    """A condition on a tag of the series, on `host`, or on a tag of the host (a series tag wins where both exist)."""

    tag: str
    op: Op
    value: str

    def accepts(self, value: str) -> bool:
        """Whether a tag value satisfies the condition."""
        if self.op in (Op.EQ, Op.NE):
            return (value == self.value) == (self.op is Op.EQ)
        return (compile_pattern(self.value).fullmatch(value) is not None) == (self.op is Op.RE)


@dataclass(frozen=True, slots=True)
class Query:
    """Fields of one measurement in `[start_ms, end_ms)`, unix milliseconds.

    `step_ms` 0: samples as stored (after the transform), columns named by field; `aggregates` are not looked at.
    `step_ms` > 0: one row per series and step that has a value, at the step's start, steps aligned to the epoch;
    columns are named `field` when there is one aggregate, else `field:aggregate`.
    `group_by` None: every series by itself. Else the series are combined per step by `group_aggregate` into one per
    distinct value of these tags (`host` and host tags included); needs a step.
    `limit` with `order` "top" or "bottom" keeps the series with the largest or smallest mean of the first column; with
    order "" the first ones by name; ties go to the first by name, a series without values there comes last. 0: all.

    Rows without any value are left out. Names nobody has written are no error: an unknown measurement is an empty
    answer, an unknown field an empty column.
    """

    measurement: str
    fields: tuple[str, ...]
    start_ms: int
    end_ms: int
    step_ms: int = 0
    aggregates: tuple[str, ...] = ("avg",)
    transform: Transform = Transform.NONE
    where: tuple[Matcher, ...] = ()
    group_by: tuple[str, ...] | None = None
    group_aggregate: str = "avg"
    limit: int = 0
    order: str = ""

    def __post_init__(self) -> None:
        for problem in _problems(self):
            raise QueryFailed(problem)

    def columns(self) -> list[tuple[str, str, str]]:
        """(column name, field, aggregate) of a stepped answer, in order."""
        one = len(self.aggregates) == 1
        return [(name if one else f"{name}:{agg}", name, agg) for name in self.fields for agg in self.aggregates]


def _problems(query: Query) -> list[str]:
    found = []
    if not query.fields:
        found.append("a query names at least one field")
    if query.end_ms < query.start_ms:
        found.append(f"the range ends ({query.end_ms}) before it starts ({query.start_ms})")
    if query.step_ms < 0:
        found.append(f"step must not be negative, not {query.step_ms}")
    if unknown := [agg for agg in query.aggregates if agg not in AGGREGATES]:
        found.append(f"unknown aggregate {unknown[0]!r}; known: {', '.join(sorted(AGGREGATES))}")
    if not query.aggregates:
        found.append("a query names at least one aggregate")
    if query.group_by is not None and query.group_aggregate not in GROUP_AGGREGATES:
        found.append(f"unknown group aggregate {query.group_aggregate!r}; known: {', '.join(sorted(GROUP_AGGREGATES))}")
    if query.group_by is not None and not query.step_ms:
        found.append("grouping needs a step")
    if query.order not in ("", "top", "bottom"):
        found.append(f"order is top, bottom or empty, not {query.order!r}")
    for matcher in query.where:
        if matcher.op in (Op.RE, Op.NRE):
            try:
                compile_pattern(matcher.value)
            except ValueError as error:
                found.append(f"matcher {matcher.tag}{matcher.op}: bad regular expression: {error}")
    return found
