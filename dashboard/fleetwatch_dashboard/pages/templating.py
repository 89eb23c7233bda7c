"""Templates into HTML: escaped always, undefined names are errors."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fleetwatch_dashboard import host_view, incidents, times, units
from fleetwatch_dashboard.levels import LEVELS
from fleetwatch_dashboard.units import Shown

FOLDER = Path(__file__).parent.parent / "templates"


class Templates:
    """The templates of one app. `static` is the address of the static files, with their version in it."""

    def __init__(self, *, title: str, static: str) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
            lstrip_blocks=True,
        )  # fmt: skip
        self._environment.globals.update(title=title, static=static, ranges=times.RANGES, levels=LEVELS)
        self._environment.filters.update(
            shown=units.shown,
            percent=units.percent,
            coarse=units.coarse,
            completeness=units.completeness,
            length=times.length,
            clock=times.clock,
            rfc3339=times.rfc3339,
            path=_path,
            used_of=host_view.used_of,
            full_on=_full_on,
            around=incidents.around,
            part=incidents.part_of,
            value=incidents.value_text,
            threshold=incidents.threshold_text,
            peak=incidents.peak_text,
            sentence=incidents.sentence,
            rate=_rate,
            combine=_combine,
        )

    def page(self, name: str, status: int = 200, **values: Any) -> HTMLResponse:
        """The page of a template."""
        return HTMLResponse(self._environment.get_template(name).render(**values), status)


def _path(name: str) -> str:
    """A name as one part of an address."""
    return quote(name, safe="")


def _combine(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A query string's values with some changed; empty ones are left out."""
    return {key: value for key, value in {**values, **changes}.items() if value not in ("", None)}


def _rate(value: Shown) -> str:
    """`84 M` for 84 Mbit/s, where the column says the unit."""
    return f"{value.text} {value.unit.removesuffix('bit/s')}".strip()


def _full_on(days: float, now_ms: int) -> str:
    """The date so many days from now: `22 Jan`, with the year when it is not this one."""
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    then = datetime.fromtimestamp(now_ms / 1000 + days * 86_400, UTC)
    return f"{then.day} {then:%b}" + ("" if then.year == now.year else f" {then.year}")
