"""Alerts as the dashboard shows them; written by the alert manager."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from fleetwatch_storage.metadata import tables


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule on one series. Times are unix milliseconds or None; `state` is inactive, pending, firing or recovering."""

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


_COLUMNS = [tables.alerts.c[name] for name in (
    "fingerprint", "rule", "rule_uid", "state", "level", "health", "labels", "annotations", "metric", "unit", "value",
    "threshold", "value_at_fire", "peak", "active_at_ms", "fired_at_ms", "resolved_at_ms",
)]


def list_alerts(engine: sa.Engine, *, states: Sequence[str] = ("pending", "firing", "recovering"), limit: int = 10_000) -> list[Alert]:
    """Alerts in these states, critical first, then the longest active."""
    rank = sa.case({"critical": 0, "warning": 1, "info": 2}, value=tables.alerts.c.level, else_=3)
    query = sa.select(*_COLUMNS).where(tables.alerts.c.state.in_(states)).order_by(rank, tables.alerts.c.active_at_ms).limit(limit)
    with engine.connect() as connection:
        return [Alert(**row) for row in connection.execute(query).mappings()]


def list_told(engine: sa.Engine, fingerprints: Sequence[str]) -> list[Told]:
    """Who was told of these alerts as they now stand, earliest first."""
    told = tables.told
    query = sa.select(told.c.fingerprint, told.c.receiver, told.c.told_at_ms).where(told.c.fingerprint.in_(fingerprints)).order_by(told.c.told_at_ms)
    with engine.connect() as connection:
        return [Told(*row) for row in connection.execute(query)]
