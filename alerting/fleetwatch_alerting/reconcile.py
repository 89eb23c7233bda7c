"""Putting into the outbox what receivers are to be told, in the transaction that also keeps the alerts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace

import sqlalchemy as sa
from fleetwatch_storage.metadata import tables

from fleetwatch_alerting import compose, notification, timing
from fleetwatch_alerting.alert import Alert
from fleetwatch_alerting.notification import GroupKey, Missed, Notification, Tell
from fleetwatch_alerting.rules.schema import ReceiverConfig, RuleFile
from fleetwatch_alerting.timing import NEVER, Group, Tells, Verdict, Waiting

DEFAULT_ROUTE = "default"
_DAY_MS = 86_400_000
GIVE_UP_MS = {False: _DAY_MS, True: 7 * _DAY_MS}
"""How long a notification is tried; True: it tells of something critical."""


@dataclass(slots=True)
class _Place:
    """One group of one receiver, as the database has it."""

    group: Group = field(default_factory=Group)
    told: dict[str, Tell] = field(default_factory=dict)
    waiting: list[Waiting] = field(default_factory=list)
    missed: dict[int, tuple[Missed, ...]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether something was told, waits, or was wanted at the last look."""
        return bool(self.told or self.waiting) or self.group.first_wanted_ms is not None


def reconcile(connection: sa.Connection, firing: Iterable[Alert], file: RuleFile, now: int, external_url: str) -> int:
    """Enqueues what is due for every receiver and group; returns when something will be due next (unix ms)."""
    return _Pass(connection, file, now, external_url).run(firing)


@dataclass(frozen=True, slots=True, eq=False)
class _Pass:
    """One look at all groups at `now`, within the caller's transaction."""

    connection: sa.Connection
    file: RuleFile
    now: int
    external_url: str

    def run(self, firing: Iterable[Alert]) -> int:
        wanted = self._grouped(firing)
        next_ms = NEVER
        for receiver in self.file.receivers:
            mine = wanted if receiver.name in self.file.route.to else {}
            places = _places(self.connection, receiver.name)
            for key in {**{key: None for key, place in places.items() if place.is_open}, **dict.fromkeys(mine)}:
                place = places.get(key) or _Place()
                next_ms = min(next_ms, self._look(receiver, key, place, mine.get(key, {})))
        return next_ms

    def _grouped(self, firing: Iterable[Alert]) -> dict[GroupKey, dict[str, Alert]]:
        found: dict[GroupKey, dict[str, Alert]] = defaultdict(dict)
        for alert in firing:
            key = notification.group_key(compose.group_labels(alert, self.file.route.group_by))
            found[key][alert.fingerprint] = alert
        return found

    def _look(self, receiver: ReceiverConfig, key: GroupKey, place: _Place, alerts: Mapping[str, Alert]) -> int:
        wanted = {fingerprint: compose.tell(alert) for fingerprint, alert in alerts.items()}
        if not receiver.send_resolved:
            place.told = _forget(self.connection, receiver.name, key, place.told, wanted)
        verdict = timing.decide(
            wanted,
            place.told,
            place.waiting,
            place.group,
            self.file.route,
            self.now,
            send_resolved=receiver.send_resolved,
        )
        place.labels = next(
            (compose.group_labels(one, self.file.route.group_by) for one in alerts.values()), place.labels
        )
        group = verdict.group
        if verdict.reason:
            group = replace(group, seq=group.seq + 1, first_wanted_ms=None)
            made = self._compose(receiver, place, replace(verdict, group=group), alerts, wanted)
            _enqueue(self.connection, made, verdict.replaces, self.now)
        if group != place.group:
            _keep_group(self.connection, receiver.name, key, group, place.labels)
        return verdict.next_ms

    def _compose(
        self,
        receiver: ReceiverConfig,
        place: _Place,
        verdict: Verdict,
        alerts: Mapping[str, Alert],
        wanted: Tells,
    ) -> Notification:
        known = timing.after(place.told, next((one for one in place.waiting if one.sending), None))
        changes = timing.difference(wanted, known, send_resolved=receiver.send_resolved)
        ended = _rows(self.connection, [*changes, *(verdict.replaces.tells if verdict.replaces else ())], wanted)
        missed = _missed(place, verdict.replaces, known, wanted, ended, self.now)
        changes |= {one.fingerprint: "resolved" for one in missed if one.fingerprint not in wanted}
        return compose.notification(
            receiver.name,
            compose.Subject(place.labels, alerts, ended),
            known,
            changes,
            seq=verdict.group.seq,
            reason=verdict.reason,
            now=self.now,
            external_url=self.external_url,
            most=receiver.max_alerts,
            missed=missed,
        )


def _missed(
    place: _Place,
    replaced: Waiting | None,
    known: Tells,
    wanted: Tells,
    ended: Mapping[str, sa.RowMapping],
    now: int,
) -> tuple[Missed, ...]:
    """What a replaced notification would have told as firing and that is over by now, and what that one had missed."""
    if replaced is None:
        return ()
    found = list(place.missed[replaced.outbox_id])
    for fingerprint, one in replaced.tells.items():
        newer = wanted.get(fingerprint)
        if not one.firing or fingerprint in known or (newer and newer.starts_at_ms == one.starts_at_ms):
            continue
        row = ended.get(fingerprint)
        ends = row["resolved_at_ms"] if row is not None and row["resolved_at_ms"] else now
        found.append(Missed(fingerprint, one.level, one.starts_at_ms, ends))
    return tuple(found[-100:])


def _rows(connection: sa.Connection, fingerprints: Iterable[str], wanted: Tells) -> dict[str, sa.RowMapping]:
    """The rows of alerts that are over."""
    over = [one for one in dict.fromkeys(fingerprints) if one not in wanted]
    found: dict[str, sa.RowMapping] = {}
    for start in range(0, len(over), 500):
        query = sa.select(tables.alerts).where(tables.alerts.c.fingerprint.in_(over[start : start + 500]))
        found |= {row["fingerprint"]: row for row in connection.execute(query).mappings()}
    return found


def _places(connection: sa.Connection, receiver: str) -> dict[GroupKey, _Place]:
    """The groups of a receiver."""
    places: dict[GroupKey, _Place] = defaultdict(_Place)
    told, groups, outbox = tables.told, tables.groups, tables.outbox
    for row in connection.execute(sa.select(told).where(told.c.receiver == receiver)).mappings():
        places[row["group_key"]].told[row["fingerprint"]] = Tell(row["fingerprint"], row["level"], row["starts_at_ms"])
    open_rows = sa.select(outbox).where(outbox.c.receiver == receiver, outbox.c.state.in_(("pending", "inflight")))
    for row in connection.execute(open_rows).mappings():
        _add_waiting(places[row["group_key"]], row)
    for row in connection.execute(sa.select(groups).where(groups.c.receiver == receiver)).mappings():
        place = places[row["group_key"]]
        place.group = Group(row["seq"], row["first_wanted_ms"], row["last_sent_ms"], row["dead_ms"])
        place.labels = row["labels"]
    return places


def _add_waiting(place: _Place, row: sa.RowMapping) -> None:
    stored = notification.from_json(row["notification"])
    tells = {one.fingerprint: one for one in stored.tells}
    sending = row["state"] == "inflight"
    place.waiting.append(Waiting(row["id"], row["seq"], tells, sending, row["attempts"], row["next_at_ms"]))
    place.missed[row["id"]] = stored.missed


def _enqueue(connection: sa.Connection, made: Notification, replaces: Waiting | None, now: int) -> None:
    """Adds the notification; one that it replaces is superseded, and its patience with the receiver is inherited."""
    outbox = tables.outbox
    if replaces is not None:
        connection.execute(sa.update(outbox).where(outbox.c.id == replaces.outbox_id).values(state="superseded"))
    row = {
        "receiver": made.receiver,
        "route": DEFAULT_ROUTE,
        "group_key": made.group_key,
        "seq": made.seq,
        "idempotency_key": made.idempotency_key,
        "notification": notification.to_json(made),
        "state": "pending",
        "attempts": replaces.attempts if replaces else 0,
        "created_ms": now,
        "next_at_ms": replaces.next_at_ms if replaces else now,
        "give_up_ms": now + GIVE_UP_MS[made.is_critical],
        "owner": "",
        "last_status": "",
        "last_error": "",
        "plain": False,
    }
    connection.execute(sa.insert(outbox), row)


def _keep_group(
    connection: sa.Connection, receiver: str, key: GroupKey, group: Group, labels: Mapping[str, str]
) -> None:
    groups = tables.groups
    same = (groups.c.receiver == receiver, groups.c.route == DEFAULT_ROUTE, groups.c.group_key == key)
    values = {**asdict(group), "labels": dict(labels)}
    if not connection.execute(sa.update(groups).where(*same).values(**values)).rowcount:
        row = {"receiver": receiver, "route": DEFAULT_ROUTE, "group_key": key, **values}
        connection.execute(sa.insert(groups), row)


def _forget(
    connection: sa.Connection, receiver: str, key: GroupKey, told: Mapping[str, Tell], wanted: Tells
) -> dict[str, Tell]:
    """Drops what is over from what a receiver without resolved messages was told: its next firing is new."""
    table = tables.told
    for fingerprint in told.keys() - wanted.keys():
        same = (table.c.receiver == receiver, table.c.group_key == key, table.c.fingerprint == fingerprint)
        connection.execute(sa.delete(table).where(*same))
    return {fingerprint: one for fingerprint, one in told.items() if fingerprint in wanted}
