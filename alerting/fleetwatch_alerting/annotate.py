"""The texts of an alert: what the rule's templates say, and what is said where it has none."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from fleetwatch_proto import catalog

from fleetwatch_alerting import templates
from fleetwatch_alerting.alert import Alert, labels_at
from fleetwatch_alerting.engine import Event, State
from fleetwatch_alerting.rules.schema import Comparison, Rule, RuleType
from fleetwatch_alerting.units import duration, quantity

_AROUND_MS = 1_800_000


@functools.lru_cache(maxsize=4096)
def _template(source: str) -> Callable[[templates.Values], str]:
    return templates.compiled(source)


def texts(alert: Alert, now_ms: int, external_url: str, event: Event | None = None) -> dict[str, str]:
    """All annotations, rendered; `summary` is always there."""
    rule, state = alert.rule, event.state if event else alert.state
    values = _values(alert, state, now_ms, external_url, event)
    said = {name: _template(source)(values) for name, source in rule.annotations}
    if rule.runbook_url:
        said["runbook_url"] = _template(rule.runbook_url)(values)
    if rule.dashboard:
        said["dashboard"] = _absolute(_template(rule.dashboard)(values), external_url)
    said |= {name: text for name, text in alert.facts.items() if text}
    return {"summary": _summary(alert, state), **said}


def _summary(alert: Alert, state: State) -> str:
    if alert.rule.type is RuleType.HOST_DOWN:
        said = f"{alert.host} has sent nothing for {duration(1000 * (state.value or 0))}"
        return f"{said}: {alert.facts['why']}" if "why" in alert.facts else said
    where = place(alert)
    value = quantity(state.value, alert.rule.unit)
    limit = quantity(state.threshold, alert.rule.unit)
    return f"{alert.rule.metric} is {value}{where}, {words(alert.rule)} {limit}"


def words(rule: Rule) -> str:
    """`above`, `5m average above`: how the condition reads before its threshold."""
    names = {"avg": "average", "min": "minimum", "max": "maximum", "stddev": "deviation"}
    if rule.transform.value in ("increase", "delta"):
        return f"{rule.transform.value} in {duration(rule.window_ms)} {rule.comparison.words}"
    if rule.agg == "last":
        return rule.comparison.words
    return f"{duration(rule.window_ms)} {names.get(rule.agg, rule.agg)} {rule.comparison.words}"


def place(alert: Alert) -> str:
    """` on web-1 (path /home)`, or nothing for an alert over the whole fleet."""
    rest = ", ".join(f"{name} {value}" for name, value in alert.group if name != "host")
    host = f" on {alert.host}" if alert.host else ""
    return f"{host} ({rest})" if rest else host


def host_link(external_url: str, host: str, at_ms: int | None) -> str:
    """The host's page half an hour around a moment; empty where the address of the pages is not known."""
    if not external_url or not host or at_ms is None:
        return ""
    start, end = (at_ms - _AROUND_MS) // 1000, (at_ms + _AROUND_MS) // 1000
    return f"{external_url.rstrip('/')}/hosts/{quote(host, safe='')}?from={start}&to={end}"


def _absolute(address: str, external_url: str) -> str:
    return f"{external_url.rstrip('/')}{address}" if address.startswith("/") and external_url else address


def _values(alert: Alert, state: State, now_ms: int, external_url: str, event: Event | None) -> dict[str, Any]:
    """What templates see: texts, numbers and None. Durations are seconds, moments unix milliseconds."""
    ended = event.at if event and event.state.clear_since is not None else None
    return {
        "labels": labels_at(alert, state.level),
        "value": state.value,
        "values": {alert.rule.metric: state.value},
        "threshold": state.threshold,
        "level": state.level.value if state.level else "",
        "previous_level": event.previous.value if event and event.previous else "",
        "state": state.phase.value,
        "reason": event.reason.value if event else "threshold",
        "health": state.health.value,
        "active_at": state.active_at,
        "fired_at": state.fired_at,
        "resolved_at": ended,
        "duration": (now_ms - (state.fired_at or now_ms)) / 1000,
        "value_at_fire": state.value_at_fire,
        "peak": state.peak,
        "last_seen": _last_seen(alert, state),
        "host": alert.host,
        "rule": alert.rule.name,
        "external_url": external_url,
        "now": now_ms,
    }


def _last_seen(alert: Alert, state: State) -> int | None:
    """When a silent host was last heard of."""
    if alert.rule.type is not RuleType.HOST_DOWN or state.value is None or state.last_eval is None:
        return None
    return round(state.last_eval - 1000 * state.value)


def condition(rule: Rule) -> str:
    """The whole condition in words, for lists of rules."""
    if rule.type is RuleType.HOST_DOWN:
        return f"nothing received for {duration(1000 * rule.levels[0].threshold)}"
    levels = " / ".join(quantity(level.threshold, rule.unit) for level in rule.levels)
    guards = "".join(
        f" and {guard_words(rule, guard.metric, guard.comparison, guard.threshold)}" for guard in rule.only_if
    )
    return f"{rule.metric} {words(rule)} {levels}{guards}"


def guard_words(rule: Rule, metric: str, comparison: Comparison, threshold: float) -> str:
    """A further condition in words."""
    found = catalog.lookup(metric)
    unit = rule.unit if not metric else found[1].unit if found else ""
    return f"{metric or 'it'} {comparison.words} {quantity(threshold, unit)}"
