"""An alert: one rule on one group of series, with all that is known of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import sqlalchemy as sa

from fleetwatch_alerting import templates
from fleetwatch_alerting.engine import Health, Phase, Reason, State
from fleetwatch_alerting.rules.schema import Rule, Severity

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""Group labels, sorted by name."""

_TIMERS = ("clear_since", "lower_since", "missing_since")
_COLUMNS = ("value", "threshold", "value_at_fire", "peak")


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `facts` were gathered when it fired and stay; `annotations` are as last rendered."""

    rule: Rule
    group: Labels
    fingerprint: str
    state: State = field(default_factory=State)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def host(self) -> str:
        """The host it is about; empty when it is about several."""
        return dict(self.group).get("host", "")


def new(rule: Rule, group: Labels) -> Alert:
    """An alert that was not there before, inactive."""
    return Alert(rule, group, fingerprint(rule.uid, group), labels=_labels(rule, group))


def fingerprint(uid: str, group: Labels) -> str:
    """16 hex digits of rule uid and group labels; the severity is not part of it, so an escalation keeps it."""
    text = "\x00".join([uid, *(f"{name}\x01{value}" for name, value in group)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _labels(rule: Rule, group: Labels) -> dict[str, str]:
    own = {name: templates.compiled(source)({"labels": dict(group)}) for name, source in rule.labels}
    return own | dict(group) | {"alertname": rule.name}


def labels_at(alert: Alert, level: Severity | None) -> dict[str, str]:
    """All labels, the severity among them."""
    return dict(alert.labels) | ({"severity": level.value} if level else {})


def to_row(alert: Alert, *, resolved_at: int | None = None, reason: Reason = Reason.THRESHOLD) -> dict[str, Any]:
    """The row of the alerts table; with `resolved_at` it keeps how the alert ended."""
    state = alert.state
    phase = Phase.INACTIVE if resolved_at is not None else state.phase
    return {
        "fingerprint": alert.fingerprint,
        "rule_uid": alert.rule.uid,
        "rule": alert.rule.name,
        "state": phase.value,
        "level": state.level.value if state.level else "",
        "health": state.health.value,
        "labels": labels_at(alert, state.level),
        "annotations": dict(alert.annotations),
        "metric": alert.rule.metric,
        "unit": alert.rule.unit,
        "active_at_ms": state.active_at,
        "fired_at_ms": state.fired_at,
        "resolved_at_ms": resolved_at,
        "last_eval_ms": state.last_eval or 0,
        "engine": _engine(alert, reason),
        **{name: getattr(state, name) for name in _COLUMNS},
    }


def _engine(alert: Alert, reason: Reason) -> dict[str, Any]:
    state = alert.state
    return {
        "group": [list(pair) for pair in alert.group],
        "group_by": None if alert.rule.group_by is None else list(alert.rule.group_by),
        "comparison": alert.rule.comparison.value,
        "since": {level.value: start for level, start in state.since.items()},
        "reason": reason.value,
        "facts": dict(alert.facts),
        **{name: getattr(state, name) for name in _TIMERS},
    }


def from_row(rule: Rule, row: sa.RowMapping) -> Alert:
    """The alert as it was written."""
    engine = row["engine"]
    state = State(
        phase=Phase(row["state"]),
        level=Severity(row["level"]) if row["level"] else None,
        health=Health(row["health"]),
        since={Severity(level): start for level, start in engine["since"].items()},
        active_at=row["active_at_ms"],
        fired_at=row["fired_at_ms"],
        last_eval=row["last_eval_ms"],
        **{name: engine[name] for name in _TIMERS},
        **{name: row[name] for name in _COLUMNS},
    )
    group = tuple((name, value) for name, value in engine["group"])
    return Alert(
        rule,
        group,
        row["fingerprint"],
        state,
        labels=_labels(rule, group),
        annotations=row["annotations"],
        facts=engine["facts"],
    )
