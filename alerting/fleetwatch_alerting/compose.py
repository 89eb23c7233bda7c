"""Composing a notification: which alerts of a group are shown, in what order, as what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import sqlalchemy as sa

from fleetwatch_alerting import annotate
from fleetwatch_alerting.alert import Alert, labels_at
from fleetwatch_alerting.notification import (
    Missed,
    Notification,
    NotifiedAlert,
    Tell,
    group_key,
    idempotency_key,
)
from fleetwatch_alerting.rules.schema import Severity
from fleetwatch_alerting.timing import Tells

_ORDER = {"escalated": 0, "new": 1, "deescalated": 2, "resolved": 3, "": 4}


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """One group as it is now: its labels, the alerts that fire by fingerprint, and the rows of those that ended."""

    labels: Mapping[str, str]
    firing: Mapping[str, Alert]
    ended: Mapping[str, sa.RowMapping]


def tell(alert: Alert) -> Tell:
    """What a receiver should know of a firing alert."""
    level = alert.state.level.value if alert.state.level else ""
    return Tell(alert.fingerprint, level, alert.state.fired_at or 0)


def group_labels(alert: Alert, group_by: Iterable[str]) -> dict[str, str]:
    """The labels that an alert is grouped by; absent ones are left out."""
    labels = labels_at(alert, alert.state.level)
    return {name: labels[name] for name in group_by if name in labels}


def notification(
    receiver: str,
    subject: Subject,
    known: Tells,
    changes: Mapping[str, str],
    *,
    seq: int,
    reason: str,
    now: int,
    external_url: str,
    most: int,
    missed: tuple[Missed, ...] = (),
) -> Notification:
    """The message about a group: everything that fires, what changed first, and what ended."""
    key = group_key(subject.labels)
    resolved = [fingerprint for fingerprint, change in changes.items() if change == "resolved"]
    tells = (
        *(tell(alert) for alert in subject.firing.values()),
        *(_ended_tell(fingerprint, known, missed) for fingerprint in resolved),
    )
    shown = _ordered(subject, changes, resolved)
    kept = [_shown(subject, fingerprint, known, changes, now, external_url) for fingerprint in shown[:most]]
    made = Notification(
        receiver=receiver,
        group_key=key,
        group_labels=dict(subject.labels),
        seq=seq,
        reason=reason,
        created_ms=now,
        alerts=tuple(kept),
        tells=tells,
        firing_count=len(subject.firing),
        resolved_count=len(resolved),
        left_out=max(0, len(shown) - most),
        missed=missed,
        external_url=external_url,
    )
    return replace(made, idempotency_key=idempotency_key(receiver, key, seq, tells))


def _ended_tell(fingerprint: str, known: Tells, missed: tuple[Missed, ...]) -> Tell:
    before = known.get(fingerprint)
    if before is not None:
        return replace(before, firing=False)
    gone = next(one for one in missed if one.fingerprint == fingerprint)
    return Tell(fingerprint, gone.level, gone.starts_at_ms, firing=False)


def _ordered(subject: Subject, changes: Mapping[str, str], resolved: list[str]) -> list[str]:
    """Changed first, then the worse, then the older."""

    def rank(fingerprint: str) -> tuple[int, int, int, str]:
        alert = subject.firing.get(fingerprint)
        level = alert.state.level.rank if alert and alert.state.level else 0
        return _ORDER[changes.get(fingerprint, "")], -level, alert.state.fired_at or 0 if alert else 0, fingerprint

    return sorted([*subject.firing, *resolved], key=rank)


def _shown(
    subject: Subject, fingerprint: str, known: Tells, changes: Mapping[str, str], now: int, external_url: str
) -> NotifiedAlert:
    before = known.get(fingerprint)
    change = changes.get(fingerprint, "")
    if alert := subject.firing.get(fingerprint):
        return _firing(alert, change, before.level if before else "", now, external_url)
    row = subject.ended.get(fingerprint)
    return _forgotten(fingerprint, before, now) if row is None else _ended(row, before, now, external_url)


def _firing(alert: Alert, change: str, previous: str, now: int, external_url: str) -> NotifiedAlert:
    state = alert.state
    return NotifiedAlert(
        fingerprint=alert.fingerprint,
        firing=True,
        change=change,
        rule=alert.rule.name,
        rule_uid=alert.rule.uid,
        labels=labels_at(alert, state.level),
        annotations=annotate.texts(alert, now, external_url),
        level=state.level.value if state.level else Severity.WARNING.value,
        previous_level=previous if change in ("escalated", "deescalated") else "",
        starts_at_ms=state.fired_at or now,
        active_at_ms=state.active_at,
        metric=alert.rule.metric,
        unit=alert.rule.unit,
        comparison=alert.rule.comparison.value,
        value=state.value,
        value_at_fire=state.value_at_fire,
        peak=state.peak,
        threshold=state.threshold,
        health=state.health.value,
        host_link=annotate.host_link(external_url, alert.host, state.fired_at),
    )


def _ended(row: sa.RowMapping, before: Tell | None, now: int, external_url: str) -> NotifiedAlert:
    engine = row["engine"]
    starts = before.starts_at_ms if before else row["fired_at_ms"] or now
    host = dict(engine["group"]).get("host", "")
    return NotifiedAlert(
        fingerprint=row["fingerprint"],
        firing=False,
        change="resolved",
        rule=row["rule"],
        rule_uid=row["rule_uid"],
        labels=row["labels"],
        annotations=row["annotations"],
        level=row["level"],
        starts_at_ms=starts,
        ends_at_ms=row["resolved_at_ms"] or now,
        active_at_ms=row["active_at_ms"],
        metric=row["metric"],
        unit=row["unit"],
        comparison=engine["comparison"],
        value=row["value"],
        value_at_fire=row["value_at_fire"],
        peak=row["peak"],
        threshold=row["threshold"],
        health=row["health"],
        reason=engine["reason"],
        host_link=annotate.host_link(external_url, host, starts),
    )


def _forgotten(fingerprint: str, before: Tell | None, now: int) -> NotifiedAlert:
    """An alert whose row is gone; its receiver still learns that it is over."""
    level = before.level if before else Severity.WARNING.value
    starts = before.starts_at_ms if before else now
    return NotifiedAlert(fingerprint, False, "resolved", "unknown", "", {}, {}, level, starts, ends_at_ms=now)
