"""GET /api/v1/series: what charts draw, as columns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from fastapi import Query as Parameter
from fastapi.responses import Response
from fleetwatch_proto.catalog import Kind, lookup
from fleetwatch_storage.frames import Frame, Series, Times, split
from fleetwatch_storage.query import Matcher, Op, Query, Transform

from fleetwatch_dashboard import charts
from fleetwatch_dashboard.problems import Problem
from fleetwatch_dashboard.sources import Found
from fleetwatch_dashboard.times import Span, span_of, step_for

router = APIRouter(prefix="/api/v1", tags=["series"])

MAX_POINTS = 2000
MAX_SERIES = 200
STATISTICS = ("avg", "min", "max")
Rate = Literal["auto", "yes", "no"]
_TIME = "now, -1h, unix seconds or an RFC 3339 time"


@dataclass(frozen=True, slots=True)
class Asked:
    """A checked request: fields of one measurement of one host, on a grid of `step_ms`."""

    measurement: str
    fields: tuple[str, ...]
    host: str
    tags: Mapping[str, str]
    span: Span
    step_ms: int
    statistics: tuple[str, ...]


@router.get("/series", summary="Series of one host over time, as columns")
async def get_series(
    request: Request,
    found: Found,
    host: Annotated[str, Parameter(max_length=256, description="name of the host")],
    metric: Annotated[list[str], Parameter(description="measurement.field; several of one measurement at a time")],
    start: Annotated[str, Parameter(alias="from", max_length=64, description=_TIME)] = "-1h",
    to: Annotated[str, Parameter(max_length=64, description=_TIME)] = "now",
    points: Annotated[int, Parameter(ge=1, le=MAX_POINTS, description="most steps on the grid")] = 600,
    stats: Annotated[str, Parameter(max_length=32, description="which of avg, min, max")] = "avg,min,max",
    rate: Annotated[Rate, Parameter(description="per second; auto: for counters")] = "auto",
) -> Response:
    """`t` is a regular grid in unix seconds; a step without a sample is null. `gap_s` is the distance between samples
    from which on something is missing. Restrict by tags with `tag.<key>=<value>`."""
    asked = _asked(request, host, metric, (start, to), points, stats, found.now_ms())
    parts = [await found.ask(partial(found.store.read, query)) for query in queries(asked, rate)]
    return _cached(request, document(asked, parts))


def queries(asked: Asked, rate: str) -> list[Query]:
    """The questions to the store: one, or two when counters and gauges are asked for together."""
    where = (Matcher("host", Op.EQ, asked.host), *(Matcher(key, Op.EQ, value) for key, value in asked.tags.items()))
    groups: dict[Transform, list[str]] = {}
    for name in asked.fields:
        groups.setdefault(_transform(asked.measurement, name, rate), []).append(name)
    return [
        Query(
            asked.measurement, tuple(names), asked.span.start_ms, asked.span.end_ms, asked.step_ms, asked.statistics,
            transform, where,
        )
        for transform, names in groups.items()
    ]  # fmt: skip


def document(asked: Asked, frames: Sequence[Frame]) -> dict[str, Any]:
    """The answer: every series of every frame on one grid. The grid is as wide as the rows the answer was made from."""
    step = max([asked.step_ms, *(frame.resolution_ms for frame in frames)])
    times = charts.grid(asked.span.start_ms, asked.span.end_ms, step)
    found = [(asked, series, times, step) for frame in frames for series in split(frame)][:MAX_SERIES]
    return {
        "t": (times / 1000).tolist(),
        "series": [entry for one in found for entry in _entries(*one)],
        "resolution_s": step / 1000,
        "gap_s": _gap_ms((series for _, series, _, _ in found), step) / 1000,
    }


def _entries(asked: Asked, series: Series, times: Times, step_ms: int) -> Iterable[dict[str, Any]]:
    for name in asked.fields:
        stored = {one: series.fields.get(_column(name, one, asked.statistics)) for one in asked.statistics}
        columns = {
            one: charts.numbers(charts.place(charts.floats(column), series.time, times, step_ms))
            for one, column in stored.items()
            if column is not None
        }
        if columns:
            metric = f"{asked.measurement}.{name}"
            yield {"metric": metric, "tags": dict(series.tags), "unit": _unit(metric), **columns}


def _gap_ms(found: Iterable[Series], step_ms: int) -> float:
    """Two and a half times the usual distance between the samples of the slowest series."""
    usual = [float(np.median(np.diff(series.time))) for series in found if len(series.time) > 1]
    return 2.5 * max([float(step_ms), *usual])


def _column(name: str, statistic: str, statistics: Sequence[str]) -> str:
    return name if len(statistics) == 1 else f"{name}:{statistic}"


def _transform(measurement: str, name: str, rate: str) -> Transform:
    if rate != "auto":
        return Transform.RATE if rate == "yes" else Transform.NONE
    known = lookup(f"{measurement}.{name}")
    return Transform.RATE if known and known[1].kind is Kind.COUNTER else Transform.NONE


def _unit(metric: str) -> str:
    known = lookup(metric)
    if known is None:
        return ""
    return f"{known[1].unit}/s" if known[1].kind is Kind.COUNTER else known[1].unit


def _asked(
    request: Request, host: str, metric: Sequence[str], ends: tuple[str, str], points: int, stats: str, now_ms: int
) -> Asked:
    measurement, fields = _metrics(metric)
    span = span_of(now_ms=now_ms, start=ends[0], end=ends[1])
    statistics = tuple(dict.fromkeys(stats.split(",")))
    if unknown := [name for name in statistics if name not in STATISTICS]:
        raise Problem(400, "stats are avg, min and max", field="stats", value=unknown[0])
    tags = {key[4:]: value for key, value in request.query_params.items() if key.startswith("tag.")}
    step = step_for(span.end_ms - span.start_ms, points)
    return Asked(measurement, fields, host, tags, span, step, statistics)


def _metrics(asked: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    parts = [text.rpartition(".") for text in asked]
    for text, (measurement, _, field) in zip(asked, parts, strict=True):
        if not measurement or not field:
            raise Problem(400, "write measurement.field, for example cpu.usage_active", field="metric", value=text)
        if measurement != parts[0][0]:
            raise Problem(400, "all metrics of one request belong to one measurement", field="metric", value=text)
    if len(asked) > 64:
        raise Problem(400, "at most 64 metrics in one request", field="metric", value=str(len(asked)))
    return parts[0][0], tuple(dict.fromkeys(field for _, _, field in parts))


def _cached(request: Request, answer: dict[str, Any]) -> Response:
    """An answer with an ETag, so that a browser that has it is told so in a few bytes."""
    body = json.dumps(answer, separators=(",", ":"), allow_nan=False).encode()
    tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)
