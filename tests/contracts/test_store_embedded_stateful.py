"""The embedded store against the model over random lives: writes, repeats, late rows, sealing, restarts, questions."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from fleetwatch_storage.query import Matcher, Op, Query, Transform
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.embedded import HOUR, MIN, Clock, Place, S
from tests.support.store_rows import Row, Rows, alike, expected, frame, merge, rows_of
from tests.support.stores import directory

TAGS = {"web-1": {"env": "prod"}, "web-2": {}, "db-1": {"env": "test"}}
T0 = Clock().now // HOUR * HOUR

values = st.dictionaries(
    st.sampled_from(["a", "b", "c"]), st.integers(-3, 40).map(float) | st.floats(-1e6, 1e6, width=32), min_size=1
)
new_rows = st.lists(
    st.tuples(st.sampled_from(sorted(TAGS)), st.sampled_from(["", "x"]), st.integers(-5, 120), values),
    min_size=1,
    max_size=12,
)
questions = st.fixed_dictionaries(
    {
        "fields": st.sampled_from([("a",), ("b",), ("a", "c")]),
        "step_ms": st.sampled_from([0, MIN, 5 * MIN, HOUR, 90 * S]),
        "aggregates": st.sampled_from([("avg",), ("max", "count"), ("last",), ("p90",), ("sum", "min")]),
        "transform": st.sampled_from(
            [Transform.NONE, Transform.NONE, Transform.INCREASE, Transform.DELTA, Transform.RATE]
        ),
        "where": st.sampled_from(
            [(), (Matcher("host", Op.EQ, "web-1"),), (Matcher("env", Op.NE, "prod"), Matcher("t", Op.EQ, ""))]
        ),
        "back": st.integers(0, 240),
        "length": st.integers(1, 300),
    }
)


class Life(RuleBasedStateMachine):
    """One store; `written` is everything acknowledged, in order."""

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.place = Place(self.root / "store", directory(self.root, TAGS), Clock(T0))
        self.store = self.place.open(store_window_bytes=1 << 16, seal_lateness_s=60.0)
        self.written: list[Row] = []
        self.stored: Rows = {}
        self.steady = T0
        self.written_at_start = 0

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.root)

    def write(self, rows: list[Row]) -> None:
        self.store.write([frame("app", rows)])
        self.written += rows
        merge(self.stored, rows)

    @rule(rows=new_rows)
    def write_new_rows(self, rows: list[Any]) -> None:
        self.place.clock.now += MIN
        now = self.place.clock.now
        self.write([Row(host, now + at * S, found, {"t": t} if t else {}) for host, t, at, found in rows])

    @rule(rows=new_rows, hours=st.integers(0, 3))
    def write_late_rows(self, rows: list[Any], hours: int) -> None:
        then = self.place.clock.now - hours * HOUR
        self.write([Row(host, then - at * 7 * S, found, {"t": t} if t else {}) for host, t, at, found in rows])

    @rule(data=st.data())
    def write_old_rows_again(self, data: st.DataObject) -> None:
        if self.written:
            start = data.draw(st.integers(0, len(self.written) - 1))
            self.write(self.written[start : start + 10])

    @rule()
    def write_a_steady_counter(self) -> None:
        """A value every five minutes from the beginning to now: roll-ups only know rises over gaps of up to ten."""
        while self.steady <= self.place.clock.now:
            number = (self.steady - T0) // MIN
            self.write([Row("db-1", self.steady, {"steady": float(number * number % 997)})])
            self.steady += 5 * MIN

    @rule(step=st.sampled_from([MIN, 5 * MIN, HOUR]), back=st.integers(0, 600), length=st.integers(1, 600))
    def ask_about_the_steady_counter(self, step: int, back: int, length: int) -> None:
        asked = {"fields": ("steady",), "step_ms": step, "transform": Transform.INCREASE}
        self.check({**asked, "back": back, "length": length})

    @rule(minutes=st.integers(10, 90))
    def time_passes(self, minutes: int) -> None:
        self.place.clock.now += minutes * MIN

    @rule()
    def seal_what_is_due(self) -> None:
        self.store.maintenance.run(self.place.clock.now)

    @rule()
    @precondition(lambda self: len(self.written) >= self.written_at_start + 20)
    def restart(self) -> None:
        self.written_at_start = len(self.written)
        self.store.close()
        self.store = self.place.open(store_window_bytes=1 << 16, seal_lateness_s=60.0)

    @rule(asked=questions)
    @precondition(lambda self: self.written)
    def ask(self, asked: dict[str, Any]) -> None:
        self.check(asked)

    @rule(asked=questions)
    def ask_about_now(self, asked: dict[str, Any]) -> None:
        self.check({**asked, "back": asked["back"] % 8, "length": 12})

    def check(self, asked: dict[str, Any]) -> None:
        options = dict(asked)
        start = self.place.clock.now - options.pop("back") * MIN
        if options["transform"] is Transform.INCREASE and options["fields"] != ("steady",):
            options["step_ms"] = 90 * S if options["step_ms"] else 0
        query = Query("app", start_ms=start, end_ms=start + options.pop("length") * MIN, **options)
        want = expected(self.stored, query, TAGS)
        got = rows_of(self.store.read(query))
        assert alike(got, want), f"{query}\n got {got}\nwant {want}"

    @invariant()
    def latest_is_the_last_row_of_each_series(self) -> None:
        if not hasattr(self, "store"):
            return
        last: dict[Any, Any] = {}
        for (host, tags, at), found in sorted(self.stored.items()):
            last[host, tags] = (host, tags, at, found)
        want = [row for _, row in sorted(last.items()) if row[2] >= self.place.clock.now - HOUR]
        got = [row for one in self.store.latest(["app"]) for row in rows_of(one)]
        assert alike(got, want), f"got {got}\nwant {want}"


TestLife = pytest.mark.timeout(600)(Life.TestCase)  # five thousand steps take about a minute of an idle processor
TestLife.settings = settings(
    max_examples=100,
    stateful_step_count=50,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
