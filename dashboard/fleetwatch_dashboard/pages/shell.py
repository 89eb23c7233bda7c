"""What every page shows around its content."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import Request
from fleetwatch_storage.metadata.alerts import Alert

from fleetwatch_dashboard.levels import is_firing
from fleetwatch_dashboard.pages.templating import Templates
from fleetwatch_dashboard.times import Span, span_of


def templates(request: Request) -> Templates:
    """The templates of the app that answers this request."""
    found: Templates = request.app.state.templates
    return found


def span(request: Request, now_ms: int) -> Span:
    """The span in the address of a page.

    Raises:
        Problem: it cannot be understood.
    """
    ask = request.query_params
    return span_of(now_ms=now_ms, relative=ask.get("range", ""), start=ask.get("from", ""), end=ask.get("to", ""))


def around(here: str, alerts: Iterable[Alert], seen: Span, now_ms: int) -> dict[str, Any]:
    """The values of the shell: which page, how many alerts fire, the span."""
    firing = [alert for alert in alerts if is_firing(alert) and not alert.suppressed_by]
    return {
        "here": here,
        "firing": len(firing),
        "firing_level": "crit" if any(alert.level == "critical" for alert in firing) else "warn",
        "span": seen,
        "now_ms": now_ms,
    }
