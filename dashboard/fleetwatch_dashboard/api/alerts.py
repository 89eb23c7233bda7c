"""GET /api/v1/alerts and /alerts/{fingerprint}."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fleetwatch_storage.metadata.alerts import Alert

from fleetwatch_dashboard.problems import Problem
from fleetwatch_dashboard.sources import Found

router = APIRouter(prefix="/api/v1", tags=["alerts"])

PAST = 1000
State = Literal["active", "pending", "firing", "recovering", "inactive"]


@router.get("/alerts", summary="Alerts, critical first")
async def list_alerts(
    found: Found,
    state: Annotated[State, Query(description="active: all but inactive")] = "active",
    host: Annotated[str, Query(max_length=256, description="only alerts of this host")] = "",
) -> dict[str, Any]:
    """Times are unix seconds or null."""
    alerts = await found.ask(found.alerts.active if state != "inactive" else partial(found.alerts.past, PAST))
    kept = [alert for alert in alerts if state in ("active", alert.state) and host in ("", alert.labels.get("host"))]
    return {"alerts": [document(alert) for alert in kept]}


@router.get("/alerts/{fingerprint}", summary="One alert")
async def get_alert(fingerprint: str, found: Found) -> dict[str, Any]:
    """The alert and who was told of it."""
    alerts = [*await found.ask(found.alerts.active), *await found.ask(lambda: found.alerts.past(PAST))]
    alert = next((one for one in alerts if one.fingerprint == fingerprint), None)
    if alert is None:
        raise Problem(404, "no alert with this fingerprint", field="fingerprint", value=fingerprint)
    told = await found.ask(lambda: found.alerts.told([fingerprint]))
    return document(alert) | {"told": [{"receiver": one.receiver, "at": one.at_ms / 1000} for one in told]}


def document(alert: Alert) -> dict[str, Any]:
    """An alert as programs read it."""
    return {
        "fingerprint": alert.fingerprint,
        "rule": alert.rule,
        "rule_uid": alert.rule_uid,
        "state": alert.state,
        "level": alert.level,
        "health": alert.health,
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "metric": alert.metric,
        "unit": alert.unit,
        "value": alert.value,
        "threshold": alert.threshold,
        "value_at_fire": alert.value_at_fire,
        "peak": alert.peak,
        "active_at": _seconds(alert.active_at_ms),
        "fired_at": _seconds(alert.fired_at_ms),
        "resolved_at": _seconds(alert.resolved_at_ms),
        "suppressed_by": list(alert.suppressed_by),
    }


def _seconds(at_ms: int | None) -> float | None:
    return None if at_ms is None else at_ms / 1000
