"""Queries answered by InfluxDB: as much as it can on the server, the rest with the shared reduction."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

from fleetwatch_storage import reduce
from fleetwatch_storage.errors import QueryFailed, StoreUnavailable
from fleetwatch_storage.frames import Frame, empty
from fleetwatch_storage.hosttags import HostTags
from fleetwatch_storage.influx import influxql
from fleetwatch_storage.influx.answers import Part, Rows, parts, refusal
from fleetwatch_storage.influx.http import Answer
from fleetwatch_storage.influx.influxql import Statement
from fleetwatch_storage.influx.retention import ROLLUP, ROLLUP_MS, Kept, kept
from fleetwatch_storage.influx.server import Server
from fleetwatch_storage.messages import join_pieces
from fleetwatch_storage.query import Query, Transform

_KEPT_FOR_S = 60.0
_READ_TIMEOUTS = 3.0
"""A query may take this many times as long as a write."""


class Reader:
    """Thread-safe."""

    def __init__(self, server: Server, clock: Callable[[], float]) -> None:
        """`clock` gives unix seconds."""
        self._server, self._clock = server, clock
        self._most_rows = server.settings.influx_query_rows
        self._known = Kept(0, None)
        self._kept_at = float("-inf")

    def read(self, query: Query, host_tags: HostTags) -> Frame:
        """The answer of the seam's `read`.

        Raises:
            QueryFailed: the question is wrong or asks for too much.
            StoreUnavailable: try again later.
        """
        if query.start_ms == query.end_ms:
            return empty(query.measurement, _names(query))
        if not query.step_ms:
            return self._from_samples(query, self._samples_of(query), host_tags)
        each = replace(query, group_by=None, limit=0)
        from_ms = self._first_sampled_ms(each)
        pieces = []
        if from_ms > query.start_ms:
            pieces.append(self._rolled(replace(each, end_ms=min(from_ms, query.end_ms)), host_tags))
        if from_ms < query.end_ms:
            pieces.append(self._steps(replace(each, start_ms=max(from_ms, query.start_ms)), host_tags))
        return _finished(join_pieces(pieces), query, host_tags)

    def _samples_of(self, query: Query) -> str:
        return influxql.place_of(self._server.database, query.measurement)

    def _first_sampled_ms(self, query: Query) -> int:
        """The start of the first step that is answered from samples; earlier ones are from roll-ups.

        Roll-ups are used where samples are no longer kept and the step is a multiple of theirs.
        """
        if query.step_ms % ROLLUP_MS or not (kept := self._kept()).raw_s or kept.rollup_s is None:
            return query.start_ms
        oldest_ms = int((self._clock() - kept.raw_s) * 1000)
        return query.start_ms if query.start_ms >= oldest_ms else -(-oldest_ms // query.step_ms) * query.step_ms

    def _kept(self) -> Kept:
        """Asked once a minute; another thread that comes meanwhile takes what was known before."""
        now_s = self._clock()
        if now_s - self._kept_at > _KEPT_FOR_S:
            self._kept_at = now_s
            try:
                self._known = kept(self.parts, self._server.database)
            except QueryFailed:
                self._known = Kept(0, None)
            except StoreUnavailable:
                self._kept_at = float("-inf")
                raise
        return self._known

    def _rolled(self, query: Query, host_tags: HostTags) -> Frame:
        place = influxql.place_of(self._server.database, query.measurement, ROLLUP)
        start_ms = query.start_ms // query.step_ms * query.step_ms
        if query.transform is Transform.NONE:
            found = self.rows(query.measurement, influxql.rolled_steps(query, place, host_tags, start_ms))
        else:
            last = replace(query, fields=tuple(f"last_{name}" for name in query.fields), start_ms=start_ms)
            found = self._transformed_steps(last, place, host_tags, start_ms)
            names = [name for name, _, _ in query.columns()]
            found = replace(found, fields=dict(zip(names, found.fields.values(), strict=True)))
        return replace(found, resolution_ms=ROLLUP_MS)

    def _steps(self, query: Query, host_tags: HostTags) -> Frame:
        place = self._samples_of(query)
        if query.transform is Transform.NONE:
            return self.rows(query.measurement, influxql.steps(query, place, host_tags, query.start_ms))
        return self._transformed(query, place, host_tags)

    def _from_samples(self, query: Query, place: str, host_tags: HostTags) -> Frame:
        statement = influxql.samples(query, place, host_tags, reduce.first_needed_ms(query))
        return reduce.answer(self.rows(query.measurement, statement), query, host_tags)

    def _transformed(self, query: Query, place: str, host_tags: HostTags) -> Frame:
        """Steps from the server; the first one, when the range starts inside it, from samples."""
        first_whole_ms = -(-query.start_ms // query.step_ms) * query.step_ms
        pieces = []
        if first_whole_ms > query.start_ms:
            head = replace(query, end_ms=min(first_whole_ms, query.end_ms))
            pieces.append(self._from_samples(head, place, host_tags))
        if first_whole_ms < query.end_ms:
            pieces.append(self._transformed_steps(query, place, host_tags, first_whole_ms))
        return join_pieces(pieces)

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
