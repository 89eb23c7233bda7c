"""The reference of the HTTP API, made from its OpenAPI document: a plain page that loads nothing from elsewhere."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from fleetwatch_dashboard.pages import shell
from fleetwatch_dashboard.sources import Found

router = APIRouter(include_in_schema=False)


@router.get("/api/docs", response_class=HTMLResponse)
async def reference_page(request: Request, found: Found) -> HTMLResponse:
    """Every call with its parameters."""
    now_ms = found.now_ms()
    alerts = await found.ask(found.alerts.active)
    calls = [
        _call(path, method, operation)
        for path, methods in request.app.openapi()["paths"].items()
        for method, operation in methods.items()
    ]
    around = shell.around("", alerts, shell.span(request, now_ms), now_ms)
    return shell.templates(request).page("reference.j2", **around, calls=calls)


def _call(path: str, method: str, operation: dict[str, Any]) -> dict[str, Any]:
    return {
        "path": path,
        "method": method.upper(),
        "summary": operation.get("summary", ""),
        "text": operation.get("description", ""),
        "parameters": [
            {"name": one["name"], "required": one.get("required", False), "text": one.get("description", "")}
            for one in operation.get("parameters", [])
        ],
    }
