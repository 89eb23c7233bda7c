"""The last row of every series in memory: merged, not moved by late rows, forgotten after an hour."""

from __future__ import annotations

import numpy as np
from fleetwatch_storage.influx import latest
from fleetwatch_storage.influx.latest import LatestRows
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.store_rows import Row, frame, merged, rows_of

NOW = 1_800_000_000_000


def test_rows_of_the_same_time_are_merged_the_later_written_winning() -> None:
    rows = LatestRows()
    rows.add([frame("m", [Row("h", NOW, {"a": 1, "b": 2, "name": "x"})])])
    rows.add([frame("m", [Row("h", NOW, {"b": 3, "name": "y"}), Row("h", NOW - 5, {"a": 9})])])

    (answer,) = rows.latest([], NOW)

    assert rows_of(answer) == [("h", (), NOW, {"a": 1.0, "b": 3.0, "name": "y"})]


def test_what_the_caller_does_with_its_arrays_afterwards_does_not_matter() -> None:
    rows, mine = LatestRows(), frame("m", [Row("h", NOW, {"a": 1})])
    rows.add([mine])
    mine.fields["a"][:] = 7.0

    assert rows_of(rows.latest(["m"], NOW)[0])[0][3] == {"a": 1.0}


def test_a_series_is_forgotten_after_an_hour() -> None:
    rows = LatestRows()
    rows.add([frame("m", [Row("old", NOW - 3_600_001, {"a": 1}), Row("new", NOW, {"a": 1})])])

    assert [row[0] for row in rows_of(rows.latest([], NOW)[0])] == ["new"]
    assert rows.latest([], NOW + 3_600_001) == []


def test_tags_are_as_the_server_will_give_them_back() -> None:
    rows = LatestRows()
    rows.add([frame("disk", [Row("h", NOW, {"a": 1}, {"path": "C:\\", "none": ""})])])

    assert rows.latest([], NOW)[0].tagsets == ((("path", "C:"),),)


def test_rows_without_any_value_are_no_rows() -> None:
    rows = LatestRows()
    rows.add([frame("m", [Row("h", NOW, {"a": None})])])

    assert rows.latest([], NOW) == []


def test_many_rows_are_folded_before_anybody_asks(monkeypatch: object) -> None:
    rows = LatestRows()
    for i in range(5):
        count = latest._FOLD_ROWS // 3
        one = frame("m", [Row("h", NOW + i, {"a": i})])
        rows.add(
            [
                latest.replace(
                    one,
                    time=np.full(count, NOW + i),
                    host=np.zeros(count, np.int32),
                    tagset=np.zeros(count, np.int32),
                    fields={"a": np.full(count, float(i))},
                )
            ]
        )

    assert sum(map(len, rows._new.get("m", []))) <= latest._FOLD_ROWS
    assert rows_of(rows.latest([], NOW)[0])[0][3] == {"a": 4.0}


some = st.builds(
    lambda host, tag, at, fields: Row(host, NOW + at, fields, {"t": tag} if tag else {}),
    st.sampled_from("ab"),
    st.sampled_from(["", "x"]),
    st.integers(-3, 3),
    st.dictionaries(st.sampled_from("fg"), st.integers(0, 9), min_size=1),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(some, min_size=1, max_size=6), min_size=1, max_size=4), st.booleans())
def test_the_last_rows_are_those_of_all_that_was_written(batches: list[list[Row]], asked_between: bool) -> None:
    rows = LatestRows()
    for batch in batches:
        rows.add([frame("m", batch)])
        if asked_between:
            rows.latest([], NOW)
    stored = merged(row for batch in batches for row in batch)
    last = {(host, tags): at for host, tags, at in sorted(stored)}

    (answer,) = rows.latest([], NOW)

    assert rows_of(answer) == [(*key, at, stored[*key, at]) for key, at in sorted(last.items())]
