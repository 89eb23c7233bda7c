"""When a value is bad: thresholds of the rules that apply to a host, else the catalogue's pair. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from fleetwatch_proto.catalog import lookup
from fleetwatch_storage.hosts import Host
from fleetwatch_storage.metadata.alerts import Alert, RuleSummary
from fleetwatch_storage.query import Matcher, Op

LEVELS = {"critical": "crit", "warning": "warn", "info": "", "": ""}
"""An alert's level as the pages' data-level."""

_SAME_AS = {"mem.used_percent": "mem.available_percent"}
"""Metrics that say the same from the other side: an alert on one colours the other."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """From where on a value has a level ("warn" or "crit"), and which side of it is bad."""

    level: str
    at: float
    below: bool = False

    def reached(self, value: float) -> bool:
        """Whether a value has this level."""
        return value <= self.at if self.below else value >= self.at


class Rulebook:
    """Which thresholds apply to a metric of a host: those of the first rule that matches, else the catalogue's pair."""

    def __init__(self, rules: Iterable[RuleSummary] = ()) -> None:
        self._rules: dict[str, list[tuple[tuple[Matcher, ...], tuple[Threshold, ...]]]] = {}
        for rule in rules:
            if rule.enabled:
                matchers = tuple(Matcher(tag, Op(op), value) for tag, op, value in rule.matchers)
                self._rules.setdefault(rule.metric, []).append((matchers, _of_rule(rule)))

    def thresholds(
        self, metric: str, host: Host, tags: Mapping[str, str] = MappingProxyType({})
    ) -> tuple[Threshold, ...]:
        """Thresholds of a metric on a series of a host, mildest first."""
        for matchers, found in self._rules.get(metric, ()):
            known = {**host.tags, **tags, "host": host.name}
            if all(matcher.accepts(known.get(matcher.tag, "")) for matcher in matchers):
                return found
        return _of_catalogue(metric)


def level_of(value: float | None, thresholds: Iterable[Threshold]) -> str:
    """The level of a value: the worst it reaches, "" for none."""
    if value is None:
        return ""
    reached = {one.level for one in thresholds if one.reached(value)}
    return next((level for level in ("crit", "warn") if level in reached), "")


def firing_level(metric: str, alerts: Iterable[Alert]) -> str:
    """The worst level firing on a metric: a colour equals its alert."""
    same = (metric, _SAME_AS.get(metric))
    firing = {alert.level for alert in alerts if alert.metric in same and is_firing(alert)}
    return next((LEVELS[level] for level in ("critical", "warning") if level in firing), "")


def is_firing(alert: Alert) -> bool:
    """Whether the alert counts as firing: one that recovers still does."""
    return alert.state in ("firing", "recovering")


def direction(metric: str) -> str:
    """Which side of its threshold a metric is bad on."""
    found = lookup(metric)
    return "below" if found and found[1].bad == "low" else "above"


def _of_rule(rule: RuleSummary) -> tuple[Threshold, ...]:
    named = [(LEVELS.get(level.level, ""), level) for level in rule.levels]
    return tuple(Threshold(name, level.threshold, level.op.startswith("<")) for name, level in named if name)


def _of_catalogue(metric: str) -> tuple[Threshold, ...]:
    found = lookup(metric)
    if found is None or found[1].levels is None:
        return ()
    below = found[1].bad == "low"
    return tuple(Threshold(level, at, below) for level, at in zip(("warn", "crit"), found[1].levels, strict=True))
