"""The behaviours of evaluation that users rely on, by their number in the specification of alerting."""

from __future__ import annotations

from pathlib import Path

import pytest
from fleetwatch_storage.errors import QueryFailed, StoreUnavailable
from fleetwatch_storage.metadata import tables

from tests.support.alert_world import World, rule_file, steps

HIGH_CPU = "  - {name: HighCPU, metric: cpu.usage_active, above: 80"


def world(tmp_path: Path, rule: str, *, every: str = "30s", settings: str = "") -> World:
    return World(tmp_path, rule_file(rule, every=every, settings=settings))


def test_01_above_fires_on_the_first_evaluation_and_not_at_the_threshold(tmp_path: Path) -> None:
    fleet = world(tmp_path, HIGH_CPU + ", for: 0s}")
    fleet.series("cpu.usage_active", "a", 80.01)
    fleet.series("cpu.usage_active", "b", 80.0)

    fleet.run(0)

    assert (fleet.state("a"), fleet.state("b")) == ("firing", "inactive")


def test_02_for_is_at_least_not_more_than(tmp_path: Path) -> None:
    fleet = world(tmp_path, HIGH_CPU + ", for: 5m}")
    fleet.series("cpu.usage_active", "a", steps((0, 50), (60, 95)))

    fleet.run(359)
    before = fleet.state()
    fleet.run(360)

    assert (before, fleet.state()) == ("pending", "firing")


def test_03_a_healthy_evaluation_starts_the_timer_again(tmp_path: Path) -> None:
    fleet = world(tmp_path, HIGH_CPU + ", for: 5m}")
    fleet.series("cpu.usage_active", "a", steps((0, 95), (240, 50), (270, 95)))

    fleet.run(240)
    between = fleet.state()
    fleet.run(569)
    before = fleet.state()
    fleet.run(570)

    assert (between, before, fleet.state()) == ("inactive", "pending", "firing")


def test_04_for_between_two_ticks_fires_at_the_next(tmp_path: Path) -> None:
    fleet = world(tmp_path, HIGH_CPU + ", for: 90s}", every="60s")
    fleet.series("cpu.usage_active", "a", 95)

    fleet.run(119)
    before = fleet.state()
    fleet.run(120)

    assert (before, fleet.state()) == ("pending", "firing")


def test_05_recover_holds_while_firing_and_is_inclusive(tmp_path: Path) -> None:
    fleet = world(tmp_path, HIGH_CPU + ", recover: 75}")
    fleet.series("cpu.usage_active", "a", steps((0, 95), (60, 78), (120, 75.0)))

    fleet.run(119)
    held = fleet.state()
    fleet.run(120)

    assert (held, fleet.state()) == ("firing", "inactive")


def test_06_recover_does_not_hold_a_pending_alert(tmp_path: Path) -> None:
    fleet = world(tmp_path, HIGH_CPU + ", recover: 75, for: 5m}")
    fleet.series("cpu.usage_active", "a", steps((0, 95), (60, 78)))

    fleet.run(60)

    assert fleet.state() == "inactive"


def test_07_a_short_recovery_says_nothing(tmp_path: Path) -> None:
    fleet = world(tmp_path, HIGH_CPU + ", keep_firing_for: 3m}")
    fleet.series("cpu.usage_active", "a", steps((0, 95), (60, 50), (180, 95)))

    fleet.run(600)

    assert fleet.receivers["ops"].changes == [(0, "new")]


def test_08_a_recovery_that_lasts_is_told_once(tmp_path: Path) -> None:
    fleet = world(tmp_path, HIGH_CPU + ", keep_firing_for: 3m}")
    fleet.series("cpu.usage_active", "a", steps((0, 95), (60, 50)))

    fleet.run(600)

    assert fleet.receivers["ops"].changes == [(0, "new"), (240, "resolved")]


LEVELS = """  - name: HighCPU
    metric: cpu.usage_active
    levels:
      warning: {above: 85, recover: 75, for: %s}
      critical: {above: 95, recover: 90, for: 2m}"""


def test_09_escalation_keeps_the_fingerprint(tmp_path: Path) -> None:
    fleet = world(tmp_path, LEVELS % "0s")
    fleet.series("cpu.usage_active", "a", steps((0, 86), (60, 96)))

    fleet.run(300)

    told = fleet.receivers["ops"].accepted
    assert [(at, one.alerts[0].change, one.alerts[0].level) for at, one in told] == [
        (0, "new", "warning"),
        (180, "escalated", "critical"),
    ]
    assert told[0][1].alerts[0].fingerprint == told[1][1].alerts[0].fingerprint
    assert told[1][1].alerts[0].previous_level == "warning"


def test_10_falling_below_the_critical_recover_deescalates(tmp_path: Path) -> None:
    fleet = world(tmp_path, LEVELS % "0s")
    fleet.series("cpu.usage_active", "a", steps((0, 99), (300, 89)))

    fleet.run(400)

    assert fleet.receivers["ops"].story == [
        (0, [("a", "new", "warning")]),
        (120, [("a", "escalated", "critical")]),
        (300, [("a", "deescalated", "warning")]),
    ]


def test_11_the_level_that_matures_first_is_the_only_message(tmp_path: Path) -> None:
    fleet = world(tmp_path, LEVELS % "10m")
    fleet.series("cpu.usage_active", "a", 99)

    fleet.run(900)

    assert fleet.receivers["ops"].story == [(120, [("a", "new", "critical")])]


def test_12_below_mirrors_above(tmp_path: Path) -> None:
    fleet = world(tmp_path, "  - {name: Low, metric: mem.available_percent, below: 10, recover: 15}")
    fleet.series("mem.available_percent", "a", steps((0, 9.9), (60, 14), (120, 15)))

    fleet.run(60)
    held = fleet.state()
    fleet.run(150)

    assert held == "firing"
    assert fleet.receivers["ops"].changes == [(0, "new"), (120, "resolved")]


def test_15_one_spike_does_not_move_an_average(tmp_path: Path) -> None:
    fleet = world(tmp_path, HIGH_CPU + ", agg: avg, window: 5m}")
    fleet.series("cpu.usage_active", "a", lambda at: 100 if at == 150 else 50)

    fleet.run(600)

    assert fleet.rows(tables.alert_history) == []


def test_15_the_same_spike_without_an_average_fires(tmp_path: Path) -> None:
    fleet = world(tmp_path, HIGH_CPU + "}")
    fleet.series("cpu.usage_active", "a", lambda at: 100 if at == 150 else 50)

    fleet.run(600)

    assert fleet.receivers["ops"].changes == [(150, "new"), (180, "resolved")]


def test_16_a_counter_reset_is_neither_negative_nor_huge(tmp_path: Path) -> None:
    rule = "  - {name: Errors, metric: net.err_in, transform: rate, window: 2m, above: 5}\n"
    rule += "  - {name: Backwards, metric: net.err_in, transform: rate, window: 2m, below: 0}"
    fleet = world(tmp_path, rule)
    fleet.series("net.err_in", "a", lambda at: (1e9 if at < 300 else 0) + at, tags={"interface": "eth0"})

    fleet.run(600)

    assert fleet.rows(tables.alert_history) == []


def test_17_two_mounts_are_two_alerts(tmp_path: Path) -> None:
    fleet = world(tmp_path, "  - {name: Full, metric: disk.used_percent, above: 80, group_by: [host, path]}")
    for path in ("/", "/home"):
        fleet.series("disk.used_percent", "a", 91, tags={"path": path, "device": f"sd{len(path)}"})

    fleet.run(0)

    found = fleet.alerts()
    assert {one.labels["path"] for one in found} == {"/", "/home"}
    assert len({one.fingerprint for one in found}) == 2


def test_19_where_is_anchored(tmp_path: Path) -> None:
    fleet = world(tmp_path, HIGH_CPU + ', where: {"host!~": "ci-.*"}}')
    for name in ("ci-1", "my-ci-1"):
        fleet.series("cpu.usage_active", name, 95)

    fleet.run(0)

    assert (fleet.state("ci-1"), fleet.state("my-ci-1")) == ("inactive", "firing")


def test_19_where_knows_host_tags(tmp_path: Path) -> None:
    fleet = world(tmp_path, HIGH_CPU + ", where: {env: prod}}")
    fleet.host("a", tags={"env": "prod"})
    fleet.host("b", tags={"env": "test"})
    for name in ("a", "b"):
        fleet.series("cpu.usage_active", name, 95)

    fleet.run(0)

    assert (fleet.state("a"), fleet.state("b")) == ("firing", "inactive")


def test_21_a_condition_beside_it_keeps_an_alert_down(tmp_path: Path) -> None:
    rule = "  - {name: Full, metric: disk.used_percent, above: 80, only_if: [{metric: disk.free, below: 20Gi}]}\n"
    fleet = world(tmp_path, rule)
    for name, free in (("a", 19 * 2**30), ("b", 21 * 2**30)):
        fleet.series("disk.used_percent", name, 95, tags={"path": "/"})
        fleet.series("disk.free", name, free, tags={"path": "/"})

    fleet.run(0)

    assert (fleet.state("a"), fleet.state("b")) == ("firing", "inactive")


def test_21_a_condition_without_a_value_decides_nothing(tmp_path: Path) -> None:
    rule = "  - {name: Full, metric: disk.used_percent, above: 80, only_if: [{metric: disk.free, below: 20Gi}]}\n"
    fleet = world(tmp_path, rule)
    fleet.series("disk.used_percent", "a", 95, tags={"path": "/"})
    fleet.series("disk.free", "a", steps((0, 2**30), (100, None)), tags={"path": "/"})

    fleet.run(0)
    at_first = fleet.state()
    fleet.run(600)

    assert (at_first, fleet.state()) == ("firing", "firing")
    assert fleet.alerts()[0].health == "nodata"


def test_24_missing_values_leave_a_firing_alert_firing(tmp_path: Path) -> None:
    fleet = world(tmp_path, HIGH_CPU + "}", every="60s")
    fleet.series("cpu.usage_active", "a", lambda at: None if 60 <= at <= 240 else 95)

    fleet.run(240)
    during = fleet.alerts()[0]
    fleet.run(400)

    assert (during.state, during.health) == ("firing", "nodata")
    assert fleet.receivers["ops"].changes == [(0, "new")]
    assert fleet.alerts()[0].health == "ok"


def test_25_missing_values_freeze_the_timer_of_a_pending_alert(tmp_path: Path) -> None:
    fleet = world(tmp_path, HIGH_CPU + ", for: 5m}", every="60s")
    fleet.series("cpu.usage_active", "a", lambda at: None if 241 <= at < 420 else 95, every_s=60)

    fleet.run(419)
    before = fleet.state()
    fleet.run(420)

    assert (before, fleet.state()) == ("pending", "firing"), "five minutes of breach, two minutes of nothing between"


def test_26_a_series_that_is_gone_from_a_living_host_resolves(tmp_path: Path) -> None:
    fleet = world(tmp_path, HIGH_CPU + "}")
    fleet.series("cpu.usage_active", "a", steps((0, 95), (60, None)))

    fleet.run(900)

    ((_, first), (at, last)) = fleet.receivers["ops"].accepted
    assert (first.alerts[0].change, last.alerts[0].change, last.alerts[0].reason) == ("new", "resolved", "series_gone")
    assert 60 + 300 <= at <= 60 + 300 + 120


def test_27_a_silent_host_keeps_its_alerts_and_is_reported(tmp_path: Path) -> None:
    rules = HIGH_CPU + "}\n  - {name: HostSilent, type: host_down, for: 2m}"
    fleet = world(tmp_path, rules)
    fleet.host("a", silent_from=60)
    fleet.series("cpu.usage_active", "a", steps((0, 95), (60, None)))
    fleet.host("b")

    fleet.run(1800)

    assert {one.rule: one.state for one in fleet.alerts()} == {"HighCPU": "firing", "HostSilent": "firing"}


def test_27_a_host_that_comes_back_does_not_lose_alerts_whose_series_come_a_little_later(tmp_path: Path) -> None:
    fleet = world(tmp_path, HIGH_CPU + "}")
    fleet.host("a")
    fleet.alive["a"] = lambda at: None if 60 < at < 1200 else at
    fleet.series("cpu.usage_active", "a", lambda at: None if 60 < at < 1290 else 95)

    fleet.run(1500)

    assert fleet.receivers["ops"].changes == [(0, "new")]


@pytest.mark.parametrize("error", [StoreUnavailable("away"), QueryFailed("no")])
def test_29_errors_neither_fire_nor_resolve(tmp_path: Path, error: Exception) -> None:
    fleet = world(tmp_path, HIGH_CPU + ", for: 5m}")
    fleet.series("cpu.usage_active", "a", steps((0, 95), (1200, 50)))
    fleet.series("cpu.usage_active", "b", steps((0, 50), (500, 95), (1200, 50)))

    fleet.run(400)
    fleet.store.failing = error
    fleet.run(1000)
    during = {one.labels["host"]: (one.state, one.health) for one in fleet.alerts()}
    fleet.store.failing = None
    fleet.run(1190)

    assert during == {"a": ("firing", "error")}
    assert fleet.receivers["ops"].story == [(300, [("a", "new", "warning")])]
    assert fleet.desk.figures.rule_errors == 20


def test_31_a_silent_host_fires_after_its_time_with_when_it_was_last_seen(tmp_path: Path) -> None:
    fleet = world(tmp_path, "  - {name: HostSilent, type: host_down, for: 2m}", every="1s")
    fleet.host("a", silent_from=100)
    fleet.host("b")

    fleet.run(219)
    before = fleet.state()
    fleet.run(221)

    assert (before, fleet.state("a"), fleet.state("b")) == ("inactive", "firing", "inactive")
    found = fleet.alerts()[0]
    assert found.level == "critical"
    assert found.annotations["last_seen"] == "2027-01-15 08:01:40 UTC"
    assert "sent nothing for 2m" in found.annotations["summary"]


def test_31_one_sample_ends_it(tmp_path: Path) -> None:
    fleet = world(tmp_path, "  - {name: HostSilent, type: host_down, for: 2m}", every="1s")
    fleet.host("a")
    fleet.alive["a"] = lambda at: None if 100 < at < 300 else at

    fleet.run(310)

    assert fleet.receivers["ops"].changes == [(220, "new"), (300, "resolved")]


def test_33_an_announced_stop_is_not_silence_until_it_is_overdue(tmp_path: Path) -> None:
    from dataclasses import replace

    fleet = world(tmp_path, "  - {name: HostSilent, type: host_down, for: 2m}", every="1s")
    fleet.host("a", silent_from=10)
    fleet.run(11)
    expected_back_ms = fleet.wall_ms + 600_000
    fleet.store.known["a"] = replace(fleet.store.known["a"], goodbye_until_ms=expected_back_ms)

    fleet.run(11 + 600 + 119)
    before = fleet.state()
    fleet.run(11 + 600 + 121)

    assert (before, fleet.state()) == ("inactive", "firing")
    assert "announced a stop" in fleet.alerts()[0].annotations["summary"]


@pytest.mark.parametrize("offset_s", [7200, -7200])
def test_34_a_host_with_a_wrong_clock_is_not_silent_while_it_sends(tmp_path: Path, offset_s: float) -> None:
    fleet = world(tmp_path, "  - {name: HostSilent, type: host_down, for: 2m}")
    fleet.series("cpu.usage_active", "a", lambda at: 50 if at > offset_s else None)

    fleet.run(900)

    assert fleet.state() == "inactive"


def test_35_a_host_that_left_the_fleet_resolves(tmp_path: Path) -> None:
    fleet = world(tmp_path, "  - {name: HostSilent, type: host_down, for: 2m}")
    fleet.host("a", silent_from=0)
    fleet.host("b")
    fleet.run(300)

    del fleet.store.known["a"]
    fleet.run(900)

    last = fleet.receivers["ops"].accepted[-1][1].alerts[0]
    assert (last.change, last.reason) == ("resolved", "host_retired")


def test_35_an_empty_list_of_hosts_retires_nobody(tmp_path: Path) -> None:
    fleet = world(tmp_path, "  - {name: HostSilent, type: host_down, for: 2m}")
    fleet.host("a", silent_from=0)
    fleet.run(300)

    fleet.store.known.clear()
    fleet.run(1800)

    assert fleet.receivers["ops"].changes == [(120, "new")]


def test_36_no_host_is_reported_within_the_grace_time(tmp_path: Path) -> None:
    rules = rule_file("  - {name: HostSilent, type: host_down, for: 1m}").replace(
        "startup_grace: 0s", "startup_grace: 5m"
    )
    fleet = World(tmp_path, rules)
    fleet.host("a", silent_from=-300)

    fleet.run(298)
    before = fleet.state()
    fleet.run(330)

    assert (before, fleet.state()) == ("inactive", "firing")


def test_36_the_grace_time_starts_again_after_the_store_was_away(tmp_path: Path) -> None:
    rules = rule_file("  - {name: HostSilent, type: host_down, for: 1m}").replace(
        "startup_grace: 0s", "startup_grace: 2m"
    )
    fleet = World(tmp_path, rules)
    fleet.host("a")
    fleet.run(300)
    fleet.store.failing = StoreUnavailable("away")
    fleet.run(600)

    fleet.store.failing = None
    fleet.alive["a"] = lambda at: None if at < 690 else at
    fleet.run(1200)

    assert fleet.receivers["ops"].changes == []
