"""GET /healthz, /readyz, /metrics: for load balancers and other monitors."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse

from fleetwatch_dashboard.sources import Found

router = APIRouter(tags=["machines"])


@router.get("/healthz", summary="Whether the process answers")
async def healthz() -> PlainTextResponse:
    """Always `ok`: an answer is the point."""
    return PlainTextResponse("ok\n")


@router.get("/readyz", summary="Whether everything the dashboard needs works")
async def readyz(found: Found) -> JSONResponse:
    """200 or 503, and in words what is wrong."""
    health = await found.ask(found.store.health)
    problems = {} if health.ready else {"store": health.detail or "not ready"}
    for name, check in found.ready.items():
        if wrong := await found.ask(check):
            problems[name] = wrong
    body = {"ready": not problems, "store": health.engine, "writable": health.writable, "problems": problems}
    return JSONResponse(body, 503 if problems else 200)


@router.get("/metrics", summary="The process's own health as Prometheus text", response_class=PlainTextResponse)
async def metrics(found: Found) -> PlainTextResponse:
    """One metric per field of the `fleetwatch_*` measurements."""
    text = await found.ask(found.metrics)
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")
