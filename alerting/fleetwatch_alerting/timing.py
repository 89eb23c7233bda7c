"""Whether a receiver is to be told of a group now: what it should know against what it was told.

Pure: takes what is wanted, what was told, what is on its way, and the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fleetwatch_alerting.notification import Tell
from fleetwatch_alerting.rules.schema import Route, Severity

NEVER = 1 << 62

Tells = Mapping[str, Tell]
"""By fingerprint."""


@dataclass(frozen=True, slots=True)
class Group:
    """A receiver's group between notifications. Times are unix milliseconds.

    `first_wanted_ms`: since when there is something to tell; `dead_ms`: when the last one was given up.
    """

    seq: int = 0
    first_wanted_ms: int | None = None
    last_sent_ms: int | None = None
    dead_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A notification in the outbox that is not delivered. `sending`: an attempt is under way, it cannot be changed."""

    outbox_id: int
    seq: int
    tells: Tells
    sending: bool
    attempts: int
    next_at_ms: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do about a group: tell now (`reason`), or look again at `next_ms`. `group` is to be kept."""

    group: Group
    reason: str = ""
    next_ms: int = NEVER
    replaces: Waiting | None = None


def difference(wanted: Tells, told: Tells, *, send_resolved: bool) -> dict[str, str]:
    """What the receiver does not know, by fingerprint: new, escalated, deescalated, resolved."""
    changes = {}
    for fingerprint, tell in wanted.items():
        before = told.get(fingerprint)
        if before is None or before.starts_at_ms != tell.starts_at_ms:
            changes[fingerprint] = "new"
        elif before.level != tell.level:
            rises = Severity(tell.level).rank > Severity(before.level).rank
            changes[fingerprint] = "escalated" if rises else "deescalated"
    if send_resolved:
        changes |= dict.fromkeys(told.keys() - wanted.keys(), "resolved")
    return changes


def after(told: Tells, waiting: Waiting | None) -> Tells:
    """What will have been told once a notification is delivered."""
    if waiting is None:
        return told
    merged = {**told, **waiting.tells}
    return {fingerprint: tell for fingerprint, tell in merged.items() if tell.firing}


def decide(
    wanted: Tells,
    told: Tells,
    waiting: list[Waiting],
    group: Group,
    route: Route,
    now: int,
    *,
    send_resolved: bool = True,
) -> Verdict:
    """The verdict for one group of one receiver.

    At most one notification of a group waits and one is being sent. What waits is replaced when the world has moved on,
    so a receiver that was away for hours gets the newest state once.
    """
    sending = next((one for one in waiting if one.sending), None)
    pending = next((one for one in waiting if not one.sending), None)
    known = after(told, sending)
    if pending is not None:
        return _replacing(wanted, known, pending, group, send_resolved=send_resolved)
    changes = difference(wanted, known, send_resolved=send_resolved)
    if changes:
        return _with_changes(wanted, known, changes, sending, group, route, now)
    calm = replace(group, first_wanted_ms=None)
    return _repeating(wanted, sending, calm, route, now)


def _replacing(wanted: Tells, known: Tells, pending: Waiting, group: Group, *, send_resolved: bool) -> Verdict:
    """Newest state wins: the waiting notification is replaced if it would leave the receiver with something else."""
    if not difference(wanted, after(known, pending), send_resolved=send_resolved):
        return Verdict(group)
    changes = difference(wanted, known, send_resolved=send_resolved)
    return Verdict(group, reason=reason_for(wanted, known, changes), replaces=pending)


def _with_changes(
    wanted: Tells,
    known: Tells,
    changes: Mapping[str, str],
    sending: Waiting | None,
    group: Group,
    route: Route,
    now: int,
) -> Verdict:
    group = replace(group, first_wanted_ms=now if group.first_wanted_ms is None else group.first_wanted_ms)
    if sending is not None:
        return Verdict(group)
    due = _due(known, group, route)
    urgent = any(kind == "escalated" and wanted[one].level == "critical" for one, kind in changes.items())
    if now < due and not (urgent and group.dead_ms is None):
        return Verdict(group, next_ms=due)
    return Verdict(group, reason=reason_for(wanted, known, changes))


def _due(known: Tells, group: Group, route: Route) -> int:
    """A group that the receiver knows nothing of waits `group_wait`; a known one `group_interval` after the last."""
    wanted = group.first_wanted_ms or 0
    due = wanted + route.group_wait_ms if not known else (group.last_sent_ms or 0) + route.group_interval_ms
    return due if group.dead_ms is None else max(due, group.dead_ms + route.repeat_interval_ms)


def _repeating(wanted: Tells, sending: Waiting | None, group: Group, route: Route, now: int) -> Verdict:
    """Exactly every `repeat_interval` after the last delivery, while something fires."""
    if not wanted or sending is not None or group.last_sent_ms is None:
        return Verdict(group)
    due = max(group.last_sent_ms, group.dead_ms or 0) + route.repeat_interval_ms
    return Verdict(group, next_ms=due) if now < due else Verdict(group, reason="repeat interval elapsed")


def reason_for(wanted: Tells, known: Tells, changes: Mapping[str, str]) -> str:
    """Why a notification is sent, in Alertmanager's words."""
    if not known:
        return "first notification"
    if "new" in changes.values() or "escalated" in changes.values() or "deescalated" in changes.values():
        return "new alerts added" if "new" in changes.values() else "severity changed"
    return "some alerts resolved" if wanted else "all alerts resolved"
