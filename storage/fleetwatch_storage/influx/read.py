"""Queries answered by InfluxDB: as much as it can on the server, the rest with the shared reduction."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

from fleetwatch_storage import reduce
from fleetwatch_storage.errors import QueryFailed, StoreUnavailable
from fleetwatch_storage.frames import Frame, empty
from fleetwatch_storage.hosttags import HostTags
from fleetwatch_storage.influx import influxql
from fleetwatch_storage.influx.answers import Part, Rows, parts, refusal
from fleetwatch_storage.influx.http import Answer
from fleetwatch_storage.influx.influxql import Statement
from fleetwatch_storage.influx.server import Server
from fleetwatch_storage.messages import join_pieces
from fleetwatch_storage.query import Query, Transform

_READ_TIMEOUTS = 3.0
"""A query may take this many times as long as a write."""


class Reader:
    """Thread-safe."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._most_rows = server.settings.influx_query_rows

    def read(self, query: Query, host_tags: HostTags) -> Frame:
        """The answer of the seam's `read`.

        Raises:
            QueryFailed: the question is wrong or asks for too much.
            StoreUnavailable: try again later.
        """
        if query.start_ms == query.end_ms:
            return empty(query.measurement, _names(query))
        place = influxql.place_of(self._server.database, query.measurement)
        if not query.step_ms:
            return self._from_samples(query, place, host_tags)
        if query.transform is Transform.NONE:
            found = self.rows(query.measurement, influxql.steps(query, place, host_tags, query.start_ms))
            return _finished(found, query, host_tags)
        return self._transformed(query, place, host_tags)

    def _from_samples(self, query: Query, place: str, host_tags: HostTags) -> Frame:
        statement = influxql.samples(query, place, host_tags, reduce.first_needed_ms(query))
        return reduce.answer(self.rows(query.measurement, statement), query, host_tags)

    def _transformed(self, query: Query, place: str, host_tags: HostTags) -> Frame:
        """Steps from the server; the first one, when the range starts inside it, from samples."""
        first_whole_ms = -(-query.start_ms // query.step_ms) * query.step_ms
        each = replace(query, group_by=None, limit=0)
        pieces = []
        if first_whole_ms > query.start_ms:
            head = replace(each, end_ms=min(first_whole_ms, query.end_ms))
            pieces.append(self._from_samples(head, place, host_tags))
        if first_whole_ms < query.end_ms:
            pieces.append(self._transformed_steps(each, place, host_tags, first_whole_ms))
        return _finished(join_pieces(pieces), query, host_tags)

    def _transformed_steps(self, query: Query, place: str, host_tags: HostTags, first_ms: int) -> Frame:
        statement = influxql.transformed_steps(query, place, host_tags, reduce.first_needed_ms(query))
        found = self.rows(query.measurement, statement)
        return reduce.take(found, (found.time >= first_ms).nonzero()[0])

    def rows(self, measurement: str, statement: Statement) -> Frame:
        """The rows of a statement over one measurement.

        Raises:
            QueryFailed: refused, or more rows than allowed.
            StoreUnavailable: no answer.
        """
        rows = Rows(measurement, statement.columns)
        for part in self.parts(statement):
            rows.add(part)
            if rows.count > self._most_rows:
                too_much = f"the answer has more than {self._most_rows} rows"
                raise QueryFailed(f"{too_much}: ask for fewer hosts, a shorter range or a larger step")
        return rows.frame()

    def parts(self, statement: Statement, database: str | None = None) -> Iterator[Part]:
        """The series of the answer as they come.

        Raises:
            QueryFailed: refused.
            StoreUnavailable: no answer.
        """
        where = {
            "db": self._server.database if database is None else database,
            "q": statement.text,
            "params": json.dumps(statement.parameters),
            "epoch": "ms",
            "chunked": "true",
            "chunk_size": "10000",
        }
        within_s = self._server.settings.influx_timeout * _READ_TIMEOUTS
        with self._server.http.lines("POST", "/query", where, within_s=within_s) as (answer, lines):
            if answer.status != 200:
                raise _problem(answer, self._server.url)
            yield from parts(lines)


def _problem(answer: Answer, url: str) -> QueryFailed | StoreUnavailable:
    said = f"InfluxDB at {url} answered {answer.status}: {answer.error}"
    if answer.status in (401, 403):
        return StoreUnavailable(f"{said}: check influx_token_file or influx_user", reason="auth")
    if answer.status == 404:
        return StoreUnavailable(said, reason="missing")
    if answer.status in (400, 422):
        return refusal(answer.error)
    return StoreUnavailable(said, reason="busy" if answer.status in (408, 425, 429, 503) else "down")


def _names(query: Query) -> list[str]:
    return [name for name, _, _ in query.columns()] if query.step_ms else list(query.fields)


def _finished(steps: Frame, query: Query, host_tags: HostTags) -> Frame:
    """The answer from rows per series and step, of these series or more."""
    chosen = reduce.ordered(reduce.select(steps, query, host_tags))
    return reduce.finish(chosen, query, host_tags)
