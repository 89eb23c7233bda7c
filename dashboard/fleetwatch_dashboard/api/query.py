"""POST /api/v1/query: a Query of the storage seam as JSON, answered as columns or as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import anyio
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from fleetwatch_proto.settings import duration_s
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.query import Matcher, Op, Query, Transform
from pydantic import BaseModel, ConfigDict, Field

from fleetwatch_dashboard import charts
from fleetwatch_dashboard.problems import Problem
from fleetwatch_dashboard.sources import Found
from fleetwatch_dashboard.times import moment, rfc3339

router = APIRouter(prefix="/api/v1", tags=["query"])

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class MatcherBody(BaseModel):
    """A condition on a tag of the series, on `host` or on a tag of the host."""

    model_config = ConfigDict(extra="forbid")
    tag: str = Field(max_length=256)
    op: Op = Op.EQ
    value: str = Field(max_length=4096)


class QueryBody(BaseModel):
    """The question. `from` and `to` are `now`, `-1h`, unix seconds or RFC 3339; `step` is a duration, "" for samples as
    they were taken."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    measurement: str = Field(min_length=1, max_length=256)
    fields: list[str] = Field(min_length=1, max_length=64)
    start: str | float = Field("-1h", alias="from")
    end: str | float = Field("now", alias="to")
    step: str = Field("", max_length=32)
    aggregates: list[str] = Field(["avg"], min_length=1, max_length=16)
    transform: Transform = Transform.NONE
    where: list[MatcherBody] = Field([], max_length=64)
    group_by: list[str] | None = Field(None, max_length=16)
    group_aggregate: str = Field("avg", max_length=32)
    limit: int = Field(0, ge=0, le=1_000_000)
    order: str = Field("", max_length=16)


@router.post("/query", summary="Ask the store anything it can answer")
async def post_query(body: QueryBody, request: Request, found: Found) -> Response:
    """Columns as JSON, or rows as CSV with `Accept: text/csv`. Times are unix milliseconds in JSON, RFC 3339 in CSV."""
    query = _query(body, found.now_ms())
    try:
        found.queries.acquire_on_behalf_of_nowait(request)
    except anyio.WouldBlock as error:
        limit = found.settings.query_at_once
        text = f"{limit} queries are being answered, no more at once; try again"
        raise Problem(429, text, headers={"Retry-After": "1"}) from error
    try:
        frame = await found.ask(lambda: found.store.read(query))
    finally:
        found.queries.release_on_behalf_of(request)
    values = len(frame) * len(frame.fields)
    if values > found.settings.query_values:
        most = found.settings.query_values
        text = f"the answer has {values} values, more than {most}; ask for a shorter range or a step"
        raise Problem(400, text, field="step", value=body.step)
    if "text/csv" in request.headers.get("accept", ""):
        return Response("".join(_lines(frame)), media_type="text/csv; charset=utf-8")
    return JSONResponse(charts.columnar(frame))


def _query(body: QueryBody, now_ms: int) -> Query:
    try:
        step = int(duration_s(body.step) * 1000) if body.step else 0
    except ValueError as error:
        raise Problem(400, f"step: {error}", field="step", value=body.step) from error
    return Query(
        measurement=body.measurement,
        fields=tuple(body.fields),
        start_ms=moment(str(body.start), now_ms, "from"),
        end_ms=moment(str(body.end), now_ms, "to"),
        step_ms=step,
        aggregates=tuple(body.aggregates),
        transform=body.transform,
        where=tuple(Matcher(one.tag, one.op, one.value) for one in body.where),
        group_by=None if body.group_by is None else tuple(body.group_by),
        group_aggregate=body.group_aggregate,
        limit=body.limit,
        order=body.order,
    )


def _lines(frame: Frame) -> Iterator[str]:
    """CSV with one row per series and time. Text that a spreadsheet would take for a formula gets an apostrophe."""
    keys = sorted({key for tags in frame.tagsets for key, _ in tags})
    columns = [charts.exact(column) for column in frame.fields.values()]
    yield _line(["time", "host", *keys, *frame.fields])
    for row, at in enumerate(frame.time.tolist()):
        tags = dict(frame.tagsets[int(frame.tagset[row])])
        labels = [frame.hosts[int(frame.host[row])], *(tags.get(key, "") for key in keys)]
        yield _line([rfc3339(at), *labels, *(column[row] for column in columns)])


def _line(cells: list[Any]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow([_harmless(cell) for cell in cells])
    return out.getvalue()


def _harmless(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
