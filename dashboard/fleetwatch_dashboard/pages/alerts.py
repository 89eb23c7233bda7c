"""The alerts page: what fires, what is about to, what has ended."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from fleetwatch_dashboard import incidents
from fleetwatch_dashboard.levels import is_firing
from fleetwatch_dashboard.pages import shell
from fleetwatch_dashboard.sources import Found

router = APIRouter(include_in_schema=False)

PAST = 200


@router.get("/alerts", response_class=HTMLResponse)
async def alerts_page(request: Request, found: Found) -> HTMLResponse:
    """All alerts in three lists."""
    now_ms = found.now_ms()
    active, past = await asyncio.gather(found.ask(found.alerts.active), found.ask(lambda: found.alerts.past(PAST)))
    prints = [alert.fingerprint for alert in (*active, *past)][:1000]
    told = await found.ask(lambda: found.alerts.told(prints)) if prints else []
    return shell.templates(request).page(
        "alerts.j2",
        **shell.around("Alerts", active, shell.span(request, now_ms), now_ms),
        incidents=incidents.group(active, told),
        suppressed=[alert for alert in active if is_firing(alert) and alert.suppressed_by],
        pending=[alert for alert in active if alert.state == "pending"],
        past=past,
        text=incidents,
    )
