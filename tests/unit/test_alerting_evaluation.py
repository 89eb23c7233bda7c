"""Asking the store, the clock of evaluation, facts and limits: what is around the engine."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from fleetwatch_alerting import evaluate, facts, fleet, observe, pack
from fleetwatch_alerting.desk import DeskClosed
from fleetwatch_alerting.rules.loader import loads
from fleetwatch_alerting.rules.schema import Rule
from fleetwatch_alerting.scheduler import (
    CATCH_UP_STEPS,
    JumpWatch,
    Ticker,
    aligned,
    delay_ms,
    missed_ticks,
    replayed,
)
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.hosts import Host
from fleetwatch_storage.metadata import tables
from fleetwatch_storage.query import Matcher, Op
from hypothesis import given
from hypothesis import strategies as st

from tests.support.alert_world import T0, World, rule_file, steps
from tests.support.conditions import wait_until_async


def rules(text: str) -> list[Rule]:
    return list(loads(rule_file(text), "r", environment={"HOOK": "http://x"}).rules)


@given(st.integers(10**12, 2 * 10**12), st.integers(1, 31 * 86_400_000))
def test_one_step_holds_the_whole_window_and_fits_no_roll_up(start: int, width: int) -> None:
    step = observe.one_step(start, start + width)

    assert start // step == (start + width - 1) // step
    assert step % 1000
    assert step >= width


@pytest.mark.parametrize(("start", "end"), [(0, 1000), (1, 2), (5, 60_000), (T0 + 1, T0 + 60_001)])
def test_one_step_holds_any_range(start: int, end: int) -> None:
    step = observe.one_step(start, end)

    assert start // step == (end - 1) // step


def test_one_query_for_each_rule_whatever_the_number_of_hosts(tmp_path: Path) -> None:
    text = "  - {name: A, metric: mem.used_percent, above: 80}\n  - {name: B, metric: cpu.usage_active, above: 80}"
    world = World(tmp_path, rule_file(text))
    for index in range(30):
        world.series("mem.used_percent", f"h{index}", 90 if index == 3 else 20)
        world.series("cpu.usage_active", f"h{index}", 20)

    world.run(0)
    first = len(world.store.queries)
    world.store.queries.clear()
    world.run(30)

    assert len(world.store.queries) == 2
    assert first == 2 + 2, "and processes and sparkline for the one that fired"


def test_rules_on_the_same_series_share_one_answer(tmp_path: Path) -> None:
    text = "\n".join(f"  - {{name: R{n}, metric: mem.used_percent, above: {n}}}" for n in range(90, 99))
    world = World(tmp_path, rule_file(text))
    world.series("mem.used_percent", "a", 20)

    world.run(0)

    assert len(world.store.queries) == 1


@pytest.mark.parametrize(
    ("rule", "group_by"),
    [
        ("metric: mem.used, above: 1", None),
        ("metric: cpu.usage_active, above: 1", None),
        ("metric: cpu.usage_active, above: 1, group_by: [host, cpu]", None),
        ("metric: disk.used, above: 1", ("host", "path")),
        ("metric: mem.used, above: 1, group_by: [rack]", ("rack",)),
        ("metric: mem.used, above: 1, group_by: [host, rack]", ("host", "rack")),
        ("metric: shop.orders, above: 1", None),
    ],
)
def test_grouping_is_left_to_the_store_only_where_series_are_joined(
    rule: str, group_by: tuple[str, ...] | None
) -> None:
    (made,) = rules(f"  - {{name: R, {rule}}}")

    assert observe._grouping(made) == group_by


def test_groups_over_hosts_are_one_alert(tmp_path: Path) -> None:
    rule = (
        "  - {name: R, metric: net.bytes_sent, transform: rate, window: 1m, group_by: rack, group_agg: sum, above: 15}"
    )
    world = World(tmp_path, rule_file(rule))
    for name, rack, speed in (("a", "r1", 10), ("b", "r1", 10), ("c", "r2", 10)):
        world.host(name, tags={"rack": rack})
        world.series("net.bytes_sent", name, lambda at, s=speed: 1000 + s * at, tags={"interface": "eth0"})

    world.run(120)

    assert [(one.labels["rack"], one.value, one.labels.get("host")) for one in world.alerts()] == [("r1", 20.0, None)]


def test_a_metric_of_ones_own_is_looked_for_five_minutes_back(tmp_path: Path) -> None:
    world = World(tmp_path, rule_file("  - {name: Q, metric: shop.orders_waiting, above: 5, for: 10m}"))
    world.series("shop.orders_waiting", "a", 9, every_s=240, tags={"queue": "web"})

    world.run(600)

    (found,) = world.alerts()
    assert (found.state, found.health, found.labels["queue"]) == ("firing", "ok", "web")


def test_abs_looks_at_both_sides(tmp_path: Path) -> None:
    rule = "  - {name: Skew, metric: fleetwatch_agent.clock_offset_ms, transform: abs, above: 2000}"
    world = World(tmp_path, rule_file(rule))
    for name, offset in (("a", -3000), ("b", 3000), ("c", 100)):
        world.series("fleetwatch_agent.clock_offset_ms", name, offset)

    world.run(0)

    assert [world.state(name) for name in "abc"] == ["firing", "firing", "inactive"]


def test_a_rule_has_only_so_many_alerts_and_keeps_those_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "INSTANCES_PER_RULE", 3)
    world = World(tmp_path, rule_file("  - {name: M, metric: mem.used_percent, above: 80}"))
    for index in range(5):
        world.series("mem.used_percent", f"h{index}", steps((0, 20), (30 * (5 - index), 90)))

    world.run(300)

    assert {one.labels["host"] for one in world.alerts()} == {"h4", "h3", "h2"}


def test_what_the_database_cannot_keep_did_not_happen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fleetwatch_alerting import book

    world = World(tmp_path, rule_file("  - {name: M, metric: mem.used_percent, above: 80}"))
    world.series("mem.used_percent", "a", 90)
    real = book.keep_tick

    def full(*_: object) -> None:
        raise OSError("database or disk is full")

    monkeypatch.setattr(book, "keep_tick", full)
    with pytest.raises(OSError, match="full"):
        world.run(0)
    kept = [*world.rows(tables.alerts), *world.rows(tables.outbox)]
    monkeypatch.setattr(book, "keep_tick", real)
    world.run(60)

    assert kept == []
    assert world.receivers["ops"].changes == [(30, "new")]


def test_top_processes_are_those_of_the_resource_at_that_time(tmp_path: Path) -> None:
    frame = Frame(
        "process_top",
        np.array([5, 5, 5, 1], np.int64),
        np.array([0, 0, 0, 0], np.int32),
        ["a"],
        np.array([0, 1, 2, 0], np.int32),
        [(("rank", "1"),), (("rank", "2"),), (("rank", "3"),)],
        {
            "name": np.array(["java", "postgres", "idle", "old"], object),
            "cpu_percent": np.array([412.0, 96.04, 0.0, 900.0]),
            "rss": np.array([2.0**30, 3 * 2.0**30, np.nan, 1.0]),
            "read_bytes": np.array([1024.0, np.nan, 0.0, 0.0]),
            "write_bytes": np.array([1024.0, 512.0, 0.0, 0.0]),
        },
    )
    table = facts._last_table(frame, "a")
    made = rules(
        "  - {name: C, metric: cpu.usage_active, above: 1}\n  - {name: M, metric: mem.used, above: 1}\n"
        "  - {name: D, metric: diskio.io_util, above: 1}"
    )

    said = [facts._top(table, rule) for rule in made]

    assert said == ["java 412.0 %, postgres 96.0 %", "postgres 3 GiB, java 1 GiB", "java 2 KiB/s, postgres 512 B/s"]


def test_a_sparkline_goes_from_low_to_high() -> None:
    assert facts.sparkline([0, 50, 100, float("nan")]) == "▁▅█"
    assert facts.sparkline([5, 5, 5]) == "▁▁▁"
    assert facts.sparkline([1, 2]) == ""


def test_an_alert_carries_its_sparkline(tmp_path: Path) -> None:
    world = World(tmp_path, rule_file("  - {name: M, metric: mem.used_percent, above: 80}"))
    world.series("mem.used_percent", "a", lambda at: min(100.0, 50 + at / 60))

    world.run(1900)

    (found,) = world.alerts()
    assert found.annotations["sparkline"].startswith("▁")
    assert found.annotations["sparkline"].endswith("█")


def test_the_shipped_rules_are_quiet_on_a_healthy_fleet_and_loud_on_a_broken_one(tmp_path: Path) -> None:
    world = World(tmp_path, pack.DEFAULT.read_text())
    for name, bad in (("good", False), ("bad", True)):
        gib = 2**30
        world.series("disk.used_percent", name, 95, tags={"path": "/", "device": "sda"})
        world.series("disk.free", name, (5 if bad else 500) * gib, tags={"path": "/", "device": "sda"})
        world.series("disk.inodes_used_percent", name, 97 if bad else 10, tags={"path": "/", "device": "sda"})
        world.series("mem.available_percent", name, 3 if bad else 50)
        world.series("kernel.oom_kill", name, lambda at, b=bad: 7.0 + (b and at > 300))
        world.series("systemd_units.state", name, 3 if bad else 0, tags={"name": "nginx.service"})
        world.series("fleetwatch_agent.clock_offset_ms", name, -40_000 if bad else 20)
    world.host("silent", silent_from=600)

    world.run(1500)

    found = {(one.labels["host"], one.rule): one.level for one in world.alerts("firing")}
    assert found == {
        ("silent", "HostSilent"): "critical",
        ("bad", "DiskSpace"): "critical",
        ("bad", "DiskInodes"): "critical",
        ("bad", "MemoryAvailable"): "critical",
        ("bad", "OutOfMemoryKill"): "critical",
        ("bad", "SystemdUnitFailed"): "warning",
        ("bad", "ClockSkew"): "critical",
    }


def test_hosts_are_matched_by_name_and_tags() -> None:
    host = Host("web-1", tags={"env": "prod"})

    assert fleet.matches(host, [Matcher("env", Op.EQ, "prod"), Matcher("host", Op.RE, "web-.*")])
    assert not fleet.matches(host, [Matcher("rack", Op.NE, "")])


@pytest.mark.parametrize(
    ("at", "every", "wanted"), [(0, 30_000, 0), (29_999, 30_000, 0), (T0 + 61_000, 30_000, T0 + 60_000)]
)
def test_evaluations_stand_at_multiples(at: int, every: int, wanted: int) -> None:
    assert aligned(at, every) == wanted


def test_evaluation_stays_behind_by_an_interval_and_five_seconds() -> None:
    assert [delay_ms(None, 10_000), delay_ms(None, 60_000), delay_ms(0, 10_000)] == [15_000, 30_000, 0]


def test_missed_evaluations_are_counted() -> None:
    assert [missed_ticks(None, 90, 30), missed_ticks(60, 90, 30), missed_ticks(60, 180, 30)] == [0, 0, 3]


def test_replay_covers_what_was_missed_and_no_more() -> None:
    assert replayed(60_000, 180_000, 30_000, 3_600_000) == [90_000, 120_000, 150_000]
    assert replayed(60_000, 90_000, 30_000, 3_600_000) == []
    assert replayed(0, 7_200_000, 30_000, 60_000) == [7_170_000]
    assert replayed(500, 100, 30, 60) == []


@given(st.integers(0, 10**7), st.integers(1, 60), st.integers(0, 10**8))
def test_replay_is_bounded_and_in_order(last_s: int, every_s: int, break_ms: int) -> None:
    every_ms = every_s * 1000
    last = aligned(last_s * 1000, every_ms)
    t = aligned(last + break_ms, every_ms)

    found = replayed(last, t, every_ms, 3_600_000)

    assert len(found) <= CATCH_UP_STEPS
    assert found == sorted(found)
    assert all(last < at < t and at % every_ms == 0 for at in found)


def test_a_clock_that_runs_evenly_does_not_jump() -> None:
    watch = JumpWatch()

    jumps = [watch.jump_ms(1000 + at * 31_000, at * 30_000, 30_000) for at in range(5)]
    back = watch.jump_ms(1000 + 5 * 31_000 - 7_200_000, 5 * 30_000, 30_000)

    assert jumps == [0, 0, 0, 0, 0]
    assert back == 1000 - 7_200_000


async def test_ticks_are_aligned_and_never_overlap() -> None:
    running, most, ticks = 0, 0, 0

    async def tick() -> None:
        nonlocal running, most, ticks
        running, ticks = running + 1, ticks + 1
        most = max(most, running)
        await asyncio.sleep(1.2)  # longer than the interval
        running -= 1

    ticker = Ticker(tick, 1000)
    ticker.start()
    await wait_until_async(lambda: ticks >= 2, within_s=10)
    ticker.stop()

    assert most == 1


def test_one_rule_that_breaks_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "  - {name: A, metric: mem.used_percent, above: 80}\n  - {name: B, metric: swap.used_percent, above: 80}"
    world = World(tmp_path, rule_file(text))
    world.series("mem.used_percent", "a", 90)
    world.series("swap.used_percent", "a", 90)
    real = observe.look

    def broken(rule: Rule, *rest: object) -> object:
        if rule.name == "A":
            raise ZeroDivisionError("a bug")
        return real(rule, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(observe, "look", broken)
    world.run(60)

    assert [one.rule for one in world.alerts()] == ["B"]
    assert world.desk.figures.rule_errors == 3


def test_an_attempt_whose_outcome_could_not_be_kept_is_made_again_when_its_lease_ends(tmp_path: Path) -> None:
    world = World(tmp_path, rule_file("  - {name: M, metric: mem.used_percent, above: 80}"))
    world.series("mem.used_percent", "a", 90)
    world.now_s = 0
    world.desk.tick(world.wall_ms, world.steady_ms)
    (lost,) = world.outbox.claim("ops", world.wall_ms, 4, 60_000)

    world.run(59)
    early = len(world.receivers["ops"].attempts)
    world.run(62)

    ((_, job, _),) = world.receivers["ops"].attempts
    assert early == 0
    assert job.notification.idempotency_key == lost.notification.idempotency_key


def test_closing_breaks_off_a_long_replay_and_the_next_start_does_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, rule_file("  - {name: M, metric: mem.used_percent, above: 80, for: 5m}"))
    world.series("mem.used_percent", "a", 90)
    world.run(60)
    world.kill(then_start=False)
    world.skip(600)
    world.kill()

    read = world.store.read
    monkeypatch.setattr(world.store, "read", lambda query: (setattr(world.desk, "_closing", True), read(query))[1])
    with pytest.raises(DeskClosed):
        world.desk.tick(world.wall_ms, world.steady_ms)
    monkeypatch.setattr(world.store, "read", read)
    world.kill()
    world.run(660)

    ((_, told),) = world.receivers["ops"].accepted
    assert told.alerts[0].starts_at_ms == T0 + 300_000


def test_what_is_old_and_told_is_pruned_and_what_fires_stays(tmp_path: Path) -> None:
    world = World(tmp_path, rule_file("  - {name: M, metric: mem.used_percent, above: 80}", every="1h"))
    world.series("mem.used_percent", "gone", steps((0, 90), (7200, 20)), every_s=60)
    world.series("mem.used_percent", "still", 90, every_s=60)
    world.now_s = -21_600

    world.run(32 * 86_400, step_s=21_600)

    assert [row["fingerprint"] for row in world.rows(tables.alerts)] == [world.alerts()[0].fingerprint]
    assert len(world.rows(tables.alert_history)) == 0
    assert {row["state"] for row in world.rows(tables.outbox)} == {"sent"}
    assert len(world.rows(tables.told)) == 1
