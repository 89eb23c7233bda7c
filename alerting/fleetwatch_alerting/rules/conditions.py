"""The condition of a rule: comparison, threshold, recover, levels."""

from __future__ import annotations

import itertools

from fleetwatch_alerting.rules import values
from fleetwatch_alerting.rules.document import Mapping
from fleetwatch_alerting.rules.schema import Comparison, Level, Severity
from fleetwatch_alerting.units import plain

SHORT = {
    "above": Comparison.ABOVE,
    "below": Comparison.BELOW,
    "at_least": Comparison.AT_LEAST,
    "at_most": Comparison.AT_MOST,
}
FIELDS = (*SHORT, "threshold", "op")
LATER = ("equals", "outside")

_LEVEL_FIELDS = (*FIELDS, "recover", "for")
_OPS = tuple(one.value for one in Comparison)


def comparison(fields: Mapping) -> tuple[Comparison, float] | None:
    """The one comparison of a mapping, or None with the reason among the problems."""
    given = [key for key in (*SHORT, "threshold") if key in fields]
    for key in given:
        fields.value(key)
    if len(given) > 1:
        fields.problem(
            f"give one comparison, not {len(given)} ({', '.join(given)}); each side of a range is its own rule"
        )
        return None
    if not given:
        fields.missing("a condition is missing: write above, below, at_least or at_most", *FIELDS, *LATER)
        return None
    threshold = fields.get(given[0], values.number, None)
    op = Comparison(fields.get("op", values.choice(*_OPS, later=("==", "!=")), ">"))
    if given[0] != "threshold":
        op = SHORT[given[0]]
        if "op" in fields:
            fields.problem(f'"op" belongs to threshold; {given[0]} already says it', "op")
    if threshold is None and not fields.problems.found:
        fields.problem(f"{given[0]} needs a number", given[0])
    return None if threshold is None else (op, threshold)


def read(fields: Mapping, severity: Severity, for_ms: int) -> tuple[Comparison, tuple[Level, ...]] | None:
    """Comparison and levels of a rule; `severity` and `for_ms` hold where a level does not say its own."""
    levels = fields.child("levels")
    if levels is None:
        found = _level(fields, severity, for_ms)
        return (found[0], (found[1],)) if found else None
    if extra := [key for key in (*SHORT, "threshold", "recover", "severity") if key in fields]:
        fields.problem(f"{extra[0]} does not go with levels: say it in each level", extra[0])
    return _ordered(levels, for_ms)


def _ordered(levels: Mapping, for_ms: int) -> tuple[Comparison, tuple[Level, ...]] | None:
    found = []
    for severity in Severity:
        child = levels.child(severity.value)
        if child is not None:
            child.done(_LEVEL_FIELDS, (*LATER, "labels", "annotations"))
            found.append(_level(child, severity, child.get("for", values.duration_ms, for_ms)))
    levels.done([one.value for one in Severity])
    complete = [one for one in found if one is not None]
    if not levels.names():
        levels.problem("name at least one level: info, warning or critical")
    if len(complete) < len(found) or not complete:
        return None
    if len({op for op, _ in complete}) > 1:
        levels.problem("all levels must compare in the same way")
        return None
    _in_order(levels, complete)
    return complete[0][0], tuple(level for _, level in complete)


def _in_order(levels: Mapping, found: list[tuple[Comparison, Level]]) -> None:
    for (op, mild), (_, bad) in itertools.pairwise(found):
        if (bad.threshold < mild.threshold) if op.rising else (bad.threshold > mild.threshold):
            side = "below" if op.rising else "above"
            levels.problem(
                f"the {bad.severity} threshold ({plain(bad.threshold)}) must not be {side} "
                f"that of {mild.severity} ({plain(mild.threshold)})",
                bad.severity.value,
            )


def _level(fields: Mapping, severity: Severity, for_ms: int) -> tuple[Comparison, Level] | None:
    found = comparison(fields)
    recover = fields.get("recover", values.number, None)
    if found is None:
        return None
    op, threshold = found
    if recover is not None and ((recover > threshold) if op.rising else (recover < threshold)):
        side = "above" if op.rising else "below"
        fields.problem(f"recover ({plain(recover)}) must not be {side} the threshold ({plain(threshold)})", "recover")
    return op, Level(severity, threshold, threshold if recover is None else recover, for_ms)
