"""Decoded rows to frames: every value at its host, tags and time, whatever is stacked with what."""

from __future__ import annotations

from typing import Any

import numpy as np
from fleetwatch_collector.arrivals import Arrival, Rows
from fleetwatch_collector.assemble import frames_of
from fleetwatch_collector.layout import Plan, Plans
from fleetwatch_collector.live import Hub
from fleetwatch_collector.metrics import Tally
from fleetwatch_collector.processes import process_frame, table_problem
from fleetwatch_collector.schemas import Columns
from fleetwatch_proto.v1 import ingest_pb2 as wire
from fleetwatch_storage.frames import Frame
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.stream_client import table


class Host:
    """Where a batch comes from."""

    def __init__(self, host: str) -> None:
        self.host = host


def arrival(host: str, plan: Plan, table: wire.ProcessTable | None = None, t0_ms: int = 1000) -> Arrival:
    source: Any = Host(host)
    return Arrival(source, plan, 1, t0_ms, (0,), wire.RAW_F64, b"", 0, 0, table, 100)


def plan_of(plans: Plans, *columns: tuple[str, dict[str, str], tuple[str, ...]]) -> Plan:
    series = [Columns(name, tuple(sorted(tags.items())), fields) for name, tags, fields in columns]
    return plans.find_or_make(abs(hash(str(series))), str(series).encode(), lambda: series)


def _place(frame: Frame, row: int) -> tuple[str, str, int]:
    return frame.hosts[frame.host[row]], frame.tagsets[frame.tagset[row]][0][1], int(frame.time[row])


MEASUREMENTS = {"cpu": ("user", "system"), "mem": ("used",), "net": ("rx", "tx")}
COLUMNS = st.lists(
    st.tuples(st.sampled_from(sorted(MEASUREMENTS)), st.sampled_from(["a", "b", "c"]), st.integers(1, 2)),
    min_size=1,
    max_size=6,
    unique_by=lambda one: one[:2],
)


@settings(deadline=None)
@given(schemas=st.lists(COLUMNS, min_size=1, max_size=3), seed=st.integers(0, 99), holes=st.booleans())
def test_frames_hold_exactly_the_values_of_the_rows(
    schemas: list[list[tuple[str, str, int]]], seed: int, holes: bool
) -> None:
    rng, plans = np.random.default_rng(seed), Plans()
    expected: dict[Any, float] = {}
    rows = []
    held = []
    for number, schema in enumerate(schemas):
        chosen = [(name, {"tag": tag}, MEASUREMENTS[name][:width]) for name, tag, width in schema]
        plan = plan_of(plans, *chosen)
        held.append(plan)
        values = rng.uniform(1, 2, (2, plan.layout.columns))
        if holes:
            values[rng.random(values.shape) < 0.5] = np.nan
        hosts = [f"h{number}", f"h{number + 1}"]
        time = np.array([1000 + number, 2000 + number])
        rows.append(Rows(plan.layout, values, time, [arrival(host, plan) for host in hosts], [1, 1], holes))
        for row, host in enumerate(hosts):
            names = [(name, tags["tag"], field) for name, tags, fields in chosen for field in fields]
            for (name, tag, field), value in zip(names, values[row], strict=True):
                if not np.isnan(value):
                    expected[name, host, tag, int(time[row]), field] = value

    frames = frames_of(rows)

    found = {
        (frame.measurement, *_place(frame, row), name): column[row]
        for frame in frames
        for row in range(len(frame))
        for name, column in frame.fields.items()
        if not np.isnan(column[row])
    }
    assert found == expected
    assert len({frame.measurement for frame in frames}) == len(frames)
    assert all(not np.isnan(np.array(list(frame.fields.values()))).all(axis=0).any() for frame in frames)


def test_hosts_whose_tags_differ_only_share_one_layout() -> None:
    plans = Plans()

    first = plan_of(plans, ("net", {"interface": "eth0"}, ("rx",)), ("net", {"interface": "lo"}, ("rx",)))
    second = plan_of(plans, ("net", {"interface": "ens3"}, ("rx",)), ("net", {"interface": "lo"}, ("rx",)))

    assert first is not second
    assert first.layout is second.layout
    assert first.tagsets[1] is second.tagsets[1]


def test_plans_nobody_holds_are_forgotten() -> None:
    plans = Plans()
    plan = plan_of(plans, ("mem", {}, ("used",)))
    held = len(plans)

    del plan

    assert (held, len(plans)) == (1, 0)


def test_process_tables_of_many_hosts_become_one_ranked_frame() -> None:
    plans = Plans()
    plan = plan_of(plans, ("mem", {}, ("used",)))
    tables = [
        arrival("h1", plan, table(("a", 1.0), ("b", 3.0))),
        arrival("h2", plan),
        arrival("h3", plan, table(("c", 2.0))),
    ]

    frame = process_frame(tables)

    assert frame is not None
    rows = [
        (frame.hosts[frame.host[row]], dict(frame.tagsets[frame.tagset[row]])["rank"], frame.fields["name"][row])
        for row in range(len(frame))
    ]
    assert rows == [("h1", "1", "b"), ("h1", "2", "a"), ("h3", "1", "c")]
    assert process_frame([arrival("h2", plan)]) is None


def test_a_process_table_that_lies_is_said_so() -> None:
    assert "different lengths" in table_problem(wire.ProcessTable(pid=[1], name=["a", "b"]))
    assert "at most" in table_problem(table(*[("p", 1.0)] * 101))
    assert table_problem(table(("p", 1.0))) == ""


async def test_watchers_get_their_hosts_and_the_process_table() -> None:
    plans, hub = Plans(), Hub(8, Tally())
    plan = plan_of(plans, ("mem", {}, ("used",)))
    arrivals = [arrival("h1", plan, table(("a", 1.0))), arrival("h2", plan)]
    watcher = hub.watch(frozenset({"h1"}))

    hub.publish([Rows(plan.layout, np.array([[1.0], [2.0]]), np.array([5, 6]), arrivals, [1, 1], False)])
    frames = await anext(watcher)
    watcher.close()

    assert {frame.measurement: len(frame) for frame in frames} == {"mem": 1, "process_top": 1}
    assert [frame async for frame in watcher] == []


def test_only_so_many_hosts_are_asked_for_fast_rows() -> None:
    hub = Hub(8, Tally())
    watchers = [hub.watch(frozenset({f"h{n}"}), fast=True) for n in range(5)]
    everybody = hub.watch(fast=True)

    assert len(hub.fast_hosts(["h7", "h8"], 3)) == 3
    assert hub.fast_hosts(["h7"], 9) == {"h0", "h1", "h2", "h3", "h4", "h7"}
    assert hub.fast_hosts([f"x{n}" for n in range(10)], 9) == {"h0", "h1", "h2", "h3", "h4"}
    assert len(watchers) == 5
    assert not everybody.closed
