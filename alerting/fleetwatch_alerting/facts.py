"""What is gathered once, when an alert fires: the host's top processes, why it is thought silent, a sparkline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from fleetwatch_storage.errors import StorageError
from fleetwatch_storage.frames import Frame, Series, split
from fleetwatch_storage.hosts import Host
from fleetwatch_storage.query import Query

from fleetwatch_alerting import observe
from fleetwatch_alerting.alert import Alert, Labels
from fleetwatch_alerting.observe import Read
from fleetwatch_alerting.rules.schema import Rule, RuleType
from fleetwatch_alerting.units import clock_time, percent, size

HOSTS_PER_ROUND = 50
"""Facts are looked up for so many hosts in a round: in a storm the details of each do not matter."""

_PROCESSES = 5
_LOOKBACK_MS = 60_000
_SPARK_MS = 3_600_000
_SPARK_POINTS = 24
_BARS = "▁▂▃▄▅▆▇█"
_RESOURCE = {"mem": "rss", "swap": "rss", "diskio": "io"}


def gather(fired: Sequence[Alert], hosts: Mapping[str, Host], read: Read, t: int) -> dict[str, dict[str, str]]:
    """Facts by fingerprint; what the store cannot tell now is left out, an alert never waits for it."""
    found: dict[str, dict[str, str]] = {one.fingerprint: _silence(one, hosts) for one in fired}
    some = list(dict.fromkeys(one.host for one in fired if one.host))[:HOSTS_PER_ROUND]
    if not some:
        return found
    try:
        frame = read(_processes_query(some, t))
    except StorageError:
        return found
    tables = {name: rows for name in some if (rows := _last_table(frame, name))}
    for one in fired:
        if one.host in tables:
            found[one.fingerprint]["top_processes"] = _top(tables[one.host], one.rule)
    for rule in {one.rule.uid: one.rule for one in fired}.values():
        _draw(rule, [one for one in fired if one.rule.uid == rule.uid and one.host in some], read, t, found)
    return found


def _silence(alert: Alert, hosts: Mapping[str, Host]) -> dict[str, str]:
    host = hosts.get(alert.host)
    if alert.rule.type is not RuleType.HOST_DOWN or host is None:
        return {}
    if host.goodbye_until_ms:
        why = f"it announced a stop and was expected back by {clock_time(host.goodbye_until_ms)}"
    elif host.connected:
        why = "its agent is still connected but sends nothing: the host stalls or the agent hangs"
    else:
        why = "its agent's connection is gone: the host is down, the agent stopped, or the network is cut"
    return {"why": why, "last_seen": clock_time(host.last_seen_ms) if host.last_seen_ms else "never"}


def _processes_query(hosts: Sequence[str], t: int) -> Query:
    fields = ("name", "cpu_percent", "rss", "read_bytes", "write_bytes")
    return Query("process_top", fields, t - _LOOKBACK_MS, t + 1, where=(observe.any_host(hosts),))


def _last_table(frame: Frame, host: str) -> list[dict[str, object]]:
    """The newest process table of a host, one dict per process."""
    if host not in frame.hosts:
        return []
    rows = np.flatnonzero(frame.host == list(frame.hosts).index(host))
    if not len(rows):
        return []
    newest = rows[frame.time[rows] == frame.time[rows].max()]
    return [{name: column[row] for name, column in frame.fields.items()} for row in newest.tolist()]


def _top(table: Sequence[Mapping[str, object]], rule: Rule) -> str:
    """`java 412 %, postgres 96 %`: by the resource the rule is about, by processor time where it has none."""
    resource = _RESOURCE.get(rule.measurement, "cpu_percent")
    amounts = [(_amount(row, resource), str(row.get("name") or "?")[:64]) for row in table]
    worst = sorted((one for one in amounts if one[0] > 0), reverse=True)[:_PROCESSES]
    write = percent if resource == "cpu_percent" else size
    per = "/s" if resource == "io" else ""
    return ", ".join(f"{name} {write(amount)}{per}" for amount, name in worst)


def _amount(row: Mapping[str, object], resource: str) -> float:
    names = ("read_bytes", "write_bytes") if resource == "io" else (resource,)
    values = [float(value) for name in names if isinstance(value := row.get(name), int | float)]
    return sum(value for value in values if value == value)  # NaN is not equal to itself


def _draw(rule: Rule, fired: Sequence[Alert], read: Read, t: int, found: dict[str, dict[str, str]]) -> None:
    if rule.type is RuleType.HOST_DOWN or not fired:
        return
    try:
        frame = observe.history(rule, read, [one.host for one in fired], t, _SPARK_MS, _SPARK_POINTS)
    except StorageError:
        return
    lines = {_group(series, rule): series for series in split(frame)}
    for one in fired:
        if one.group in lines:
            found[one.fingerprint]["sparkline"] = sparkline(lines[one.group].fields[rule.field].tolist())


def _group(series: Series, rule: Rule) -> Labels:
    pairs = [*series.tags, ("host", series.host)]
    wanted = rule.group_by
    return tuple(sorted(pair for pair in pairs if pair[1] and (wanted is None or pair[0] in wanted)))


def sparkline(values: Sequence[float]) -> str:
    """Values as bars from the lowest to the highest; nothing for fewer than three."""
    finite = [value for value in values if value == value]
    if len(finite) < 3:
        return ""
    low, span = min(finite), (max(finite) - min(finite)) or 1.0
    return "".join(_BARS[min(int((value - low) / span * len(_BARS)), len(_BARS) - 1)] for value in finite)
