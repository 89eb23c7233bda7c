"""GET /api/v1/hosts, /hosts/{name}, /processes."""

from __future__ import annotations

import asyncio
import bisect
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query

from fleetwatch_dashboard import fleet, host_view, latest, questions
from fleetwatch_dashboard.fleet import Row
from fleetwatch_dashboard.levels import Rulebook
from fleetwatch_dashboard.problems import Problem
from fleetwatch_dashboard.sources import Found, Sources
from fleetwatch_dashboard.times import moment

router = APIRouter(prefix="/api/v1", tags=["hosts"])


@router.get("/hosts", summary="Hosts with their state and last values, by name")
async def list_hosts(
    found: Found,
    limit: Annotated[int, Query(ge=1, le=10_000, description="hosts in one answer")] = 1000,
    cursor: Annotated[str, Query(max_length=256, description="`next` of the answer before")] = "",
) -> dict[str, Any]:
    """Name, state, age of the newest data, tags and last values. `next` is null when there are no more."""
    rows = await _rows(found)
    start = bisect.bisect_left([row.host.name for row in rows], cursor) if cursor else 0
    page, rest = rows[start : start + limit], rows[start + limit :]
    return {"hosts": [summary(row) for row in page], "next": rest[0].host.name if rest else None}


@router.get("/processes", summary="The top processes of a host at a time")
async def list_processes(
    found: Found,
    host: Annotated[str, Query(max_length=256, description="name of the host")],
    at: Annotated[str, Query(max_length=64, description="now, -10m, unix seconds or an RFC 3339 time")] = "now",
) -> dict[str, Any]:
    """The newest process table at or before `at`, up to 90 s older; `t` is null when there is none."""
    at_ms = moment(at, found.now_ms(), "at")
    frame = await found.ask(lambda: found.store.read(questions.processes_at(at_ms, host)))
    rows = host_view.processes(frame, host)
    return {
        "host": host,
        "t": int(frame.time.max()) / 1000 if rows else None,
        "processes": [asdict(one) for one in rows],
    }


@router.get("/hosts/{name:path}", summary="One host: facts, tags, completeness, age of its data")
async def get_host(name: str, found: Found) -> dict[str, Any]:
    """What the list says of the host, and its facts."""
    row = next((row for row in await _rows(found) if row.host.name == name), None)
    if row is None:
        raise Problem(404, "no host of this name", field="host", value=name)
    host = row.host
    return summary(row) | {
        "agent_id": host.agent_id,
        "agent_version": host.agent_version,
        "first_seen": host.first_seen_ms / 1000,
        "interval_s": host.interval_ms / 1000,
        "connected": host.connected,
        "clock_offset_ms": host.clock_offset_ms,
        "facts": asdict(host.facts),
        "batches": asdict(host.completeness),
        "alerts": [alert.fingerprint for alert in row.alerts],
    }


def summary(row: Row) -> dict[str, Any]:
    """A host in the list. `last_seen` unix seconds; `latest` by metric, missing ones left out."""
    return {
        "id": row.host.name,
        "name": row.host.name,
        "status": row.condition.status,
        "reason": row.condition.reason,
        "last_seen": row.condition.last_ms / 1000,
        "age_s": row.condition.age_ms / 1000,
        "tags": dict(row.host.tags),
        "latest": fleet.latest_metrics(row),
        "completeness": row.host.completeness.share,
    }


async def _rows(found: Sources) -> list[Row]:
    hosts, frames, alerts, rules = await asyncio.gather(
        found.ask(found.store.hosts),
        found.ask(lambda: found.store.latest(latest.MEASUREMENTS)),
        found.ask(found.alerts.active),
        found.ask(found.alerts.rules),
    )
    return fleet.rows(hosts, frames, alerts, Rulebook(rules), found.now_ms())
