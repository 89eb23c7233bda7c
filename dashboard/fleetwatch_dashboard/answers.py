"""Exceptions into answers: a problem document for programs, a page for people."""

from __future__ import annotations

import json

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fleetwatch_storage.errors import QueryFailed, StoreUnavailable
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fleetwatch_dashboard.pages.shell import templates
from fleetwatch_dashboard.problems import MEDIA_TYPE, Fault, Problem

log = structlog.get_logger()


def install(app: FastAPI) -> None:
    """Registers a handler for everything that can be raised."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(QueryFailed, _query_failed)
    app.add_exception_handler(StoreUnavailable, _unavailable)


class Faults:
    """Our own mistakes: logged once with their traceback, and answered without a word about them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            log.exception("request failed", path=scope["path"])
            if started:
                raise
            problem = Problem(500, "this is a fault of fleetwatch; its log has the details")
            await answer(Request(scope), problem)(scope, receive, send)


def answer(request: Request, problem: Problem) -> Response:
    """The problem as a page where a browser asks for one, else as a document."""
    headers = dict(problem.headers)
    if "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/"):
        page = templates(request).page("problem.j2", problem.status, problem=problem.document())
        page.headers.update(headers)
        return page
    return Response(json.dumps(problem.document()), problem.status, headers, MEDIA_TYPE)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return answer(request, error)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = tuple(
        Fault(".".join(map(str, one["loc"][1:])), str(one.get("input", "")), str(one["msg"])) for one in error.errors()
    )
    detail = "; ".join(f"{fault.field}: {fault.message}" for fault in faults[:5])
    return answer(request, Problem(400, detail, faults=faults))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = "there is nothing at this address" if error.status_code == 404 else str(error.detail)
    return answer(request, Problem(error.status_code, detail, headers=error.headers or {}))


async def _query_failed(request: Request, error: Exception) -> Response:
    return answer(request, Problem(400, str(error)))


async def _unavailable(request: Request, error: Exception) -> Response:
    assert isinstance(error, StoreUnavailable)
    wait = max(1, round(error.retry_after_s or 1))
    return answer(request, Problem(503, f"the store cannot answer now: {error}", headers={"Retry-After": str(wait)}))
