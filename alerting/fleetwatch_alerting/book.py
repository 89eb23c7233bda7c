"""The alerts in the database: alerts that are not inactive, their history, and how far evaluation has come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from fleetwatch_storage.metadata import tables

from fleetwatch_alerting import alert as alerts
from fleetwatch_alerting import annotate
from fleetwatch_alerting.alert import Alert, Labels
from fleetwatch_alerting.engine import Change, Event, Reason
from fleetwatch_alerting.evaluate import Changed
from fleetwatch_alerting.rules.schema import Rule, RuleFile

_TICK = "tick"
_KEEP_MS = 30 * 86_400_000


def load(
    connection: sa.Connection, rules: Sequence[Rule]
) -> tuple[dict[str, dict[Labels, Alert]], list[sa.RowMapping]]:
    """Alerts that are not inactive, by rule and group; and the rows of those whose rule is gone or groups otherwise."""
    by_uid = {rule.uid: rule for rule in rules}
    found: dict[str, dict[Labels, Alert]] = {}
    orphans = []
    query = sa.select(tables.alerts).where(tables.alerts.c.state != "inactive")
    for row in connection.execute(query).mappings():
        rule = by_uid.get(row["rule_uid"])
        if rule is None or row["engine"]["group_by"] != (None if rule.group_by is None else list(rule.group_by)):
            orphans.append(row)
        else:
            one = alerts.from_row(rule, row)
            found.setdefault(rule.uid, {})[one.group] = one
    return found, orphans


def last_tick(connection: sa.Connection) -> int | None:
    """The newest evaluation that was kept (unix ms)."""
    clock = tables.alert_clock
    found = connection.execute(sa.select(clock.c.at_ms).where(clock.c.name == _TICK)).scalar()
    return None if found is None else int(found)


def keep_tick(connection: sa.Connection, t: int) -> None:
    """Notes that the evaluation at `t` is kept."""
    clock = tables.alert_clock
    if not connection.execute(sa.update(clock).where(clock.c.name == _TICK).values(at_ms=t)).rowcount:
        connection.execute(sa.insert(clock), {"name": _TICK, "at_ms": t})


def rendered(one: Changed, facts: Mapping[str, str], now: int, external_url: str) -> Changed:
    """The change with its texts as they are now; alerts that only moved on keep the ones they have."""
    if not one.events:
        return one
    fired = any(event.change is Change.FIRING for event in one.events)
    alert = replace(one.alert, facts=facts) if fired else one.alert
    last = one.events[-1]
    shown = replace(alert, state=last.state)
    return Changed(replace(alert, annotations=annotate.texts(shown, now, external_url, last)), one.events)


def keep(connection: sa.Connection, changes: Iterable[Changed]) -> None:
    """Writes alerts and their history."""
    fingerprints: list[str] = []
    rows: list[dict[str, Any]] = []
    history: list[dict[str, Any]] = []
    for one in changes:
        fingerprints.append(one.alert.fingerprint)
        rows.extend(_row(one))
        history.extend(_entry(one.alert, event) for event in one.events)
    table = tables.alerts
    for start in range(0, len(fingerprints), 500):
        some = fingerprints[start : start + 500]
        connection.execute(sa.delete(table).where(table.c.fingerprint.in_(some)))
    if rows:
        connection.execute(sa.insert(table), rows)
    if history:
        connection.execute(sa.insert(tables.alert_history), history)


def _row(one: Changed) -> list[dict[str, Any]]:
    """Its row: an alert that ended keeps how it was and why it ended, one that never fired leaves nothing."""
    if not one.alert.state.is_idle:
        return [alerts.to_row(one.alert)]
    resolved = next((event for event in reversed(one.events) if event.change is Change.RESOLVED), None)
    if resolved is None:
        return []
    last = replace(one.alert, state=resolved.state)
    return [alerts.to_row(last, resolved_at=resolved.at, reason=resolved.reason)]


def _entry(alert: Alert, event: Event) -> dict[str, Any]:
    return {
        "at_ms": event.at,
        "fingerprint": alert.fingerprint,
        "event": event.change.value,
        "level": event.state.level.value if event.state.level else "",
        "value": event.state.value,
        "reason": event.reason.value,
    }


def end_orphans(connection: sa.Connection, rows: Iterable[sa.RowMapping], t: int, rules: Sequence[Rule]) -> None:
    """Ends alerts whose rule is gone (`rule_removed`) or now makes other groups (`rule_changed`)."""
    uids = {rule.uid for rule in rules}
    table = tables.alerts
    for row in rows:
        reason = Reason.RULE_CHANGED if row["rule_uid"] in uids else Reason.RULE_REMOVED
        fired = row["fired_at_ms"] is not None
        change = Change.RESOLVED if fired else Change.CLEARED
        values = {
            "state": "inactive",
            "resolved_at_ms": t if fired else None,
            "engine": {**row["engine"], "reason": reason.value},
        }
        connection.execute(sa.update(table).where(table.c.fingerprint == row["fingerprint"]).values(**values))
        entry = {
            "at_ms": t,
            "fingerprint": row["fingerprint"],
            "event": change.value,
            "level": row["level"],
            "value": row["value"],
            "reason": reason.value,
        }
        connection.execute(sa.insert(tables.alert_history), entry)


def keep_rules(connection: sa.Connection, file: RuleFile) -> None:
    """Replaces the list of rules that the dashboard shows."""
    connection.execute(sa.delete(tables.rules))
    rows = [_rule_row(position, rule) for position, rule in enumerate(file.rules)]
    if rows:
        connection.execute(sa.insert(tables.rules), rows)


def _rule_row(position: int, rule: Rule) -> dict[str, Any]:
    return {
        "uid": rule.uid,
        "position": position,
        "name": rule.name,
        "metric": rule.metric,
        "enabled": rule.enabled,
        "condition": annotate.condition(rule),
        "source": rule.source,
        "matchers": [{"tag": one.tag, "op": one.op.value, "value": one.value} for one in rule.where],
        "levels": [
            {
                "level": level.severity.value,
                "op": rule.comparison.value,
                "threshold": level.threshold,
                "recover": level.recover,
                "for_ms": level.for_ms,
            }
            for level in rule.levels
        ],
    }


def drop_receivers(connection: sa.Connection, kept: Sequence[str]) -> None:
    """Forgets receivers that are no longer in the file; what waited for them becomes dead letters."""
    outbox = tables.outbox
    gone = (outbox.c.receiver.not_in(kept), outbox.c.state.in_(("pending", "inflight")))
    connection.execute(sa.update(outbox).where(*gone).values(state="dead", last_status="receiver_removed"))
    for table in (tables.told, tables.groups):
        connection.execute(sa.delete(table).where(table.c.receiver.not_in(kept)))
    connection.execute(sa.delete(tables.receivers).where(tables.receivers.c.name.not_in(kept)))


def prune(connection: sa.Connection, now: int) -> None:
    """Deletes what is older than thirty days and no receiver still has to hear of."""
    old = now - _KEEP_MS
    connection.execute(sa.delete(tables.delivery_log).where(tables.delivery_log.c.at_ms < old))
    connection.execute(sa.delete(tables.alert_history).where(tables.alert_history.c.at_ms < old))
    outbox = tables.outbox
    done = outbox.c.state.in_(("sent", "superseded", "dead"))
    connection.execute(sa.delete(outbox).where(done, outbox.c.created_ms < old))
    groups = tables.groups
    known = sa.select(tables.told.c.group_key)
    calm = (groups.c.first_wanted_ms.is_(None), groups.c.last_sent_ms < old, groups.c.group_key.not_in(known))
    connection.execute(sa.delete(groups).where(*calm))
    table = tables.alerts
    told = sa.select(tables.told.c.fingerprint)
    idle = (table.c.state == "inactive", table.c.last_eval_ms < old, table.c.fingerprint.not_in(told))
    connection.execute(sa.delete(table).where(*idle))
