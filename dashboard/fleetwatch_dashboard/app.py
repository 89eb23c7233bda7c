"""The dashboard as one ASGI app, put together by hand."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import anyio
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from fleetwatch_storage.store import LiveSource, StoreReader
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from fleetwatch_dashboard import answers
from fleetwatch_dashboard.api import alerts, catalog, hosts, live, machines, query, series
from fleetwatch_dashboard.metadata import Metadata
from fleetwatch_dashboard.metrics import prometheus_text
from fleetwatch_dashboard.pages import alerts as alerts_page
from fleetwatch_dashboard.pages import fleet as fleet_page
from fleetwatch_dashboard.pages import host as host_page
from fleetwatch_dashboard.pages import reference
from fleetwatch_dashboard.pages.templating import Templates
from fleetwatch_dashboard.security import BodyLimit, SecurityHeaders
from fleetwatch_dashboard.settings import DashboardSettings
from fleetwatch_dashboard.sources import Sources

STATIC = Path(__file__).parent / "static"
ROUTERS = (
    fleet_page.router,
    host_page.router,
    alerts_page.router,
    reference.router,
    hosts.router,
    series.router,
    query.router,
    catalog.router,
    alerts.router,
    machines.router,
    live.router,
)
Vitals = Mapping[str, Mapping[str, float]]


def create_app(
    settings: DashboardSettings,
    store: StoreReader,
    live_source: LiveSource | None,
    database: Any,
    *,
    vitals: Callable[[], Vitals] = lambda: MappingProxyType({}),
    ready: Mapping[str, Callable[[], str]] = MappingProxyType({}),
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> FastAPI:
    """The app. Store and database stay the caller's to close.

    `database` is what `open_database` returned. `vitals` answers the process's health for /metrics, by measurement.
    `ready` names what else must work for /readyz; each answers "" or says in words what is wrong; it may block.
    """
    metadata = Metadata(database)
    version = _version()
    app = FastAPI(
        title=f"{settings.title} API", version="1", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json"
    )
    app.state.sources = Sources(
        settings=settings,
        store=store,
        live=live_source,
        alerts=metadata,
        events=metadata,
        metrics=lambda: prometheus_text(vitals()),
        ready=ready,
        now_ms=now_ms,
        threads=ThreadPoolExecutor(settings.dashboard_threads, "dashboard"),
        queries=anyio.CapacityLimiter(settings.query_at_once),
    )
    app.state.watchers = anyio.CapacityLimiter(settings.live_watchers)
    app.state.templates = Templates(title=settings.title, static=f"/static/{version}")
    for router in ROUTERS:
        app.include_router(router)
    app.mount(f"/static/{version}", _Kept(directory=STATIC), name="static")
    answers.install(app)
    _guard(app, settings)
    return app


class _Kept(StaticFiles):
    """Static files whose address changes with their content: browsers may keep them for ever."""

    def file_response(self, *args: Any, **kwargs: Any) -> Any:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def _guard(app: FastAPI, settings: DashboardSettings) -> None:
    """Middleware, innermost first."""
    app.add_middleware(answers.Faults)
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=5)
    app.add_middleware(BodyLimit, limit_bytes=settings.body_bytes)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(settings.trusted_hosts), www_redirect=False)
    app.add_middleware(SecurityHeaders)


def _version() -> str:
    """Changes whenever a static file changes."""
    digest = hashlib.blake2b(digest_size=6)
    for file in sorted(STATIC.rglob("*")):
        if file.is_file():
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()
