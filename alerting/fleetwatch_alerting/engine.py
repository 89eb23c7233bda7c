"""Whether an alert pends, fires, recovers: one pure function, used live, in replay and in tests.

`step(rule, state, t, observation)` depends on nothing else. States and transitions are those of the README's table:
hysteresis holds only while firing, a missing value freezes every timer, health is apart from the state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from fleetwatch_alerting.rules.schema import Level, NoData, Rule, Severity


class Phase(StrEnum):
    """Where an alert is."""

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"
    RECOVERING = "recovering"


class Health(StrEnum):
    """Whether the last evaluation had a value to go by."""

    OK = "ok"
    NODATA = "nodata"
    ERROR = "error"


class Change(StrEnum):
    """What an evaluation changed. Receivers are told of firing, escalated, deescalated and resolved."""

    PENDING = "pending"
    CLEARED = "cleared"
    FIRING = "firing"
    ESCALATED = "escalated"
    DEESCALATED = "deescalated"
    RECOVERING = "recovering"
    FIRING_AGAIN = "firing_again"
    RESOLVED = "resolved"


class Reason(StrEnum):
    """Why."""

    THRESHOLD = "threshold"
    RECOVERED = "recovered"
    SERIES_GONE = "series_gone"
    HOST_RETIRED = "host_retired"
    RULE_REMOVED = "rule_removed"
    RULE_CHANGED = "rule_changed"


class Missing(StrEnum):
    """Why there is no value."""

    SERIES = "series"  # its host is alive, the series is not there
    HOST = "host"  # its host is silent too, or nothing can be said of it
    RETIRED = "retired"  # its host is not known any more
    ERROR = "error"  # the evaluation failed


@dataclass(frozen=True, slots=True)
class Observation:
    """What one evaluation saw: a value, or why there is none. `allowed`: the rule's `only_if` conditions hold."""

    value: float | None = None
    allowed: bool = True
    missing: Missing = Missing.SERIES


@dataclass(frozen=True, slots=True)
class State:
    """One alert between evaluations. Times are unix milliseconds of data time; None: not so now.

    `since` is the start of the present breach of each level; frozen time is added to it, so it is not a time to show:
    `active_at` and `fired_at` are.
    """

    phase: Phase = Phase.INACTIVE
    level: Severity | None = None
    health: Health = Health.OK
    since: Mapping[Severity, int] = field(default_factory=dict)
    active_at: int | None = None
    fired_at: int | None = None
    clear_since: int | None = None
    lower_since: int | None = None
    missing_since: int | None = None
    last_eval: int | None = None
    value: float | None = None
    value_at_fire: float | None = None
    peak: float | None = None
    threshold: float | None = None

    @property
    def is_firing(self) -> bool:
        """Whether receivers should know of it: firing, or recovering and not yet resolved."""
        return self.phase in (Phase.FIRING, Phase.RECOVERING)

    @property
    def is_idle(self) -> bool:
        """Whether nothing needs to be remembered of it."""
        return self.phase is Phase.INACTIVE


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one alert. `state` is the alert as the change left it, or as it was when it ended."""

    change: Change
    at: int
    state: State
    reason: Reason = Reason.THRESHOLD
    previous: Severity | None = None


Step = tuple[State, tuple[Event, ...]]


def step(rule: Rule, state: State, t: int, seen: Observation) -> Step:
    """The alert after the evaluation at `t`, and what changed. `t` must be later than the last one."""
    if seen.value is None:
        if rule.nodata is NoData.OK and seen.missing is Missing.SERIES:
            return _decide(rule, replace(state, last_eval=t, health=Health.NODATA), t, Observation(None, allowed=False))
        return _without_value(rule, state, t, seen.missing)
    known = replace(state, last_eval=t, health=Health.OK, missing_since=None, value=seen.value)
    return _decide(rule, known, t, seen)


def end(state: State, t: int, reason: Reason) -> Step:
    """Ends an alert from outside: its rule or its host is gone."""
    if not state.is_firing:
        return State(last_eval=t), ()
    return State(last_eval=t), (Event(Change.RESOLVED, t, state, reason, state.level),)


def frozen(state: State, by_ms: int) -> State:
    """The alert as if the last `by_ms` milliseconds had not passed."""
    return replace(
        state,
        since={level: start + by_ms for level, start in state.since.items()},
        clear_since=None if state.clear_since is None else state.clear_since + by_ms,
        lower_since=None if state.lower_since is None else state.lower_since + by_ms,
    )


def shifted(state: State, by_ms: int) -> State:
    """The alert after the clock itself was moved by `by_ms`: what had passed is what has passed."""
    moved = frozen(state, by_ms)
    return replace(moved, last_eval=None if state.last_eval is None else state.last_eval + by_ms)


def breaches(rule: Rule, level: Level, value: float) -> bool:
    """Whether a value is on the wrong side of a level's threshold."""
    match rule.comparison.value:
        case ">":
            return value > level.threshold
        case ">=":
            return value >= level.threshold
        case "<":
            return value < level.threshold
        case _:
            return value <= level.threshold


def _recovered(rule: Rule, level: Level, value: float) -> bool:
    """At `recover` or beyond it on the healthy side, and not in breach (`at_least: 3` is left below 3)."""
    beyond = value <= level.recover if rule.comparison.rising else value >= level.recover
    return beyond and not breaches(rule, level, value)


def _without_value(rule: Rule, state: State, t: int, missing: Missing) -> Step:
    """A missing value: all timers stand still; only a series or host that is gone for long ends the alert."""
    health = Health.ERROR if missing is Missing.ERROR else Health.NODATA
    waited = 0 if state.last_eval is None else t - state.last_eval
    since = _missing_since(state, t, missing)
    still = replace(frozen(state, waited), last_eval=t, health=health, missing_since=since)
    gone = missing in (Missing.SERIES, Missing.RETIRED) and since is not None and t - since >= rule.series_gone_ms
    if not gone or state.is_idle:
        return still, ()
    if state.phase is Phase.PENDING:
        return State(last_eval=t), (Event(Change.CLEARED, t, still, Reason.SERIES_GONE),)
    return end(still, t, Reason.HOST_RETIRED if missing is Missing.RETIRED else Reason.SERIES_GONE)


def _missing_since(state: State, t: int, missing: Missing) -> int | None:
    """Counts only while the host is alive: what a silent host does not send is not gone."""
    if missing is Missing.ERROR:
        return state.missing_since
    return None if missing is Missing.HOST else state.missing_since or t


def _decide(rule: Rule, state: State, t: int, seen: Observation) -> Step:
    since = {
        level.severity: state.since.get(level.severity, t)
        for level in rule.levels
        if seen.value is not None and seen.allowed and breaches(rule, level, seen.value)
    }
    state = replace(state, since=since)
    target = _target(rule, state, t, seen)
    if state.is_firing:
        return _while_firing(rule, _with_peak(rule, state), t, target)
    if target is not None:
        return _fire(state, t, target)
    if since:
        return _pend(rule, state, t)
    changed = (Event(Change.CLEARED, t, state, Reason.RECOVERED),) if state.phase is Phase.PENDING else ()
    return State(last_eval=t, health=state.health), changed


def _target(rule: Rule, state: State, t: int, seen: Observation) -> Level | None:
    """The worst level that is matured, or held by hysteresis while firing."""
    for level in reversed(rule.levels):
        if level.severity in state.since and t - state.since[level.severity] >= level.for_ms:
            return level
        if _held(rule, state, level, seen):
            return level
    return None


def _held(rule: Rule, state: State, level: Level, seen: Observation) -> bool:
    if not state.is_firing or state.level is None or seen.value is None or not seen.allowed:
        return False
    return state.level.rank >= level.severity.rank and not _recovered(rule, level, seen.value)


def _pend(rule: Rule, state: State, t: int) -> Step:
    worst = max(state.since, key=lambda severity: severity.rank)
    level = rule.level(worst)
    pending = replace(
        state,
        phase=Phase.PENDING,
        level=worst,
        threshold=None if level is None else level.threshold,
        active_at=t if state.active_at is None else state.active_at,
    )
    changed = () if state.phase is Phase.PENDING else (Event(Change.PENDING, t, pending),)
    return pending, changed


def _fire(state: State, t: int, target: Level) -> Step:
    firing = replace(
        state,
        phase=Phase.FIRING,
        level=target.severity,
        threshold=target.threshold,
        active_at=t if state.active_at is None else state.active_at,
        fired_at=t,
        value_at_fire=state.value,
        peak=state.value,
    )
    return firing, (Event(Change.FIRING, t, firing),)


def _while_firing(rule: Rule, state: State, t: int, target: Level | None) -> Step:
    if target is None:
        return _recover(rule, state, t)
    firing = replace(state, phase=Phase.FIRING, clear_since=None)
    again = (Event(Change.FIRING_AGAIN, t, firing),) if state.phase is Phase.RECOVERING else ()
    moved, changed = _move(rule, firing, t, target)
    return moved, again + changed


def _move(rule: Rule, state: State, t: int, target: Level) -> Step:
    """From the present level to the target: up at once, down after `keep_firing_for`."""
    rank = -1 if state.level is None else state.level.rank
    if target.severity.rank == rank:
        return replace(state, lower_since=None, threshold=target.threshold), ()
    lower_since = t if state.lower_since is None else state.lower_since
    falls = target.severity.rank < rank
    if falls and t - lower_since < rule.keep_firing_ms:
        return replace(state, lower_since=lower_since), ()
    moved = replace(state, level=target.severity, threshold=target.threshold, lower_since=None)
    change = Change.DEESCALATED if falls else Change.ESCALATED
    return moved, (Event(change, t, moved, previous=state.level),)


def _recover(rule: Rule, state: State, t: int) -> Step:
    clear_since = t if state.clear_since is None else state.clear_since
    recovering = replace(state, phase=Phase.RECOVERING, clear_since=clear_since, lower_since=None)
    if t - clear_since >= rule.keep_firing_ms:
        idle = State(last_eval=t, health=state.health)
        return idle, (Event(Change.RESOLVED, t, recovering, Reason.RECOVERED, state.level),)
    changed = () if state.phase is Phase.RECOVERING else (Event(Change.RECOVERING, t, recovering),)
    return recovering, changed


def _with_peak(rule: Rule, state: State) -> State:
    if state.value is None:
        return state
    worst = max if rule.comparison.rising else min
    return replace(state, peak=state.value if state.peak is None else worst(state.peak, state.value))
