"""One evaluation of all rules.

Which series breach is found in numpy; only alerts that are not plainly inactive are stepped one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from fleetwatch_storage.errors import StorageError, StoreUnavailable
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.query import Query

from fleetwatch_alerting import alert as alerts
from fleetwatch_alerting import fleet as fleets
from fleetwatch_alerting import observe
from fleetwatch_alerting.alert import Alert, Labels
from fleetwatch_alerting.engine import Event, Missing, Observation, Reason, end, step
from fleetwatch_alerting.fleet import Fleet
from fleetwatch_alerting.observe import Read, Sight
from fleetwatch_alerting.rules.schema import Rule, RuleType

INSTANCES_PER_RULE = 2000

Alerts = Mapping[str, Mapping[Labels, Alert]]
"""The alerts that are not inactive, by rule uid and group."""


@dataclass(frozen=True, slots=True)
class Changed:
    """An alert after an evaluation, and the events that led there."""

    alert: Alert
    events: tuple[Event, ...] = ()


@dataclass(slots=True)
class Round:
    """The outcome of one evaluation at `t`: changed alerts, failures by rule uid, alerts over the limit."""

    t: int
    changed: list[Changed] = field(default_factory=list)
    failed: dict[str, Exception] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)

    @property
    def unavailable(self) -> bool:
        """Whether the store could not answer, as opposed to a rule being wrong."""
        return any(isinstance(error, StoreUnavailable) for error in self.failed.values())


def remembering(read: Read) -> Read:
    """`read` that asks the same question once: rules on the same series share the answer of a round."""
    answers: dict[Query, Frame] = {}

    def asked(query: Query) -> Frame:
        if query not in answers:
            answers[query] = read(query)
        return answers[query]

    return asked


def evaluate(rules: Iterable[Rule], known: Alerts, read: Read, t: int, fleet: Fleet, *, grace: bool = False) -> Round:
    """All threshold rules at `t`; silent hosts at the fleet's own time.

    `grace`: the server has just started or lost its store; hosts that seem silent are not reported.
    """
    found = Round(t)
    asked = remembering(read)
    for rule in rules:
        existing = known.get(rule.uid, {})
        try:
            if rule.type is RuleType.HOST_DOWN:
                changes = [] if fleet.replayed else _silent_hosts(rule, existing, fleet, grace)
            else:
                changes = _threshold(rule, existing, asked, t, fleet)
        except Exception as error:  # noqa: BLE001 - isolation point: one rule must not stop the others; the desk logs it
            found.failed[rule.uid] = error
            changes = [_stepped(one, t, Observation(missing=Missing.ERROR)) for one in existing.values()]
        _keep(found, rule, existing, changes)
    return found


def stalled(rules: Iterable[Rule], known: Alerts, t: int, error: StorageError) -> Round:
    """The evaluation at `t` when the store cannot even say which hosts there are: everything stands still."""
    found = Round(t)
    for rule in rules:
        found.failed[rule.uid] = error
        still = Observation(missing=Missing.ERROR)
        found.changed.extend(_stepped(one, t, still) for one in known.get(rule.uid, {}).values())
    return found


def _keep(found: Round, rule: Rule, existing: Mapping[Labels, Alert], changes: list[Changed]) -> None:
    """Takes what changed; new alerts beyond the limit are refused, the ones that exist are kept."""
    room = INSTANCES_PER_RULE - len(existing)
    for one in changes:
        if one.alert.group in existing:
            found.changed.append(one)
        elif one.alert.state.is_idle and not one.events:
            continue
        elif room > 0:
            room -= 1
            found.changed.append(one)
        else:
            found.refused[rule.uid] = found.refused.get(rule.uid, 0) + 1


def _threshold(rule: Rule, existing: Mapping[Labels, Alert], read: Read, t: int, fleet: Fleet) -> list[Changed]:
    sight = observe.look(rule, read, t, fleet.interval_ms)
    hot = np.flatnonzero(observe.breaching(rule.comparison, sight.values, rule.levels[0].threshold)).tolist()
    rows = {sight.labels(row): row for row in hot[: 2 * INSTANCES_PER_RULE]} | sight.rows_of(existing)
    values = {group: value for group, row in rows.items() if not np.isnan(value := float(sight.values[row]))}
    guarded = _guards(rule, values, read, t, fleet)
    changes = []
    for group in {**dict.fromkeys(values), **dict.fromkeys(existing)}:
        before = existing.get(group) or alerts.new(rule, group)
        seen = guarded.get(group) or Observation(missing=fleet.missing(before.host))
        changes.append(_stepped(before, t, seen))
    return changes


def _guards(rule: Rule, values: Mapping[Labels, float], read: Read, t: int, fleet: Fleet) -> dict[Labels, Observation]:
    """The values with `only_if` applied. Where a guard has no value nothing can be said: the alert stands still."""
    found = {group: Observation(value) for group, value in values.items()}
    if not values:
        return found
    for guard in rule.only_if:
        other = (
            values
            if not guard.metric
            else _by_group(observe.look_at_guard(rule, guard, read, t, fleet.interval_ms), values)
        )
        for group, seen in found.items():
            value = other.get(group)
            if value is None:
                found[group] = Observation(missing=Missing.HOST)
            elif not bool(observe.breaching(guard.comparison, np.array([value]), guard.threshold)[0]):
                found[group] = replace(seen, allowed=False)
    return found


def _by_group(sight: Sight, groups: Iterable[Labels]) -> dict[Labels, float]:
    rows = sight.rows_of(groups)
    return {group: value for group, row in rows.items() if not np.isnan(value := float(sight.values[row]))}


def _stepped(before: Alert, t: int, seen: Observation) -> Changed:
    state, events = step(before.rule, before.state, t, seen)
    return Changed(replace(before, state=state), events)


def _silent_hosts(rule: Rule, existing: Mapping[Labels, Alert], fleet: Fleet, grace: bool) -> list[Changed]:
    """Hosts by the seconds since they were heard of; samples and their times play no part."""
    hosts = list(fleet.hosts.values())
    silent = fleets.silence_s(hosts, fleet.now_ms)
    hot = observe.breaching(rule.comparison, silent, rule.levels[0].threshold)
    seconds: dict[Labels, float] = {}
    for index in np.flatnonzero(hot).tolist() if not grace else ():
        if fleets.matches(hosts[index], rule.where):
            seconds[(("host", hosts[index].name),)] = float(silent[index])
    changes = []
    for group in {**seconds, **dict.fromkeys(existing)}:
        before = existing.get(group) or alerts.new(rule, group)
        seen = Observation(seconds[group]) if group in seconds else _not_reported(before, fleet, grace)
        changes.append(_stepped(before, fleet.now_ms, seen))
    return changes


def _not_reported(before: Alert, fleet: Fleet, grace: bool) -> Observation:
    """A host that was silent: it sends again, it left the fleet, or (in the grace time) nothing is known yet."""
    host = fleet.hosts.get(before.host)
    if host is None:
        return Observation(missing=Missing.RETIRED if fleet.hosts else Missing.HOST)
    if not fleets.matches(host, before.rule.where):
        return Observation(0.0)
    seconds = float(fleets.silence_s([host], fleet.now_ms)[0])
    if seconds >= before.rule.levels[0].threshold and grace:
        return Observation(missing=Missing.HOST)
    return Observation(seconds)


def ended(known: Alerts, uid: str, t: int, reason: Reason) -> list[Changed]:
    """Ends all alerts of a rule that is gone or looks at other groups now."""
    changes = []
    for one in known.get(uid, {}).values():
        state, events = end(one.state, t, reason)
        changes.append(Changed(replace(one, state=state), events))
    return changes
