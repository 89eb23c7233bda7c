"""Structured logs of the server processes: one event per line on standard error, coloured on a terminal."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import structlog

LEVELS = ("debug", "info", "warning", "error")


def level_of(wanted: str, *, quiet_on_terminal: bool = False) -> str:
    """The level meant by a setting that may be "auto": info, but warning where a person looks at something else."""
    if wanted != "auto":
        return wanted
    return "warning" if quiet_on_terminal and sys.stderr.isatty() else "info"


def set_up_logs(level: str, form: str) -> None:
    """Events at least as grave as `level`; `form` is "logfmt", "json" or "auto" (colours on a terminal, else logfmt).

    Loggers of libraries (uvicorn, grpc, apscheduler) go through the same lines, from warning up.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
    ]
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=_renderer(form), foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    for library in ("alembic", "uvicorn", "grpc", "apscheduler", "httpx", "asyncio", "urllib3"):
        logging.getLogger(library).setLevel(max(number, logging.WARNING))


def _renderer(form: str) -> Callable[..., str | bytes]:
    if form == "json":
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    if form == "logfmt" or not sys.stderr.isatty():
        return structlog.processors.LogfmtRenderer(key_order=["time", "level", "event"], bool_as_flag=False)
    return structlog.dev.ConsoleRenderer(colors="NO_COLOR" not in os.environ, event_key="event")
