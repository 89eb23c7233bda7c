"""Rows of the fleet table from the last rows of every host. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fleetwatch_storage.frames import Frame
from fleetwatch_storage.hosts import Host
from fleetwatch_storage.metadata.alerts import Alert

from fleetwatch_dashboard import latest, levels, status
from fleetwatch_dashboard.latest import Fullest
from fleetwatch_dashboard.levels import Rulebook
from fleetwatch_dashboard.status import RANK, Condition

METRICS = {
    "cpu": "cpu.usage_active",
    "mem": "mem.used_percent",
    "swap": "swap.used_percent",
    "disk": "disk.used_percent",
    "io": "diskio.io_util",
    "load": "system.load1_per_core",
    "temp": "temp.temp",
    "uptime": "system.uptime",
}
"""Columns of the table, as the filter box names them, and the metric each shows."""


@dataclass(frozen=True, slots=True)
class Row:
    """One host. `values` and `levels` are keyed like METRICS and hold what is known; `mount` is the fullest."""

    host: Host
    condition: Condition
    values: Mapping[str, float]
    levels: Mapping[str, str]
    mount: str = ""
    process: str = ""  # the busiest one; its processor use is a share of the whole host
    process_cpu: float | None = None
    failed_units: int = 0
    units: int = 0
    alerts: Sequence[Alert] = field(default_factory=tuple)

    @property
    def tags(self) -> str:
        """Host tags as the table prints them under the name."""
        return " · ".join(value for value in self.host.tags.values() if value)


def rows(
    hosts: Sequence[Host], frames: Iterable[Frame], alerts: Iterable[Alert], rulebook: Rulebook, now_ms: int
) -> list[Row]:
    """One row per host, in the order of `hosts`."""
    found = latest.by_measurement(frames)
    known = _known(found)
    seen, mine = latest.newest(found.values()), status.by_host(alerts)
    return [
        _row(host, known, tuple(mine.get(host.name, ())), rulebook, seen.get(host.name, 0), now_ms) for host in hosts
    ]


def worst_first(found: Iterable[Row]) -> list[Row]:
    """By state, then by how many values are beyond their levels, then by name."""
    return sorted(found, key=lambda row: (RANK[row.condition.status], -_heat(row), row.host.name))


def ordered(found: Sequence[Row], key: str, descending: bool) -> list[Row]:
    """By one column; hosts without a value come last. Unknown keys mean worst first."""
    if key == "name":
        return sorted(found, key=lambda row: row.host.name, reverse=descending)
    if key == "age":
        return sorted(found, key=lambda row: row.condition.age_ms, reverse=descending)
    if key not in METRICS:
        return worst_first(found)
    known = [row for row in found if key in row.values and not row.condition.silent]
    absent = [row for row in found if key not in row.values or row.condition.silent]
    return sorted(known, key=lambda row: row.values[key], reverse=descending) + absent


def latest_metrics(row: Row) -> dict[str, float]:
    """The row's values by metric, as the API gives them."""
    return {METRICS[name]: value for name, value in row.values.items()}


@dataclass(frozen=True, slots=True)
class _Known:
    """The last values of all hosts, by column and host."""

    columns: Mapping[str, Mapping[str, float]]
    cores: Mapping[str, float]
    disks: Mapping[str, Fullest]
    processes: Mapping[str, tuple[str, float | None]]
    units: Mapping[str, tuple[int, int]]


def _known(found: Mapping[str, Frame]) -> _Known:
    disks = latest.largest(found.get("disk"), "used_percent", "path")
    columns = {
        "cpu": latest.column(found.get("cpu"), "usage_active", {"cpu": "cpu-total"}),
        "mem": latest.column(found.get("mem"), "used_percent"),
        "swap": latest.column(found.get("swap"), "used_percent"),
        "disk": _values(disks),
        "load": latest.column(found.get("system"), "load1_per_core"),
        "uptime": latest.column(found.get("system"), "uptime"),
        "io": _values(latest.largest(found.get("diskio"), "io_util", "name")),
        "temp": _values(latest.largest(found.get("temp"), "temp", "sensor")),
    }
    return _Known(
        columns,
        latest.column(found.get("system"), "n_cpus"),
        disks,
        _processes(found.get("process_top")),
        _units(found.get("systemd_units")),
    )


def _row(host: Host, known: _Known, alerts: tuple[Alert, ...], rulebook: Rulebook, newest_ms: int, now_ms: int) -> Row:
    values = {name: column[host.name] for name, column in known.columns.items() if host.name in column}
    mount = known.disks[host.name].name if host.name in known.disks else ""
    process, cpu = known.processes.get(host.name, ("", None))
    failed, total = known.units.get(host.name, (0, 0))
    return Row(
        host=host,
        condition=status.condition(host, alerts, status.last_seen(host, newest_ms), now_ms),
        values=values,
        levels=_levels(values, host, {"path": mount} if mount else {}, alerts, rulebook),
        mount=mount,
        process=process,
        process_cpu=None if cpu is None else cpu / (known.cores.get(host.name) or host.facts.threads or 1),
        failed_units=failed,
        units=total,
        alerts=alerts,
    )


def _values(found: Mapping[str, Fullest]) -> dict[str, float]:
    return {host: one.value for host, one in found.items()}


def _levels(
    values: Mapping[str, float], host: Host, disk: Mapping[str, str], alerts: Sequence[Alert], rulebook: Rulebook
) -> dict[str, str]:
    found = {}
    for name, value in values.items():
        limits = rulebook.thresholds(METRICS[name], host, disk if name == "disk" else {})
        if level := levels.firing_level(METRICS[name], alerts) or levels.level_of(value, limits):
            found[name] = level
    return found


def _heat(row: Row) -> int:
    return sum({"crit": 2, "warn": 1}.get(level, 0) for level in row.levels.values())


def _processes(frame: Frame | None) -> dict[str, tuple[str, float | None]]:
    if frame is None:
        return {}
    top = latest.top_rows(frame, "cpu_percent")
    return {
        host: (latest.text(frame, "name", row), latest.number(frame, "cpu_percent", row)) for host, row in top.items()
    }


def _units(frame: Frame | None) -> dict[str, tuple[int, int]]:
    states = frame.fields.get("state") if frame is not None else None
    if frame is None or states is None:
        return {}
    out: dict[str, tuple[int, int]] = {}
    for code, state, live in zip(frame.host.tolist(), states.tolist(), latest.fresh(frame).tolist(), strict=True):
        if live:
            failed, total = out.get(frame.hosts[code], (0, 0))
            out[frame.hosts[code]] = (failed + (state == 3), total + 1)
    return out
