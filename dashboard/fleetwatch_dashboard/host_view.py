"""What the host page shows beside its charts: facts, the disk table, processes, events. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fleetwatch_storage.frames import Frame, split
from fleetwatch_storage.hosts import Host
from fleetwatch_storage.metadata.alerts import Alert
from fleetwatch_storage.metadata.hosts import Event

from fleetwatch_dashboard import charts, forecast, latest, levels
from fleetwatch_dashboard.fleet import Row
from fleetwatch_dashboard.incidents import describe, threshold_text
from fleetwatch_dashboard.levels import Rulebook
from fleetwatch_dashboard.times import length
from fleetwatch_dashboard.units import NOTHING, shown

PROCESS_KEYS = ("cpu_percent", "rss", "read_bytes", "write_bytes")
FULL_WITHIN_DAYS = 3650


@dataclass(frozen=True, slots=True)
class Disk:
    """One mount. `per_day` in bytes and `days` until full are None when unknown."""

    path: str
    used_percent: float | None
    level: str
    used: float | None
    total: float | None
    inodes_percent: float | None
    per_day: float | None
    days: float | None
    read_only: bool


@dataclass(frozen=True, slots=True)
class Process:
    """One of the top processes at a time; bytes per second for reads and writes."""

    pid: int
    name: str
    user: str
    cpu_percent: float | None
    rss: float | None
    read_bytes: float | None
    write_bytes: float | None
    threads: float | None
    started: float | None


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of the events list; `shape` is a status name, "" for a plain mark."""

    at_ms: int
    title: str
    detail: str
    shape: str = ""
    level: str = ""


_TITLES = {
    "agent_started": ("Agent started", "ok", "none"),
    "agent_stopped": ("Agent stopped", "nodata", "none"),
    "reboot": ("Host rebooted", "", ""),
    "clock_step": ("Clock stepped", "pending", "warn"),
    "points_lost": ("Points lost", "warning", "warn"),
    "cloned_machine": ("Two machines share one identity", "warning", "warn"),
    "quarantine": ("Lines set aside", "pending", "warn"),
}


def facts(host: Host, row: Row, now_ms: int) -> list[tuple[str, str]]:
    """Facts as pairs of name and text; what is unknown is left out."""
    known = host.facts
    processor = known.cpu_model
    if known.threads:
        cores = f"{known.cores} cores / {known.threads} threads" if known.cores else f"{known.threads} threads"
        processor = f"{processor}, {cores}" if processor else cores
    booted = row.values.get("uptime") or ((now_ms - known.boot_time_ms) / 1000 if known.boot_time_ms else 0)
    pairs = [
        ("Address", known.address),
        ("OS", known.os),
        ("Kernel", " ".join(filter(None, [known.kernel, known.architecture]))),
        ("CPU", processor),
        ("Memory", str(shown(known.memory_bytes, "bytes")) if known.memory_bytes else ""),
        ("Virtual", known.virtualization),
        ("Up", length(booted * 1000) if booted else ""),
        ("Agent", host.agent_version),
    ]
    return [(name, text) for name, text in pairs if text]


def same_unit(value: float, total: float) -> str:
    """A part of a whole in bytes without a unit where it has that of the whole."""
    part, whole = shown(value, "bytes"), shown(total, "bytes")
    return part.text if part.unit == whole.unit else str(part)


def used_of(disk: Disk) -> str:
    """`57.1 / 79 GiB`."""
    if disk.used is None or disk.total is None:
        return str(NOTHING)
    return f"{same_unit(disk.used, disk.total)} / {shown(disk.total, 'bytes')}"


def disks(frame: Frame | None, row: Row, history: Frame | None, rulebook: Rulebook) -> list[Disk]:
    """Mounts of a host, fullest first; `history` holds `used` over some days."""
    growth = _growth(history)
    found = (
        [_disk(frame, at, growth, row, rulebook) for at in latest.of_host(frame, row.host.name)]
        if frame is not None
        else []
    )
    return sorted(found, key=lambda disk: -(disk.used_percent or 0))


def _disk(frame: Frame, at: int, growth: Mapping[str, float], row: Row, rulebook: Rulebook) -> Disk:
    tags = dict(frame.tagsets[int(frame.tagset[at])])
    path, metric = tags.get("path", ""), "disk.used_percent"
    own = [alert for alert in row.alerts if alert.labels.get("path", path) == path]
    used_percent, free = latest.number(frame, "used_percent", at), latest.number(frame, "free", at)
    days = forecast.days_until_full(free, growth.get(path)) if free is not None else None
    limits = rulebook.thresholds(metric, row.host, tags)
    return Disk(
        path=path,
        used_percent=used_percent,
        level=levels.firing_level(metric, own) or levels.level_of(used_percent, limits),
        used=latest.number(frame, "used", at),
        total=latest.number(frame, "total", at),
        inodes_percent=latest.number(frame, "inodes_used_percent", at),
        per_day=growth.get(path),
        days=days if days is not None and days < FULL_WITHIN_DAYS else None,
        read_only=tags.get("mode") == "ro",
    )


def _growth(history: Frame | None) -> dict[str, float]:
    out: dict[str, float] = {}
    for series in split(history) if history is not None else []:
        per_day = forecast.growth_per_day(series.time, charts.floats(series.fields["used"]))
        if per_day is not None:
            out[dict(series.tags).get("path", "")] = per_day
    return out


def processes(frame: Frame | None, host: str) -> list[Process]:
    """The processes of the newest table of a host in the frame, by processor time."""
    if frame is None or host not in frame.hosts:
        return []
    code = list(frame.hosts).index(host)
    mine = charts.keep(frame, frame.host == code)
    if mine is None:
        return []
    rows = [row for row, at in enumerate(mine.time.tolist()) if at == int(mine.time.max())]
    found = [_process(mine, row) for row in rows]
    return sorted((one for one in found if one.pid), key=lambda one: -(one.cpu_percent or 0))


def _process(frame: Frame, row: int) -> Process:
    values = {name: latest.number(frame, name, row) for name in (*PROCESS_KEYS, "threads", "started")}
    pid = latest.number(frame, "pid", row)
    return Process(
        pid=int(pid or 0), name=latest.text(frame, "name", row), user=latest.text(frame, "user", row), **values
    )


def happenings(events: Iterable[Event], alerts: Iterable[Alert], start_ms: int, end_ms: int) -> list[Happening]:
    """Events and alerts of a host in a range, newest first."""
    found = [_event(event) for event in events]
    for alert in alerts:
        found.extend(one for one in _transitions(alert) if start_ms <= one.at_ms < end_ms)
    return sorted(found, key=lambda one: -one.at_ms)


def _event(event: Event) -> Happening:
    title, shape, level = _TITLES.get(event.kind, (event.kind.replace("_", " ").capitalize(), "", ""))
    return Happening(event.at_ms, title, event.detail, shape, level)


def _transitions(alert: Alert) -> list[Happening]:
    critical = alert.level == "critical"
    shape, level = ("critical", "crit") if critical else ("warning", "warn")
    found = []
    if alert.state == "pending" and alert.active_at_ms:
        found.append(Happening(alert.active_at_ms, f"{alert.rule} pending", describe(alert), "pending", "warn"))
    if alert.fired_at_ms:
        text = ", ".join(filter(None, [describe(alert), threshold_text(alert)]))
        found.append(Happening(alert.fired_at_ms, f"{alert.rule} firing", text, shape, level))
    if alert.resolved_at_ms:
        found.append(Happening(alert.resolved_at_ms, f"{alert.rule} resolved", "", "ok", "ok"))
    return found
