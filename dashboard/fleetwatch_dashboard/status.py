"""The state of a host, from its alerts and the age of its data. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fleetwatch_storage.hosts import Host
from fleetwatch_storage.metadata.alerts import Alert

from fleetwatch_dashboard.levels import LEVELS, is_firing
from fleetwatch_dashboard.times import brief, clock

SILENT_INTERVALS = 3
SILENT_AT_LEAST_MS = 30_000


class Status(StrEnum):
    """States of a host, worst first."""

    CRITICAL = "critical"
    WARNING = "warning"
    NODATA = "nodata"
    MAINTENANCE = "maintenance"
    OK = "ok"


RANK = {status: place for place, status in enumerate(Status)}


@dataclass(frozen=True, slots=True)
class Condition:
    """How a host is: `silent` when its data is too old to be shown as now; `reason` says why, in a few words."""

    status: Status
    silent: bool
    age_ms: int
    last_ms: int
    reason: str = ""
    reason_level: str = ""


def last_seen(host: Host, newest_row_ms: int) -> int:
    """When the host was last heard of. Rows carry the host's own clock, so its offset is taken out of them."""
    return max(host.last_seen_ms, newest_row_ms - round(host.clock_offset_ms) if newest_row_ms else 0)


def condition(host: Host, alerts: Sequence[Alert], last_ms: int, now_ms: int) -> Condition:
    """The state of one host; `alerts` are those of this host that are not inactive."""
    age = max(0, now_ms - last_ms)
    silent = age > max(SILENT_INTERVALS * host.interval_ms, SILENT_AT_LEAST_MS)
    away = silent and host.goodbye_until_ms > now_ms
    status = _status(alerts, silent, away)
    reason, level = _reason(alerts, silent, away, host, age, now_ms)
    return Condition(status, silent, age, last_ms, reason, level)


def by_host(alerts: Iterable[Alert]) -> dict[str, list[Alert]]:
    """Alerts by the host in their labels, in their order."""
    found: dict[str, list[Alert]] = {}
    for alert in alerts:
        if host := alert.labels.get("host"):
            found.setdefault(host, []).append(alert)
    return found


def counts(conditions: Iterable[Condition]) -> dict[Status, int]:
    """How many hosts are in each state."""
    found = dict.fromkeys(Status, 0)
    for one in conditions:
        found[one.status] += 1
    return found


def _status(alerts: Sequence[Alert], silent: bool, away: bool) -> Status:
    firing = {alert.level for alert in alerts if is_firing(alert) and not alert.suppressed_by}
    if "critical" in firing:
        return Status.CRITICAL
    if "warning" in firing:
        return Status.WARNING
    if away:
        return Status.MAINTENANCE
    return Status.NODATA if silent else Status.OK


def _reason(alerts: Sequence[Alert], silent: bool, away: bool, host: Host, age_ms: int, now_ms: int) -> tuple[str, str]:
    for alert in alerts:
        if is_firing(alert):
            return f"{alert.rule}, {brief(now_ms - (alert.fired_at_ms or now_ms))}", LEVELS.get(alert.level, "")
    if away:
        return f"agent stopped, back by {clock(host.goodbye_until_ms)[:5]} UTC", "maint"
    for alert in alerts:
        if alert.state == "pending":
            since = brief(now_ms - (alert.active_at_ms or now_ms))
            return f"{alert.rule} pending, {since}", "none" if silent else "warn"
    return (f"no data for {brief(age_ms)}", "none") if silent else ("", "")
