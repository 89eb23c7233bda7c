"""States of hosts, colours of values, the filter box, incidents."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fleetwatch_dashboard import filters, fleet, incidents, levels, status
from fleetwatch_dashboard.fleet import Row
from fleetwatch_dashboard.levels import Rulebook
from fleetwatch_dashboard.status import Condition, Status
from fleetwatch_storage.hosts import Facts, Host
from fleetwatch_storage.metadata.alerts import Alert, RuleLevel, RuleSummary, Told

from tests.support.store_rows import Row as Stored
from tests.support.store_rows import frame

NOW_MS = 1_795_168_800_000
MINUTE_MS = 60_000


def alert(host: str = "web-1", **values: Any) -> Alert:
    given: dict[str, Any] = {
        "fingerprint": f"{host}-1",
        "rule": "HighCPU",
        "rule_uid": "highcpu",
        "state": "firing",
        "level": "critical",
        "health": "ok",
        "labels": {"host": host},
        "metric": "cpu.usage_active",
        "unit": "percent",
        "value": 97.4,
        "threshold": 95.0,
        "active_at_ms": NOW_MS - 16 * MINUTE_MS,
        "fired_at_ms": NOW_MS - 14 * MINUTE_MS,
    }
    return Alert(**given | values)


def rule(
    name: str, metric: str, *found: tuple[str, str, float], matchers: Any = (), enabled: bool = True
) -> RuleSummary:
    made = tuple(RuleLevel(level, op, at, at, 0) for level, op, at in found)
    return RuleSummary(name.lower(), name, metric, enabled, "", made, tuple(matchers), "rules.yaml:1")


def state(host: Host, *alerts: Alert, last_ms: int = NOW_MS - 2000) -> Condition:
    return status.condition(host, alerts, last_ms, NOW_MS)


def row(name: str = "web-1", **values: Any) -> Row:
    condition = values.pop("condition", Condition(Status.OK, False, 2000, NOW_MS - 2000))
    host = Host(name, tags={"env": "prod", "role": "web"}, facts=Facts(os="Debian 12.7"))
    return Row(host, condition, values.pop("values", {}), values.pop("levels", {}), **values)


def test_a_host_with_fresh_data_and_no_alert_is_ok() -> None:
    assert state(Host("web-1")).status is Status.OK


def test_the_worst_firing_alert_is_the_state_and_the_reason() -> None:
    found = state(Host("web-1"), alert(), alert(level="warning", rule="Load"))

    assert (found.status, found.reason, found.reason_level) == (Status.CRITICAL, "HighCPU, 14 m", "crit")


def test_a_suppressed_alert_does_not_make_a_host_critical() -> None:
    assert state(Host("web-1"), replace(alert(), suppressed_by=("silence 1",))).status is Status.OK


@pytest.mark.parametrize(("age_s", "silent"), [(29, False), (31, True)])
def test_a_host_is_silent_after_three_intervals_but_never_before_half_a_minute(age_s: int, silent: bool) -> None:
    assert state(Host("web-1", interval_ms=1000), last_ms=NOW_MS - age_s * 1000).silent is silent
    assert not state(Host("web-1", interval_ms=60_000), last_ms=NOW_MS - age_s * 1000).silent


def test_a_silent_host_that_said_goodbye_is_in_maintenance_until_it_is_overdue() -> None:
    host = Host("web-1", goodbye_until_ms=NOW_MS + MINUTE_MS)

    assert state(host, last_ms=NOW_MS - 90_000).status is Status.MAINTENANCE
    assert state(replace(host, goodbye_until_ms=NOW_MS - 1), last_ms=NOW_MS - 90_000).status is Status.NODATA


def test_a_host_whose_clock_is_ahead_still_goes_silent() -> None:
    host = Host("web-1", clock_offset_ms=3_600_000)

    seen = status.last_seen(host, NOW_MS + 3_600_000 - 60_000)

    assert state(host, last_ms=seen).silent


def test_without_a_rule_the_catalogue_colours_a_value() -> None:
    limits = Rulebook().thresholds("cpu.usage_active", Host("web-1"))

    assert [levels.level_of(value, limits) for value in (50.0, 85.0, 97.0, None)] == ["", "warn", "crit", ""]


def test_the_rule_that_applies_to_the_host_colours_instead_of_the_catalogue() -> None:
    book = Rulebook(
        [
            rule("Batch", "cpu.usage_active", ("critical", ">", 99.0), matchers=[("role", "=", "batch")]),
            rule("Off", "cpu.usage_active", ("critical", ">", 1.0), enabled=False),
        ]
    )

    batch = book.thresholds("cpu.usage_active", Host("b", tags={"role": "batch"}))
    web = book.thresholds("cpu.usage_active", Host("w", tags={"role": "web"}))

    assert levels.level_of(97.0, batch) == ""
    assert levels.level_of(97.0, web) == "crit"


def test_a_metric_that_is_bad_when_low_is_coloured_below_its_pair() -> None:
    limits = Rulebook().thresholds("mem.available_percent", Host("web-1"))

    assert [levels.level_of(value, limits) for value in (50.0, 20.0, 5.0)] == ["", "warn", "crit"]


def test_an_alert_on_available_memory_colours_used_memory() -> None:
    assert levels.firing_level("mem.used_percent", [alert(metric="mem.available_percent", level="warning")]) == "warn"
    assert levels.firing_level("cpu.usage_active", [alert(metric="mem.available_percent")]) == ""


def test_the_table_is_sorted_worst_first_and_by_name_within_a_state() -> None:
    calm, hot = row("b"), row("a", levels={"mem": "warn"})
    bad = row("z", condition=Condition(Status.CRITICAL, False, 0, NOW_MS))

    assert [one.host.name for one in fleet.worst_first([calm, row("c"), hot, bad])] == ["z", "a", "b", "c"]


def test_sorting_by_a_column_puts_hosts_without_a_value_last_either_way() -> None:
    found = [row("a", values={"cpu": 10.0}), row("b"), row("c", values={"cpu": 90.0})]

    assert [one.host.name for one in fleet.ordered(found, "cpu", descending=True)] == ["c", "a", "b"]
    assert [one.host.name for one in fleet.ordered(found, "cpu", descending=False)] == ["a", "c", "b"]


def test_rows_know_what_the_last_samples_say() -> None:
    stored = [
        frame(
            "cpu",
            [
                Stored("web-1", NOW_MS, {"usage_active": 12.0}, {"cpu": "cpu-total"}),
                Stored("web-1", NOW_MS, {"usage_active": 99.0}, {"cpu": "cpu0"}),
            ],
        ),
        frame("system", [Stored("web-1", NOW_MS, {"load1_per_core": 0.5, "n_cpus": 4.0, "uptime": 60.0})]),
        frame(
            "disk",
            [
                Stored("web-1", NOW_MS, {"used_percent": 91.0}, {"path": "/var"}),
                Stored("web-1", NOW_MS, {"used_percent": 5.0}, {"path": "/"}),
            ],
        ),
        frame("process_top", [Stored("web-1", NOW_MS, {"cpu_percent": 200.0, "name": "ffmpeg"}, {"rank": "1"})]),
        frame(
            "systemd_units",
            [
                Stored("web-1", NOW_MS, {"state": 3.0}, {"name": "a"}),
                Stored("web-1", NOW_MS, {"state": 0.0}, {"name": "b"}),
            ],
        ),
    ]

    (found,) = fleet.rows([Host("web-1")], stored, [], Rulebook(), NOW_MS)

    assert found.values == {"cpu": 12.0, "load": 0.5, "uptime": 60.0, "disk": 91.0}
    assert (found.mount, found.levels) == ("/var", {"disk": "crit"})
    assert (found.process, found.process_cpu) == ("ffmpeg", 50.0)
    assert (found.failed_units, found.units) == (1, 2)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("", True),
        ("web", True),
        ("WEB-1", True),
        ("db", False),
        ("tag:web", True),
        ("tag:env=prod", True),
        ("tag:env=test", False),
        ("os:debian", True),
        ("os:bsd", False),
        ("cpu>80", True),
        ("cpu>=97 mem<50", False),
        ("cpu<=97", True),
        ("disk>1", False),
        ("state:crit", True),
        ("state:critical", True),
        ("state:ok", False),
        ("age<1m", True),
        ("age>30s", False),
        ("tag:web cpu>80 ffmpeg", True),
    ],
)
def test_the_filter_box_understands(text: str, fits: bool) -> None:
    one = row(
        values={"cpu": 97.0, "mem": 60.0}, condition=Condition(Status.CRITICAL, False, 2000, NOW_MS), process="ffmpeg"
    )
    wanted = filters.parse(text)

    assert wanted.problems == ()
    assert wanted.accepts(one) is fits


@pytest.mark.parametrize("text", ["cpu>many", "speed>3", "state:weird", "age>5", "cpu>"])
def test_what_the_filter_box_does_not_understand_is_said_and_left_out(text: str) -> None:
    wanted = filters.parse(text)

    assert len(wanted.problems) == 1
    assert wanted.accepts(row())


def test_alerts_of_one_rule_are_one_incident_however_many_hosts() -> None:
    found = incidents.group(
        [
            alert("web-1"),
            alert("web-2", fired_at_ms=NOW_MS - 1000),
            alert("web-3", level="warning"),
            alert("web-4", state="pending"),
        ],
        [Told("web-1-1", "slack", NOW_MS - 5), Told("web-2-1", "slack", NOW_MS)],
    )

    assert [(one.level, one.hosts) for one in found] == [("crit", ("web-1", "web-2")), ("warn", ("web-3",))]
    assert found[0].title == "CPU on 2 hosts"
    assert (found[0].told, found[0].told_at_ms) == ("slack", NOW_MS - 5)
    assert found[1].title == "CPU 97.4 % on web-3"


def test_an_incident_names_the_part_of_the_host_that_is_meant() -> None:
    full = alert("db-1", metric="disk.used_percent", value=92.0, labels={"host": "db-1", "path": "/var"})

    assert incidents.group([full], [])[0].title == "Disk /var 92 % on db-1"
    assert incidents.threshold_text(full) == "above 95 %"
    assert incidents.threshold_text(alert(metric="mem.available_percent", threshold=20.0)) == "below 20 %"


def test_an_incident_opens_its_host_at_the_time_it_began() -> None:
    assert incidents.around(NOW_MS - MINUTE_MS, NOW_MS) == f"range=1h&at={(NOW_MS - MINUTE_MS) // 1000}"
    assert incidents.around(1_000_000_000, NOW_MS) == "from=998200&to=1001800&at=1000000"
