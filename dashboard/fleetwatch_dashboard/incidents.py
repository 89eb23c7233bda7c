"""Firing alerts as a person reads them: one line per rule and level, however many hosts it concerns. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fleetwatch_proto.catalog import lookup
from fleetwatch_storage.metadata.alerts import Alert, Told

from fleetwatch_dashboard.levels import LEVELS, direction, is_firing
from fleetwatch_dashboard.units import shown

OPEN_MS = 1_800_000
_WORDS = {
    "cpu.usage_active": "CPU",
    "cpu.usage_iowait": "I/O wait",
    "cpu.usage_steal": "CPU steal",
    "mem.used_percent": "Memory",
    "mem.available_percent": "Available memory",
    "swap.used_percent": "Swap",
    "disk.used_percent": "Disk",
    "disk.inodes_used_percent": "Inodes",
    "diskio.io_util": "Disk busy",
    "system.load1_per_core": "Load per core",
    "temp.temp": "Temperature",
    "systemd_units.state": "Unit",
}
_DETAILS = ("path", "name", "interface", "sensor", "resource", "cpu")
"""Labels that say which part of a host is meant, besides the host."""


@dataclass(frozen=True, slots=True)
class Incident:
    """Alerts of one rule and level. `told` is empty when nobody was told yet."""

    level: str
    rule: str
    title: str
    detail: str
    hosts: tuple[str, ...]
    since_ms: int
    told: str
    told_at_ms: int
    alerts: tuple[Alert, ...]

    @property
    def host_names(self) -> str:
        """The first hosts, and how many more."""
        shown_names = ", ".join(self.hosts[:3])
        return f"{shown_names} and {len(self.hosts) - 3} more" if len(self.hosts) > 3 else shown_names


def group(alerts: Iterable[Alert], told: Iterable[Told]) -> list[Incident]:
    """Firing alerts by rule and level, critical first, then the longest firing."""
    groups: dict[tuple[str, str], list[Alert]] = {}
    for alert in alerts:
        if is_firing(alert) and not alert.suppressed_by:
            groups.setdefault((alert.rule_uid, alert.level), []).append(alert)
    told_by: dict[str, list[Told]] = {}
    for one in told:
        told_by.setdefault(one.fingerprint, []).append(one)
    found = [_incident(members, told_by) for members in groups.values()]
    return sorted(found, key=lambda one: ({"crit": 0, "warn": 1}.get(one.level, 2), one.since_ms))


def fired_at(alert: Alert) -> int:
    """Since when it fires."""
    return alert.fired_at_ms or alert.active_at_ms or 0


def describe(alert: Alert) -> str:
    """What is wrong, with its value: `CPU 97.4 %`, `Disk /var 92 %`."""
    return " ".join(part for part in (what(alert.metric, alert.rule), part_of(alert.labels), value_text(alert)) if part)


def value_text(alert: Alert) -> str:
    """The value with its unit, "" when there is none."""
    return "" if alert.value is None else str(shown(alert.value, alert.unit or _unit(alert.metric)))


def threshold_text(alert: Alert) -> str:
    """`above 95 %`; "" when the rule has no threshold."""
    if alert.threshold is None:
        return "no data" if alert.health == "nodata" else ""
    return f"{direction(alert.metric)} {shown(alert.threshold, alert.unit or _unit(alert.metric))}"


def part_of(labels: Mapping[str, str]) -> str:
    """Which part of the host is meant: a path, a device, an interface."""
    return next((labels[key] for key in _DETAILS if labels.get(key) and labels[key] != "cpu-total"), "")


def what(metric: str, rule: str) -> str:
    """A metric in words, or its name, or the rule's."""
    return _WORDS.get(metric, metric or rule)


def _incident(members: Sequence[Alert], told_by: Mapping[str, list[Told]]) -> Incident:
    first = min(members, key=fired_at)
    hosts = tuple(dict.fromkeys(alert.labels.get("host", "") for alert in sorted(members, key=fired_at)))
    where = hosts[0] if len(hosts) == 1 else f"{len(hosts)} hosts"
    tellings = [one for alert in members for one in told_by.get(alert.fingerprint, [])]
    parts = dict.fromkeys(part_of(alert.labels) for alert in members)
    detail = ", ".join([first.rule, *filter(None, [threshold_text(first)])])
    return Incident(
        level=LEVELS.get(first.level, ""),
        rule=first.rule,
        title=f"{_title(members, parts)} on {where}" if where else _title(members, parts),
        detail=detail,
        hosts=tuple(host for host in hosts if host),
        since_ms=fired_at(first),
        told=", ".join(dict.fromkeys(one.receiver for one in tellings)),
        told_at_ms=min((one.at_ms for one in tellings), default=0),
        alerts=tuple(members),
    )


def _title(members: Sequence[Alert], parts: Iterable[str]) -> str:
    if len(members) == 1:
        return describe(members[0])
    same = [part for part in parts if part]
    return " ".join([what(members[0].metric, members[0].rule), *(same if len(same) == 1 else [])])


def _unit(metric: str) -> str:
    found = lookup(metric)
    return found[1].unit if found else ""


def peak_text(alert: Alert) -> str:
    """The worst value while it fired."""
    return str(shown(alert.peak, alert.unit or _unit(alert.metric)))


def sentence(alert: Alert) -> str:
    """What the rule's author wrote about it, else which part of the host is meant."""
    return alert.annotations.get("summary", "") or part_of(alert.labels)


def around(at_ms: int, now_ms: int) -> str:
    """The query string that opens a page half an hour around a moment, the moment locked; live when it was lately."""
    at = at_ms // 1000
    if now_ms - at_ms < OPEN_MS:
        return f"range=1h&at={at}"
    return f"from={at - OPEN_MS // 1000}&to={at + OPEN_MS // 1000}&at={at}"
