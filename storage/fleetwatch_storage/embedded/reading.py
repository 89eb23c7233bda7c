"""Reading: a query's names are looked up, DuckDB answers per series, and numpy does groups, limits and order."""

from __future__ import annotations

from pathlib import Path

import duckdb

from fleetwatch_storage import frames, reduce
from fleetwatch_storage.embedded import faults, plan, question, samples, steps, window
from fleetwatch_storage.embedded.database import Database
from fleetwatch_storage.embedded.kinds import kept
from fleetwatch_storage.embedded.layout import Layout
from fleetwatch_storage.embedded.names import Measurement
from fleetwatch_storage.embedded.question import Question
from fleetwatch_storage.embedded.selection import select
from fleetwatch_storage.embedded.settings import EmbeddedSettings
from fleetwatch_storage.embedded.sources import Sources
from fleetwatch_storage.embedded.state import State
from fleetwatch_storage.errors import StoreUnavailable
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.hosttags import HostTags, LateTags
from fleetwatch_storage.metadata.hosts import HostDirectory
from fleetwatch_storage.query import Query, Transform

_ATTEMPTS = 5
"""How often a read starts again because sealing replaced what it was about to read."""


class Reader:
    """Answers queries; any thread may ask."""

    def __init__(
        self, database: Database, state: State, folder: Path, directory: HostDirectory, settings: EmbeddedSettings
    ) -> None:
        self._database = database
        self._state = state
        self._folder = folder
        self._directory = directory
        self._settings = settings

    def read(self, query: Query) -> Frame:
        """The answer.

        Raises:
            QueryFailed: the question is wrong or asks for too much.
            duckdb.Error: the database could not answer.
        """
        for _ in range(_ATTEMPTS):
            try:
                return self._read(query, self._state.layout)
            except duckdb.Error as error:
                if not faults.is_outdated(error):
                    raise
        raise StoreUnavailable("the store is being rearranged; ask again", reason="busy")

    def _read(self, query: Query, layout: Layout) -> Frame:
        measurement = self._state.names.measurements.get(query.measurement)
        tags = LateTags(self._directory.tags)
        asked = self._question(query, measurement, layout, tags) if measurement else None
        if asked is None:
            return _nothing(query)
        return reduce.compact(reduce.finish(self._answer(asked), query, tags))

    def _answer(self, asked: Question) -> Frame:
        remembered = window.answer(self._state, asked)
        if remembered is not None:
            return remembered
        most = self._settings.max_answer_rows
        with self._database.cursor() as cursor:
            if asked.query.step_ms and asked.query.transform is Transform.NONE:
                return reduce.ordered(steps.answer(cursor, asked, most), ranked=True)
            return samples.answer(cursor, asked, most)

    def _question(self, query: Query, measurement: Measurement, layout: Layout, tags: HostTags) -> Question | None:
        """The question with its names looked up; None when there can be no rows."""
        fields = {name: measurement.fields.get(name) for name in query.fields}
        question.refuse_numbers_of_text(query, fields)
        known = [field for field in fields.values() if field is not None]
        table = self._state.series.get(measurement.id)
        if not known or table is None:
            return None
        names = self._state.names.hosts
        selection = select(query.where, table.known, names, measurement, tags)
        first_ms = max(0, reduce.first_needed_ms(query) if query.transform in _SIGNED else query.start_ms)
        parts = plan.parts(query, [kept(measurement, field) for field in known], layout, measurement.id, first_ms)
        if not parts or not len(selection.series):
            return None
        sources = Sources(self._folder, layout, measurement.id, selection)
        return Question(query, measurement, self._state.names.ranking, fields, selection, parts, sources)


_SIGNED = (Transform.DELTA, Transform.DERIV)
"""Transforms no roll-up keeps: they are taken from rows, so the range of rows starts earlier."""


def _nothing(query: Query) -> Frame:
    columns = [name for name, _, _ in query.columns()] if query.step_ms else query.fields
    return frames.empty(query.measurement, columns)
