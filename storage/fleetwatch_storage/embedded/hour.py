"""One closed hour of one measurement: its sorted file and its roll-ups, slice by slice of hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from duckdb import DuckDBPyConnection

from fleetwatch_storage.embedded import files, rollups
from fleetwatch_storage.embedded.files import Step
from fleetwatch_storage.embedded.kinds import kept
from fleetwatch_storage.embedded.layout import KEYS, ROLL_UPS, SLICE_HOSTS, HotTable, Layout, SealedFile, Tier
from fleetwatch_storage.embedded.names import Field, Measurement
from fleetwatch_storage.embedded.plan import Part
from fleetwatch_storage.embedded.ranges import Ranges, condition
from fleetwatch_storage.embedded.rollups import Column
from fleetwatch_storage.embedded.rows import HOUR_MS
from fleetwatch_storage.embedded.selection import Selection
from fleetwatch_storage.embedded.sources import Sources, parquet, union
from fleetwatch_storage.reduce import LOOKBACK_MS

ORDER = "ORDER BY host_id, inst_id, ts"


@dataclass(slots=True)
class Change:
    """Files that take the place of others; `tables` go with them."""

    gone: list[SealedFile]
    new: list[SealedFile]
    tables: tuple[HotTable, ...] = ()


class Hour:
    """Seals `tables`, the frozen ones of the hour in `view`; writes files, changes nothing else."""

    def __init__(
        self,
        connection: DuckDBPyConnection,
        folder: Path,
        view: Layout,
        measurement: Measurement,
        tables: tuple[HotTable, ...],
        next_generation: Callable[[], int],
        step: Step,
    ) -> None:
        self._connection = connection
        self._folder = folder
        self._view = view
        self._measurement = measurement
        self._tables = tables
        self._next_generation = next_generation
        self._step = step
        self._start = tables[0].hour_ms

    def slices(self) -> list[int]:
        """Slices of hosts that have rows to seal."""
        hosts = union(f"SELECT host_id FROM {table.name}" for table in self._tables)
        statement = f"SELECT DISTINCT host_id // {SLICE_HOSTS} FROM ({hosts}) ORDER BY 1"
        return [int(row[0]) for row in self._connection.execute(statement).fetchall()]

    def seal(self, part: int, change: Change) -> None:
        """Adds the files of one slice, and those they replace."""
        hour = (self._start, self._start + HOUR_MS)
        old = self._files(Tier.RAW, part, hour)
        samples = self._samples(self._view, part, hour, self._fields(self._view, part, hour))
        new = self._write(f"{samples} {ORDER}", Tier.RAW, part, hour)
        change.gone += old
        change.new.append(new)
        self._roll_up(self._view.without_tables(self._tables).with_files(old, [new]), part, bool(old), change)

    def _files(self, tier: Tier, part: int, times: tuple[int, int]) -> list[SealedFile]:
        return [file for file in self._view.files_between(tier, self._measurement.id, *times) if file.slice == part]

    def _fields(self, view: Layout, part: int, times: tuple[int, int], before_ms: int = 0) -> dict[Field, bool]:
        """The fields that have a value there, and whether every sample has them, those a bit before included."""
        every = list(self._measurement.fields.values())
        tests = ", ".join(
            f"count({field.column}) FILTER (WHERE ts >= {times[0]}) > 0, count({field.column}) = count(*)"
            for field in every
        )
        samples = self._samples(view, part, (times[0] - before_ms, times[1]), every)
        row = self._connection.execute(f"SELECT {tests} FROM ({samples})").fetchone() or ()
        found = zip(every, row[::2], row[1::2], strict=True)
        return {field: complete for field, there, complete in found if there}

    def _samples(self, view: Layout, part: int, times: tuple[int, int], fields: Iterable[Field]) -> str:
        selection = Selection(np.empty(0, np.int32), bounds=(part * SLICE_HOSTS, (part + 1) * SLICE_HOSTS))
        sources = Sources(self._folder, view, self._measurement.id, selection)
        return f"SELECT * FROM ({union(sources.raw(Part(Tier.RAW, [times]), list(fields)))})"

    def _write(self, statement: str, tier: Tier, part: int, times: tuple[int, int]) -> SealedFile:
        place = (tier, self._measurement.id, part)
        return files.write(self._connection, self._folder, statement, place, times, self._next_generation(), self._step)

    def _roll_up(self, view: Layout, part: int, again: bool, change: Change) -> None:
        """Roll-ups of the hour, and of a sealed next one, whose first rise depends on the last sample of this."""
        following = self._files(Tier.RAW, part, (self._start + HOUR_MS, self._start + 2 * HOUR_MS))
        times = (self._start, self._start + HOUR_MS * (2 if following else 1))
        made_anew = [times] if again else [(self._start + HOUR_MS, times[1])]
        found = self._fields(view, part, times, LOOKBACK_MS)
        columns = [Column(one, kept(self._measurement, one), full) for one, full in found.items() if not one.text]
        if not columns:
            return
        numbers = [column.field for column in columns]
        samples = self._samples(view, part, (times[0] - LOOKBACK_MS, times[1]), numbers)
        statement = rollups.of_samples(samples, columns, Tier.MINUTE.width_ms, times[0])
        for tier in ROLL_UPS:
            self._connection.execute(f"CREATE OR REPLACE TEMP TABLE rolled_{tier} AS {statement}")
            self._replace(tier, part, times, made_anew, columns, change)
            statement = rollups.coarser(f"rolled_{tier}", columns, _next_width(tier))

    def _replace(
        self, tier: Tier, part: int, times: tuple[int, int], made_anew: Ranges, columns: list[Column], change: Change
    ) -> None:
        """Writes the rows of a tier, together with the other rows of the files they are part of.

        Rows outside `made_anew` that are there stay: their samples may be gone, so they cannot be made again.
        """
        old = self._files(tier, part, times)
        statement = rollups.encoded(self._connection, f"rolled_{tier}", columns)
        if old:
            keys = ", ".join(KEYS)
            stays = f"NOT {condition('ts', [span for span in made_anew if span[0] < span[1]])}"
            self._connection.execute(f"CREATE OR REPLACE TEMP TABLE encoded AS {statement}")
            there = parquet(self._folder, old, alike=False)
            self._connection.execute(f"CREATE OR REPLACE TEMP TABLE stays AS SELECT * FROM {there} WHERE {stays}")
            statement = f"SELECT * FROM stays UNION ALL BY NAME SELECT * FROM encoded ANTI JOIN stays USING ({keys})"
            times = min(times[0], old[0].start_ms), max(times[1], max(file.end_ms for file in old))
        change.gone += old
        change.new.append(self._write(f"SELECT * FROM ({statement}) {ORDER}", tier, part, times))


def _next_width(tier: Tier) -> int:
    """The width of the roll-up made from this one; the last one's own."""
    place = ROLL_UPS.index(tier)
    return ROLL_UPS[min(place + 1, len(ROLL_UPS) - 1)].width_ms
