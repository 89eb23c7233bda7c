"""The fleet page."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.metadata.alerts import Alert, Told

from fleetwatch_dashboard import charts, filters, fleet, incidents, latest, levels, questions, status
from fleetwatch_dashboard.fleet import Row
from fleetwatch_dashboard.levels import Rulebook
from fleetwatch_dashboard.pages import shell
from fleetwatch_dashboard.problems import Problem
from fleetwatch_dashboard.sources import Found, Sources
from fleetwatch_dashboard.times import Span

router = APIRouter(include_in_schema=False)

SORTS = ("name", "cpu", "mem", "disk", "io", "load", "temp", "uptime", "age")


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of the table is shown. `number` starts at 1."""

    rows: Sequence[Row]
    number: int
    pages: int
    matching: int


@dataclass(frozen=True, slots=True)
class Extras:
    """What the rows of one page show beyond the last values, by host: sparkline points, bit/s in and out."""

    cpu: dict[str, str]
    mem: dict[str, str]
    net: dict[str, tuple[float, float]]


@router.get("/", response_class=HTMLResponse)
async def fleet_page(request: Request, found: Found) -> HTMLResponse:
    """The fleet: counters, incidents, one row per host."""
    now_ms = found.now_ms()
    span = shell.span(request, now_ms)
    hosts, frames, alerts, rules = await asyncio.gather(
        found.ask(found.store.hosts),
        found.ask(lambda: found.store.latest(latest.MEASUREMENTS)),
        found.ask(found.alerts.active),
        found.ask(found.alerts.rules),
    )
    around = shell.around("Fleet", alerts, span, now_ms)
    render = shell.templates(request).page
    if not hosts:
        return render("empty.j2", **around)
    rows = fleet.rows(hosts, frames, alerts, Rulebook(rules), now_ms)
    kept, problems = filters.apply(request.query_params.get("q", ""), rows)
    page = _page(request, kept, found.settings.page_hosts)
    extras, told = await asyncio.gather(_extras(found, page, len(rows), span, now_ms), _told(found, alerts))
    return render(
        "fleet.j2",
        **around,
        rows=page.rows,
        page=page,
        extras=extras,
        total=len(rows),
        counts=status.counts(row.condition for row in rows),
        complete=_complete(rows),
        incidents=incidents.group(alerts, told),
        tops={row.host.name: row for row in rows if row.process},
        asked=_asked(request),
        problems=problems,
    )


def _asked(request: Request) -> dict[str, str]:
    ask = request.query_params
    return {"q": ask.get("q", ""), "sort": ask.get("sort", ""), "order": ask.get("order", "")}


def _page(request: Request, rows: Sequence[Row], size: int) -> Page:
    ask = request.query_params
    key = ask.get("sort", "")
    if key and key not in SORTS:
        raise Problem(400, f"no column of that name; there are {', '.join(SORTS)}", field="sort", value=key)
    number = ask.get("page", "1")
    if not number.isascii() or not number.isdigit() or not int(number[:9]) >= 1:
        raise Problem(400, "page is a number from 1 on", field="page", value=number)
    ordered = fleet.ordered(rows, key, descending=ask.get("order", "asc" if key == "name" else "desc") == "desc")
    pages = max(1, -(-len(ordered) // size))
    at = min(int(number[:9]), pages)
    return Page(ordered[(at - 1) * size : at * size], at, pages, len(ordered))


async def _extras(found: Sources, page: Page, total: int, span: Span, now_ms: int) -> Extras:
    names = [row.host.name for row in page.rows]
    if not names:
        return Extras({}, {}, {})
    asked = names if len(names) < total else []
    cpu, mem, net = await asyncio.gather(
        found.ask(lambda: found.store.read(questions.sparkline_cpu(span, asked))),
        found.ask(lambda: found.store.read(questions.sparkline_mem(span, asked))),
        found.ask(lambda: found.store.read(questions.net_now(now_ms, asked))),
    )
    return Extras(_sparks(cpu, "usage_active", names, span), _sparks(mem, "used_percent", names, span), _rates(net))


def _sparks(frame: Frame, field: str, names: Sequence[str], span: Span) -> dict[str, str]:
    if not len(frame):
        return {}
    step = max(questions.spark_step(span), frame.resolution_ms)
    times = charts.grid(span.start_ms, span.end_ms, step)
    place = {name: row for row, name in enumerate(names)}
    codes = np.array([place.get(host, -1) for host in frame.hosts], np.int32)
    column = charts.floats(frame.fields[field])
    values = charts.matrix(column, frame.time, codes[frame.host], len(names), times, step)
    return {name: charts.sparkline(values[at][-questions.SPARK_POINTS :]) for at, name in enumerate(names)}


def _rates(frame: Frame) -> dict[str, tuple[float, float]]:
    """Bit/s in and out of each host's newest step; rows are ordered by time within a host, so the last one stays."""
    if not len(frame):
        return {}
    known = np.flatnonzero(np.isfinite(frame.fields["bytes_recv"]))
    received, sent = frame.fields["bytes_recv"] * 8, frame.fields["bytes_sent"] * 8
    return {frame.hosts[int(frame.host[row])]: (float(received[row]), float(sent[row])) for row in known.tolist()}


async def _told(found: Sources, alerts: Sequence[Alert]) -> list[Told]:
    prints = [alert.fingerprint for alert in alerts if levels.is_firing(alert)][:500]
    return await found.ask(lambda: found.alerts.told(prints)) if prints else []


def _complete(rows: Sequence[Row]) -> float:
    """Share of all expected batches of all hosts that were received."""
    expected = sum(row.host.completeness.expected for row in rows)
    received = sum(min(row.host.completeness.received, row.host.completeness.expected) for row in rows)
    return received / expected if expected else 1.0
