"""The oracle must find every kind of damage: a store that is whole passes, one damaged point does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fleetwatch_storage.frames import Frame, empty
from fleetwatch_storage.query import Query

from tests.support.oracle import Ledger, LedgerFile, judge, read_ledger
from tests.support.values import HostValues, Numbers, host_series

SERIES = host_series()
T0 = 1_795_168_800_000
ROWS = 20


class TableStore:
    """Answers a raw query and a count per day from one table of (time, all columns) of one host."""

    def __init__(self, times: np.ndarray, values: Numbers) -> None:
        self.times, self.values = times, values
        self.folds_doubles = False

    def read(self, query: Query) -> Frame:
        column, pieces = 0, []
        for one in SERIES:
            if one.measurement == query.measurement:
                tags = tuple((tag.key, tag.value) for tag in one.tags)
                pieces.append((tags, self.values[:, column : column + len(one.fields)]))
            column += len(one.fields)
        return self._counts(query, pieces) if query.step_ms else self._rows(query, pieces)

    def _rows(self, query: Query, pieces: list[tuple[tuple[tuple[str, str], ...], Numbers]]) -> Frame:
        keep = np.unique(self.times, return_index=True)[1] if self.folds_doubles else np.arange(len(self.times))
        table = np.concatenate([values[keep] for _, values in pieces])
        tagset = np.repeat(np.arange(len(pieces), dtype=np.int32), len(keep))
        host = np.zeros(len(tagset), np.int32)
        fields = {name: table[:, place] for place, name in enumerate(query.fields)}
        times = np.tile(self.times[keep], len(pieces))
        return Frame(query.measurement, times, host, ("a",), tagset, [tags for tags, _ in pieces], fields)

    def _counts(self, query: Query, pieces: list[tuple[tuple[tuple[str, str], ...], Numbers]]) -> Frame:
        count = np.full(len(pieces), float(len(self.times)))
        codes = np.arange(len(pieces), dtype=np.int32)
        times = np.full(len(pieces), query.start_ms)
        tagsets = [tags for tags, _ in pieces]
        return Frame(query.measurement, times, 0 * codes, ("a",), codes, tagsets, {query.fields[0]: count})


def ledger() -> Ledger:
    times = {T0 + 1000 * row: row for row in range(ROWS)}
    return Ledger("a", "s", times, set(times))


def whole() -> TableStore:
    times = T0 + 1000 * np.arange(ROWS, dtype=np.int64)
    return TableStore(times, HostValues(SERIES).at("a", "s", 0, ROWS))


def test_a_whole_store_passes() -> None:
    verdict = judge(whole(), [ledger()], SERIES)  # type: ignore[arg-type]

    assert verdict.clean, str(verdict)
    assert verdict.accepted == verdict.stored == ROWS * 150


def test_an_issued_row_that_was_never_accepted_may_be_missing() -> None:
    store, promised = whole(), ledger()
    promised.accepted.remove(T0 + 19_000)
    store.times, store.values = store.times[:-1], store.values[:-1]

    verdict = judge(store, [promised], SERIES)  # type: ignore[arg-type]

    assert verdict.clean, str(verdict)


def _lose(store: TableStore) -> None:
    store.times, store.values = np.delete(store.times, 3), np.delete(store.values, 3, axis=0)


def _lose_a_value(store: TableStore) -> None:
    store.values[7, 100] = np.nan


def _double(store: TableStore) -> None:
    store.times = np.insert(store.times, 5, store.times[5])
    store.values = np.insert(store.values, 5, store.values[5], axis=0)


def _double_unseen(store: TableStore) -> None:
    _double(store)
    store.folds_doubles = True


def _invent(store: TableStore) -> None:
    store.times = np.append(store.times, T0 + 500)
    store.values = np.append(store.values, store.values[:1], axis=0)


def _alter(store: TableStore) -> None:
    store.values[4, 20] = np.nextafter(store.values[4, 20], np.inf)


@pytest.mark.parametrize(
    ("damage", "kind", "points"),
    [
        (_lose, "lost", 150),
        (_lose_a_value, "lost", 1),
        (_double, "doubled", 150),
        (_double_unseen, "doubled", 15),
        (_invent, "invented", 150),
        (_alter, "altered", 1),
    ],
)
def test_damage_is_found_and_counted(damage: Callable[[TableStore], None], kind: str, points: int) -> None:
    store = whole()
    damage(store)

    verdict = judge(store, [ledger()], SERIES)  # type: ignore[arg-type]

    assert not verdict.clean
    assert getattr(verdict, kind) >= points, str(verdict)


def test_an_empty_store_has_lost_everything() -> None:
    class Nothing:
        def read(self, query: Query) -> Frame:
            return empty(query.measurement, query.fields)

    verdict = judge(Nothing(), [ledger()], SERIES)  # type: ignore[arg-type]

    assert verdict.lost == verdict.accepted == ROWS * 150
    assert verdict.lost_rows["a"] == ledger().accepted


def test_a_ledger_without_accepted_rows_proves_nothing() -> None:
    verdict = judge(whole(), [Ledger("a", "s", {T0: 0})], SERIES)  # type: ignore[arg-type]

    assert not verdict.clean


def test_a_ledger_file_cut_short_by_a_kill_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    file = LedgerFile(tmp_path / "ledger")
    file.issue(T0, 0)
    file.accept(T0)
    file.issue(T0 + 1000, 1)
    with (tmp_path / "ledger").open("a") as raw:
        raw.write("a 17951")

    found = read_ledger(tmp_path / "ledger", "a", "s")

    assert found == Ledger("a", "s", {T0: 0, T0 + 1000: 1}, {T0})
