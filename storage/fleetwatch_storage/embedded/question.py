"""A query with its names looked up: what the parts of reading hand each other. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetwatch_storage.embedded.fetch import Columns
from fleetwatch_storage.embedded.layout import Tier
from fleetwatch_storage.embedded.names import Field, Measurement, Ranking
from fleetwatch_storage.embedded.plan import Part
from fleetwatch_storage.embedded.selection import Selection
from fleetwatch_storage.embedded.sources import Sources
from fleetwatch_storage.errors import QueryFailed
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.query import Query, Transform
from fleetwatch_storage.reduce import TEXT_AGGREGATES, take


@dataclass(frozen=True, slots=True)
class Question:
    """`fields` are the query's, None for one nobody has written."""

    query: Query
    measurement: Measurement
    hosts: Ranking[str]
    fields: Mapping[str, Field | None]
    selection: Selection
    parts: list[Part]
    sources: Sources

    @property
    def known(self) -> list[Field]:
        """The fields there are."""
        return [field for field in self.fields.values() if field is not None]

    @property
    def rolled(self) -> list[Part]:
        """The parts that roll-ups answer."""
        return [part for part in self.parts if part.tier is not Tier.RAW]

    def frame(self, rows: Columns, fields: Mapping[str, npt.NDArray[Any]]) -> Frame:
        """Fetched rows as a frame over all names in order, those of other series dropped."""
        host, inst = rows["host_id"], rows["inst_id"]
        hosts, host_rank = self.hosts.now()
        tagsets, inst_rank = self.measurement.ranking.now()
        width_ms = max((part.tier.width_ms for part in self.parts), default=0)
        codes = host_rank[host], hosts, inst_rank[inst], tagsets
        frame = Frame(self.measurement.name, rows["ts"], *codes, fields, width_ms)
        places = self.selection.rows(host, inst)
        return frame if places is None else take(frame, places)

    def all_columns(self, found: Mapping[str, npt.NDArray[Any]], rows: int) -> dict[str, npt.NDArray[Any]]:
        """The query's columns by name; those of fields nobody has written are absent."""
        none = absent(rows)
        return {name: none if field is None else found[name] for name, field in self.fields.items()}


def refuse_numbers_of_text(query: Query, fields: Mapping[str, Field | None]) -> None:
    """Text has first, last and count.

    Raises:
        QueryFailed: more is asked of a text field.
    """
    for name in (name for name, field in fields.items() if field is not None and field.text):
        if query.transform is not Transform.NONE:
            raise QueryFailed(f"field {name!r} is text: it has no {query.transform}")
        wrong = sorted(set(query.aggregates) - TEXT_AGGREGATES) if query.step_ms else []
        if wrong:
            raise QueryFailed(f"field {name!r} is text: it has {', '.join(sorted(TEXT_AGGREGATES))}, no {wrong[0]}")


def absent(rows: int) -> npt.NDArray[np.float64]:
    """A column without values."""
    return np.full(rows, np.nan)
