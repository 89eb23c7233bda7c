"""Alerts and rules as the dashboard shows them; written by the alert manager."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from fleetwatch_storage.metadata import tables


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule on one series.

    Times are unix milliseconds or None; `state` is inactive, pending, firing or recovering. `annotations` are rendered,
    `top_processes` among them where the host's processes were known when it fired.
    """

    fingerprint: str
    rule: str
    rule_uid: str
    state: str
    level: str
    health: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str] = field(default_factory=dict)
    metric: str = ""
    unit: str = ""
    value: float | None = None
    threshold: float | None = None
    value_at_fire: float | None = None
    peak: float | None = None
    active_at_ms: int | None = None
    fired_at_ms: int | None = None
    resolved_at_ms: int | None = None
    suppressed_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """That a receiver was told of an alert: when, and what it answered."""

    fingerprint: str
    receiver: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class RuleLevel:
    """When a rule reaches a level: `op` is one of > >= < <=; at `recover` (inclusive) it is left again."""

    level: str
    op: str
    threshold: float
    recover: float
    for_ms: int


@dataclass(frozen=True, slots=True)
class RuleSummary:
    """A loaded rule. `levels` mildest first; `matchers` are (tag, operator, value); `source` is file:line."""

    uid: str
    name: str
    metric: str
    enabled: bool
    condition: str
    levels: tuple[RuleLevel, ...]
    matchers: tuple[tuple[str, str, str], ...]
    source: str


_COLUMNS = [tables.alerts.c[one] for one in Alert.__dataclass_fields__ if one != "suppressed_by"]


def list_alerts(
    engine: sa.Engine, *, states: Sequence[str] = ("pending", "firing", "recovering"), limit: int = 10_000
) -> list[Alert]:
    """Alerts in these states, critical first, then the longest active."""
    rank = sa.case({"critical": 0, "warning": 1, "info": 2}, value=tables.alerts.c.level, else_=3)
    query = sa.select(*_COLUMNS).where(tables.alerts.c.state.in_(states))
    with engine.connect() as connection:
        rows = connection.execute(query.order_by(rank, tables.alerts.c.active_at_ms).limit(limit)).mappings()
        return [Alert(**row) for row in rows]


def list_told(engine: sa.Engine, fingerprints: Sequence[str]) -> list[Told]:
    """Who was told of these alerts as they now stand, earliest first."""
    told = tables.told
    query = sa.select(told.c.fingerprint, told.c.receiver, told.c.told_at_ms)
    with engine.connect() as connection:
        rows = [
            Told(*row)
            for start in range(0, len(fingerprints), 500)
            for row in connection.execute(query.where(told.c.fingerprint.in_(fingerprints[start : start + 500])))
        ]
    return sorted(rows, key=lambda one: one.at_ms)


def list_rules(engine: sa.Engine, *, metric: str = "") -> list[RuleSummary]:
    """Loaded rules in the file's order; only those on `metric` (`measurement.field`) when it is given."""
    rules = tables.rules
    query = sa.select(rules).order_by(rules.c.position)
    if metric:
        query = query.where(rules.c.metric == metric)
    with engine.connect() as connection:
        return [_summary(row) for row in connection.execute(query).mappings()]


def _summary(row: sa.RowMapping) -> RuleSummary:
    return RuleSummary(
        uid=row["uid"],
        name=row["name"],
        metric=row["metric"],
        enabled=row["enabled"],
        condition=row["condition"],
        levels=tuple(RuleLevel(**level) for level in row["levels"]),
        matchers=tuple((one["tag"], one["op"], one["value"]) for one in row["matchers"]),
        source=row["source"],
    )
