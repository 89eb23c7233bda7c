"""The queue of notifications: first in, first out per receiver and group, kept until delivered or given up."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from fleetwatch_storage.metadata import tables
from fleetwatch_storage.metadata.database import transaction

from fleetwatch_alerting import notification
from fleetwatch_alerting.notification import Notification
from fleetwatch_alerting.outcome import Kind, Outcome

LEASE_SLACK_MS = 20_000
REFUSED_PAUSE_MS = 900_000

_BACKOFF_MS = 1000
_LONGEST_BACKOFF_MS = 300_000
_SHORTEST_LIST = 1


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt at one notification. `plain` and `max_alerts` are what earlier refusals led to."""

    id: int
    notification: Notification
    attempt: int
    plain: bool
    max_alerts: int | None
    give_up_ms: int


class Outbox:
    """Takes notifications out and notes how attempts ended. Blocking; every method is one transaction; thread-safe."""

    def __init__(self, engine: sa.Engine, owner: str, rng: random.Random | None = None) -> None:
        self._engine, self._owner = engine, owner
        self._rng = rng or random.Random()  # noqa: S311 - spreads retries, no secret

    def claim(self, receiver: str, now: int, most: int, lease_ms: int) -> list[Job]:
        """Up to `most` due notifications of a receiver, leased; none while it is paused.

        Of a group only the oldest is ever out, so a resolved message cannot overtake its firing.
        """
        with transaction(self._engine) as connection:
            paused_until, reason = _pause_of(connection, receiver)
            if most <= 0 or paused_until > now:
                return []
            probe = reason == Kind.REFUSED.value
            rows = connection.execute(_due(receiver, now, 1 if probe else most)).mappings().all()
            outbox = tables.outbox
            ids = [row["id"] for row in rows]
            leased = {"state": "inflight", "lease_until_ms": now + lease_ms, "owner": self._owner}
            if ids:
                connection.execute(sa.update(outbox).where(outbox.c.id.in_(ids)).values(**leased))
            return [_job(row) for row in rows]

    def record(self, job: Job, outcome: Outcome, now: int, duration_ms: float) -> str:
        """Notes the outcome of an attempt; returns the state the notification is in now."""
        with transaction(self._engine) as connection:
            state = self._settle(connection, job, outcome, now)
            _log(connection, job, outcome, now, duration_ms)
            return state

    def _settle(self, connection: sa.Connection, job: Job, outcome: Outcome, now: int) -> str:
        receiver = job.notification.receiver
        if outcome.kind is Kind.SENT:
            _sent(connection, job, outcome, now)
            return "sent"
        if outcome.kind in (Kind.PAUSE, Kind.REFUSED):
            pause_ms = outcome.retry_after_ms if outcome.kind is Kind.PAUSE else REFUSED_PAUSE_MS
            _pause(connection, receiver, now + pause_ms, outcome)
        values = self._again(job, outcome, now)
        if values is None or now >= job.give_up_ms:
            _dead(connection, job, outcome, now)
            return "dead"
        said = {"last_status": outcome.status, "last_error": outcome.error[:500], "lease_until_ms": None}
        _update(connection, job.id, {"state": "pending", **said, **values})
        return "pending"

    def _again(self, job: Job, outcome: Outcome, now: int) -> dict[str, Any] | None:
        """How the next attempt differs; None when there is none."""
        match outcome.kind:
            case Kind.RETRY:
                longest = min(_LONGEST_BACKOFF_MS, _BACKOFF_MS * 2 ** min(job.attempt, 20))
                return {"attempts": job.attempt, "next_at_ms": now + self._rng.randint(0, longest)}
            case Kind.REJECTED:
                return None if job.plain else {"attempts": job.attempt, "plain": True, "next_at_ms": now}
            case Kind.SMALLER:
                return self._smaller(job, now)
            case _:
                return {"next_at_ms": now}

    def _smaller(self, job: Job, now: int) -> dict[str, Any] | None:
        shown = len(job.notification.alerts) if job.max_alerts is None else job.max_alerts
        if shown <= _SHORTEST_LIST:
            return None if job.plain else {"attempts": job.attempt, "plain": True, "next_at_ms": now}
        return {"attempts": job.attempt, "max_alerts": max(shown // 2, _SHORTEST_LIST), "next_at_ms": now}

    def release(self, jobs: Sequence[Job]) -> None:
        """Gives up the lease of attempts that were broken off: the next start sends them with the same key."""
        with transaction(self._engine) as connection:
            for job in jobs:
                _update(connection, job.id, {"state": "pending", "lease_until_ms": None})

    def take_over(self, now: int) -> int:
        """Makes what this owner had under way before it died, and leases that ran out, pending again."""
        outbox = tables.outbox
        lost = sa.or_(outbox.c.owner == self._owner, outbox.c.lease_until_ms < now)
        with transaction(self._engine) as connection:
            query = sa.update(outbox).where(outbox.c.state == "inflight", lost)
            return connection.execute(query.values(state="pending", lease_until_ms=None)).rowcount

    def unpause(self, receivers: Sequence[str]) -> None:
        """Lets receivers that refused be tried at once: their settings were changed."""
        table = tables.receivers
        with transaction(self._engine) as connection:
            query = sa.update(table).where(table.c.name.in_(receivers), table.c.reason == Kind.REFUSED.value)
            connection.execute(query.values(paused_until_ms=0, reason=""))

    def next_due(self, receiver: str) -> int | None:
        """When the receiver's next notification may be tried (unix ms); None: it has none waiting."""
        outbox = tables.outbox
        at = sa.case((outbox.c.state == "pending", outbox.c.next_at_ms), else_=outbox.c.lease_until_ms + 1)
        mine = (outbox.c.receiver == receiver, outbox.c.state.in_(("pending", "inflight")))
        with self._engine.connect() as connection:
            due = connection.execute(sa.select(sa.func.min(at)).where(*mine)).scalar()
            return None if due is None else max(int(due), _pause_of(connection, receiver)[0])

    def figures(self, now: int) -> Mapping[str, float]:
        """Waiting notifications, the age of the oldest in seconds, and dead ones."""
        outbox = tables.outbox
        with self._engine.connect() as connection:
            waiting = sa.select(sa.func.count(), sa.func.min(outbox.c.created_ms))
            count, oldest = connection.execute(waiting.where(outbox.c.state.in_(("pending", "inflight")))).one()
            dead = connection.execute(sa.select(sa.func.count()).where(outbox.c.state == "dead")).scalar_one()
        age = 0.0 if oldest is None else max(0, now - oldest) / 1000
        return {"outbox": float(count), "outbox_age_seconds": age, "dead": float(dead)}


def _due(receiver: str, now: int, most: int) -> sa.Select[Any]:
    """Due rows in whose group nothing older is unsent; also attempts whose outcome could not be kept."""
    outbox, other = tables.outbox, tables.outbox.alias()
    earlier = sa.exists().where(
        other.c.receiver == outbox.c.receiver,
        other.c.group_key == outbox.c.group_key,
        other.c.seq < outbox.c.seq,
        other.c.state.in_(("pending", "inflight")),
    )
    waiting = sa.and_(outbox.c.state == "pending", outbox.c.next_at_ms <= now)
    lost = sa.and_(outbox.c.state == "inflight", outbox.c.lease_until_ms < now)
    due = (outbox.c.receiver == receiver, sa.or_(waiting, lost), ~earlier)
    return sa.select(outbox).where(*due).order_by(outbox.c.id).limit(most)


def _job(row: sa.RowMapping) -> Job:
    return Job(
        id=row["id"],
        notification=notification.from_json(row["notification"]),
        attempt=row["attempts"] + 1,
        plain=row["plain"],
        max_alerts=row["max_alerts"],
        give_up_ms=row["give_up_ms"],
    )


def _update(connection: sa.Connection, outbox_id: int, values: Mapping[str, Any]) -> None:
    connection.execute(sa.update(tables.outbox).where(tables.outbox.c.id == outbox_id).values(**values))


def _pause_of(connection: sa.Connection, receiver: str) -> tuple[int, str]:
    """Until when nothing is sent to a receiver, and why; the reason stays until something was delivered."""
    table = tables.receivers
    query = sa.select(table.c.paused_until_ms, table.c.reason).where(table.c.name == receiver)
    row = connection.execute(query).first()
    return (0, "") if row is None else (row.paused_until_ms, row.reason)


def _pause(connection: sa.Connection, receiver: str, until_ms: int, outcome: Outcome) -> None:
    _keep_receiver(
        connection,
        receiver,
        {"paused_until_ms": until_ms, "reason": outcome.kind.value, "last_error": outcome.error[:500]},
    )


def _keep_receiver(connection: sa.Connection, receiver: str, values: Mapping[str, Any]) -> None:
    table = tables.receivers
    if not connection.execute(sa.update(table).where(table.c.name == receiver).values(**values)).rowcount:
        row = {"name": receiver, "paused_until_ms": 0, "reason": "", "last_error": "", **values}
        connection.execute(sa.insert(table), row)


def _sent(connection: sa.Connection, job: Job, outcome: Outcome, now: int) -> None:
    """Marks the notification sent and notes, in the same transaction, what its receiver knows now."""
    one = job.notification
    _update(
        connection, job.id, {"state": "sent", "attempts": job.attempt, "last_status": outcome.status, "last_error": ""}
    )
    told, groups = tables.told, tables.groups
    for tell in one.tells:
        same = (
            told.c.receiver == one.receiver,
            told.c.group_key == one.group_key,
            told.c.fingerprint == tell.fingerprint,
        )
        connection.execute(sa.delete(told).where(*same))
    rows = [
        {
            "receiver": one.receiver,
            "route": "default",
            "group_key": one.group_key,
            "fingerprint": tell.fingerprint,
            "level": tell.level,
            "starts_at_ms": tell.starts_at_ms,
            "told_at_ms": now,
            "provider_ref": outcome.reference,
        }
        for tell in one.tells
        if tell.firing
    ]
    if rows:
        connection.execute(sa.insert(told), rows)
    same_group = (groups.c.receiver == one.receiver, groups.c.group_key == one.group_key)
    connection.execute(sa.update(groups).where(*same_group).values(last_sent_ms=now, dead_ms=None))
    calm = {} if _pause_of(connection, one.receiver)[0] > now else {"paused_until_ms": 0, "reason": ""}
    _keep_receiver(connection, one.receiver, {"last_error": "", "last_sent_ms": now, **calm})


def _dead(connection: sa.Connection, job: Job, outcome: Outcome, now: int) -> None:
    said = {"last_status": outcome.status, "last_error": outcome.error[:500], "lease_until_ms": None}
    _update(connection, job.id, {"state": "dead", "attempts": job.attempt, **said})
    groups, one = tables.groups, job.notification
    same_group = (groups.c.receiver == one.receiver, groups.c.group_key == one.group_key)
    connection.execute(sa.update(groups).where(*same_group).values(dead_ms=now))


def _log(connection: sa.Connection, job: Job, outcome: Outcome, now: int, duration_ms: float) -> None:
    row = {
        "outbox_id": job.id,
        "at_ms": now,
        "receiver": job.notification.receiver,
        "group_key": job.notification.group_key,
        "fingerprints": [tell.fingerprint for tell in job.notification.tells[:500]],
        "outcome": outcome.kind.value,
        "status": outcome.status,
        "duration_ms": duration_ms,
    }
    connection.execute(sa.insert(tables.delivery_log), row)
