"""Which tier answers which part of a query's range. Pure.

Raw samples answer everything. A roll-up answers a part instead where the answer is the same: its rows fit the steps, it
keeps what the aggregates need, and the whole hour lies within the range. Where the raw samples are gone, the finest
roll-up stands in for them, each of its rows as one sample.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fleetwatch_storage.embedded import ranges
from fleetwatch_storage.embedded.kinds import Kept
from fleetwatch_storage.embedded.layout import ROLL_UPS, Layout, Tier
from fleetwatch_storage.embedded.ranges import Ranges
from fleetwatch_storage.embedded.rows import HOUR_MS
from fleetwatch_storage.query import Query, Transform

_RATES_FROM_MS = 6 * HOUR_MS
"""Range from which mean rates are taken from roll-ups, which weigh them by time: the same where intervals are equal."""


@dataclass(frozen=True, slots=True)
class Part:
    """The times a tier answers for."""

    tier: Tier
    times: Ranges


def parts(query: Query, kept: Iterable[Kept], layout: Layout, measurement: int, start_ms: int) -> list[Part]:
    """Raw first, then roll-ups; together they cover whatever there is in `[start_ms, query.end_ms)`."""
    left: Ranges = [(start_ms, query.end_ms)] if start_ms < query.end_ms else []
    raw = _raw_hours(layout, measurement, left)
    chosen = _exact_tier(query, list(kept))
    found: list[Part] = []
    if chosen is not None:
        sealed = ranges.without(_covered(layout, chosen, measurement, left), _unsealed(layout, measurement))
        fitting = ranges.common(left, _fitting(sealed, raw, chosen))
        found.append(Part(chosen, fitting))
        left = ranges.without(left, fitting)
    found.append(Part(Tier.RAW, ranges.common(left, raw)))
    left = ranges.without(left, raw)
    for tier in ROLL_UPS:
        covered = _covered(layout, tier, measurement, left)
        found.append(Part(tier, ranges.common(left, covered)))
        left = ranges.without(left, covered)
    return _by_tier(found)


def _by_tier(found: list[Part]) -> list[Part]:
    tiers = {tier: ranges.united(span for part in found if part.tier is tier for span in part.times) for tier in Tier}
    return [Part(tier, times) for tier, times in tiers.items() if times]


def _exact_tier(query: Query, kept: list[Kept]) -> Tier | None:
    """The coarsest tier whose rows answer a stepped query as samples would."""
    if not query.step_ms or not all(_keeps(query, one) for one in kept):
        return None
    fitting = [tier for tier in ROLL_UPS if query.step_ms % tier.width_ms == 0]
    return fitting[-1] if fitting else None


def _keeps(query: Query, kept: Kept) -> bool:
    """Whether the roll-ups of a field keep what the query needs."""
    wanted = set(query.aggregates)
    if query.transform is Transform.INCREASE:
        return kept.increase
    if query.transform is Transform.RATE:
        return kept.increase and wanted <= {"avg"} and query.end_ms - query.start_ms >= _RATES_FROM_MS
    return query.transform is Transform.NONE and wanted <= kept.aggregates


def _raw_hours(layout: Layout, measurement: int, within: Ranges) -> Ranges:
    raw = ranges.united([*_spans(layout, Tier.RAW, measurement), *_unsealed(layout, measurement)])
    return ranges.common(within, raw)


def _covered(layout: Layout, tier: Tier, measurement: int, within: Ranges) -> Ranges:
    return ranges.common(within, ranges.united(_spans(layout, tier, measurement)))


def _spans(layout: Layout, tier: Tier, measurement: int) -> list[tuple[int, int]]:
    return [(file.start_ms, file.end_ms) for file in layout.files.get((tier, measurement), ())]


def _unsealed(layout: Layout, measurement: int) -> Ranges:
    """Hours with rows that no file and no roll-up has yet."""
    return ranges.united((hour, hour + HOUR_MS) for owner, hour in layout.hot if owner == measurement)


def _fitting(covered: Ranges, raw: Ranges, tier: Tier) -> Ranges:
    """Of the times a roll-up covers those it answers exactly, and those where nothing finer is left anyway."""
    whole = [_whole_rows(start, end, tier) for start, end in covered]
    return ranges.united([*whole, *ranges.without(covered, raw)])


def _whole_rows(start: int, end: int, tier: Tier) -> tuple[int, int]:
    """The rows of a tier that lie in a range as a whole."""
    return -(-start // tier.width_ms) * tier.width_ms, end // tier.width_ms * tier.width_ms
