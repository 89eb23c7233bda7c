"""The host page."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from fleetwatch_storage.frames import Frame, Numbers
from fleetwatch_storage.hosts import Host
from fleetwatch_storage.metadata.alerts import Alert, Told
from fleetwatch_storage.metadata.hosts import Event
from fleetwatch_storage.query import Matcher, Op
from fleetwatch_storage.store import SeriesKey

from fleetwatch_dashboard import charts, fleet, host_view, latest, levels, panels, questions, tiles
from fleetwatch_dashboard.fleet import Row
from fleetwatch_dashboard.host_view import Process
from fleetwatch_dashboard.levels import Rulebook
from fleetwatch_dashboard.pages import shell
from fleetwatch_dashboard.panels import Panel
from fleetwatch_dashboard.problems import Problem
from fleetwatch_dashboard.sources import Found, Sources
from fleetwatch_dashboard.times import Span

router = APIRouter(include_in_schema=False)

PAST_ALERTS = 1000
_RELATED = {"cpu": ["cpu", "pressure", "system"], "mem": ["mem", "swap"], "swap": ["mem", "swap"]}
"""Charts that are shaded while something fires on a measurement, where it is more than its own."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What the store and the metadata said about one host."""

    lines: Mapping[str, Frame]
    history: Frame | None
    table: Frame | None
    series: Sequence[SeriesKey]
    past: Sequence[Alert]
    told: Sequence[Told]
    events: Sequence[Event]


@router.get("/hosts/{name:path}", response_class=HTMLResponse)
async def host_page(name: str, request: Request, found: Found) -> HTMLResponse:
    """One host: facts, tiles, charts, disks, processes, events."""
    now_ms = found.now_ms()
    span = shell.span(request, now_ms)
    hosts, frames, alerts, rules = await asyncio.gather(
        found.ask(found.store.hosts),
        found.ask(lambda: found.store.latest(latest.MEASUREMENTS)),
        found.ask(found.alerts.active),
        found.ask(found.alerts.rules),
    )
    host = next((one for one in hosts if one.name == name), None)
    if host is None:
        raise Problem(404, "no host of this name", field="host", value=name)
    mine = by_measurement(frames, name)
    rulebook = Rulebook(rules)
    row = fleet.rows([host], mine.values(), alerts, rulebook, now_ms)[0]
    answers = await _answers(found, row, mine, span, now_ms)
    values = _values(row, mine, answers, rulebook, span, now_ms) | {"neighbours": _neighbours(hosts, name)}
    return shell.templates(request).page("host.j2", **shell.around("Fleet", alerts, span, now_ms), **values)


def by_measurement(frames: Sequence[Frame], name: str) -> dict[str, Frame]:
    """The rows of one host, by measurement."""
    found: dict[str, Frame] = {}
    for frame in frames:
        if name in frame.hosts and (part := charts.keep(frame, frame.host == list(frame.hosts).index(name))):
            found[frame.measurement] = part
    return found


async def _answers(found: Sources, row: Row, mine: Mapping[str, Frame], span: Span, now_ms: int) -> Answers:
    name, read = row.host.name, found.store.read
    lines = questions.tile_lines(span, name, row.mount)
    asked = {key: query for key, query in lines.items() if query.measurement in mine or key == "net"}
    told = [alert.fingerprint for alert in row.alerts]
    (past, tellings, events, series), (history, table, *frames) = await asyncio.gather(
        asyncio.gather(
            found.ask(lambda: found.alerts.past(PAST_ALERTS)),
            found.ask(lambda: found.alerts.told(told)),
            found.ask(lambda: found.events.events(name, span.start_ms, span.end_ms)),
            found.ask(lambda: found.store.series(where=(Matcher("host", Op.EQ, name),))),
        ),
        asyncio.gather(
            found.ask(lambda: read(questions.disk_history(now_ms, name))),
            found.ask(lambda: _table(found, mine, name, span)),
            *(found.ask(partial(read, query)) for query in asked.values()),
        ),
    )
    own = [alert for alert in past if alert.labels.get("host") == name]
    return Answers(dict(zip(asked, frames, strict=True)), history, table, series, own, tellings, events)


def _table(found: Sources, mine: Mapping[str, Frame], name: str, span: Span) -> Frame:
    """The processes at the end of the span: from the last rows when it moves with the clock, else as stored."""
    live = mine.get("process_top") if span.range else None
    return live or found.store.read(questions.processes_at(span.end_ms, name))


def _values(
    row: Row, mine: Mapping[str, Frame], answers: Answers, rulebook: Rulebook, span: Span, now_ms: int
) -> dict[str, Any]:
    host = row.host
    cards = panels.for_host(answers.series, cores=_cores(mine, host), memory_bytes=_memory(mine, host))
    alerts = [*row.alerts, *answers.past]
    processes = host_view.processes(answers.table, host.name)
    limits = {metric: rulebook.thresholds(metric, host) for metric in tiles.METRICS}
    return {
        "row": row,
        "host": host,
        "facts": host_view.facts(host, row, now_ms),
        "firing_alerts": [alert for alert in row.alerts if levels.is_firing(alert)],
        "told": _told(answers.told),
        "tiles": tiles.tiles(row, mine, _lines(answers.lines, span), _net(answers.lines.get("net")), limits),
        "cards": cards,
        "disks": host_view.disks(mine.get("disk"), row, answers.history, rulebook),
        "processes": processes,
        "happenings": host_view.happenings(answers.events, alerts, span.start_ms, span.end_ms),
        "data": _data(row, cards, alerts, answers.events, rulebook, span, processes),
    }


def _data(
    row: Row,
    cards: Sequence[Panel],
    alerts: Sequence[Alert],
    events: Sequence[Event],
    rulebook: Rulebook,
    span: Span,
    processes: Sequence[Process],
) -> dict[str, Any]:
    """What the page's script needs to draw the charts."""
    metrics = {view.threshold for card in cards for view in card.views if view.threshold}
    threads = row.host.facts.threads
    cores = f"of {threads} threads" if threads else ""
    return {
        "host": row.host.name,
        "span": {"from": span.start_ms / 1000, "to": span.end_ms / 1000, "range": span.range},
        "interval_s": row.host.interval_ms / 1000,
        "first_seen": row.host.first_seen_ms / 1000,
        "cores": cores,
        "processes": [asdict(one) for one in processes],
        "panels": [panels.document(card) for card in cards if card.views],
        "thresholds": {
            metric: [asdict(one) for one in rulebook.thresholds(metric, row.host)] for metric in sorted(metrics)
        },
        "alerts": [_band(alert) for alert in alerts if alert.fired_at_ms],
        "events": [{"at": event.at_ms / 1000, "kind": event.kind, "detail": event.detail} for event in events],
    }


def _band(alert: Alert) -> dict[str, Any]:
    return {
        "charts": _RELATED.get(alert.metric.partition(".")[0], [alert.metric.partition(".")[0]]),
        "rule": alert.rule,
        "level": levels.LEVELS.get(alert.level, ""),
        "from": (alert.fired_at_ms or 0) / 1000,
        "to": alert.resolved_at_ms / 1000 if alert.resolved_at_ms else None,
    }


def _lines(frames: Mapping[str, Frame], span: Span) -> dict[str, Numbers]:
    """Values of the tiles' sparklines; network is bit/s in and out together."""
    out = {}
    for key, frame in frames.items():
        step = max(questions.spark_step(span), frame.resolution_ms)
        times = charts.grid(span.start_ms, span.end_ms, step)
        columns = [charts.place(charts.floats(column), frame.time, times, step) for column in frame.fields.values()]
        if columns and np.isfinite(columns[0]).any():
            out[key] = np.sum(columns, axis=0) * (8 if key == "net" else 1)
    return out


def _net(frame: Frame | None) -> tuple[float, float] | None:
    if frame is None or not len(frame):
        return None
    known = np.flatnonzero(np.isfinite(frame.fields["bytes_recv"]))
    if not len(known):
        return None
    last = int(known[-1])
    return float(frame.fields["bytes_recv"][last]) * 8, float(frame.fields["bytes_sent"][last]) * 8


def _cores(mine: Mapping[str, Frame], host: Host) -> float:
    return latest.column(mine.get("system"), "n_cpus").get(host.name, 0) or host.facts.threads or host.facts.cores


def _memory(mine: Mapping[str, Frame], host: Host) -> float:
    return latest.column(mine.get("mem"), "total").get(host.name, 0) or host.facts.memory_bytes


def _told(tellings: Sequence[Told]) -> dict[str, str]:
    """Receivers told of each alert."""
    names: dict[str, dict[str, None]] = {}
    for one in tellings:
        names.setdefault(one.fingerprint, {})[one.receiver] = None
    return {fingerprint: ", ".join(receivers) for fingerprint, receivers in names.items()}


def _neighbours(hosts: Sequence[Host], name: str) -> tuple[str, str]:
    """The hosts before and after this one, by name, going round."""
    names = [host.name for host in hosts]
    at = names.index(name)
    return names[at - 1], names[(at + 1) % len(names)]
