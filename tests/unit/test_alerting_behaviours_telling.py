"""The behaviours of lifecycle and notification that users rely on, by their number in the specification of alerting."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from fleetwatch_alerting import compose
from fleetwatch_alerting.outcome import Kind, Outcome
from fleetwatch_storage.metadata import tables

from tests.support.alert_world import Curve, World, rule_file, steps

HIGH_CPU = "  - {name: HighCPU, metric: cpu.usage_active, above: 80"
ROUTES = "routes: [{to: [ops], group_wait: %s, group_interval: %s, repeat_interval: %s}]"


def world(
    tmp_path: Path, rule: str = HIGH_CPU + "}", wait: str = "0s", interval: str = "0s", repeat: str = "1d"
) -> World:
    return World(tmp_path, rule_file(rule, routes=ROUTES % (wait, interval, repeat)))


def changes(fleet: World) -> list[tuple[float, str]]:
    return fleet.receivers["ops"].changes


# Lifecycle


def test_37_killed_while_pending_it_fires_as_if_never_stopped(tmp_path: Path) -> None:
    fleet = world(tmp_path, HIGH_CPU + ", for: 5m}")
    fleet.series("cpu.usage_active", "a", 95)
    fleet.run(240)

    fleet.kill(then_start=False)
    fleet.skip(361)
    fleet.kill()
    fleet.run(420)

    ((at, told),) = fleet.receivers["ops"].accepted
    assert at == 390, "the first evaluation after the restart"
    assert told.alerts[0].starts_at_ms == fleet.wall_ms - 120_000, "it fired at five minutes, found out later"


def test_37_a_break_longer_than_max_catchup_stops_the_timers(tmp_path: Path) -> None:
    rules = rule_file(HIGH_CPU + ", for: 5m}", settings=", max_catchup: 1m")
    fleet = World(tmp_path, rules)
    fleet.series("cpu.usage_active", "a", 95)
    fleet.run(120)

    fleet.kill(then_start=False)
    fleet.skip(120 + 3600 - 1)
    fleet.kill()
    fleet.run(120 + 3600 + 240)

    assert [at for at, _ in changes(fleet)] == [120 + 3600 + 120], "two minutes before, one replayed, two after"


def test_38_what_ended_while_it_was_down_is_resolved_afterwards(tmp_path: Path) -> None:
    fleet = world(tmp_path)
    fleet.series("cpu.usage_active", "a", steps((0, 95), (300, 20)))
    fleet.run(240)

    fleet.kill(then_start=False)
    fleet.skip(601)
    fleet.kill()
    fleet.run(700)

    (_, (at, told)) = fleet.receivers["ops"].accepted
    assert (at, told.alerts[0].change, told.alerts[0].value) == (630, "resolved", 20)
    assert told.alerts[0].ends_at_ms == told.alerts[0].starts_at_ms + 300_000


def test_39_a_restart_with_nothing_changed_says_nothing(tmp_path: Path) -> None:
    fleet = world(tmp_path)
    fleet.series("cpu.usage_active", "a", 95)
    fleet.run(240)

    for at in (300, 400, 500):
        fleet.kill(then_start=False)
        fleet.skip(at)
        fleet.kill()
        fleet.run(at + 60)

    assert changes(fleet) == [(0, "new")]


def test_39_without_what_was_told_a_restart_would_tell_it_again(tmp_path: Path) -> None:
    fleet = world(tmp_path)
    fleet.series("cpu.usage_active", "a", 95)
    fleet.run(240)

    with fleet.engine.begin() as connection:
        connection.execute(sa.delete(tables.told))
    fleet.kill()
    fleet.run(300)

    assert [change for _, change in changes(fleet)] == ["new", "new"]


def test_40_a_deleted_rule_resolves_for_exactly_who_was_told(tmp_path: Path) -> None:
    two = 'receivers: {ops: {webhook: {url: "${HOOK}"}}, away: {webhook: {url: "${HOOK}"}}}'
    routes = "routes: [{to: [ops, away], group_wait: 0s}]"
    fleet = World(tmp_path, rule_file(HIGH_CPU + "}", receivers=two, routes=routes))
    fleet.receivers["away"].answer = lambda _at, _job: Outcome(Kind.RETRY, "503")
    fleet.series("cpu.usage_active", "a", 95)
    fleet.run(60)

    other = "  - {name: Other, metric: mem.used_percent, above: 80}"
    fleet.use(rule_file(other, receivers=two, routes=routes))
    fleet.run(400)

    (_, (_, told)) = fleet.receivers["ops"].accepted
    assert (told.alerts[0].change, told.alerts[0].reason) == ("resolved", "rule_removed")
    assert fleet.receivers["away"].accepted == []


def test_40_an_edited_annotation_says_nothing(tmp_path: Path) -> None:
    fleet = world(tmp_path)
    fleet.series("cpu.usage_active", "a", 95)
    fleet.run(60)

    fleet.use(rule_file(HIGH_CPU + ", annotations: {summary: busy}}", routes=ROUTES % ("0s", "0s", "1d")))
    fleet.run(300)

    assert changes(fleet) == [(0, "new")]


def test_40_a_threshold_raised_above_the_value_resolves(tmp_path: Path) -> None:
    fleet = world(tmp_path)
    fleet.series("cpu.usage_active", "a", 95)
    fleet.run(60)

    edited = "  - {name: HighCPU, metric: cpu.usage_active, above: 98}"
    fleet.use(rule_file(edited, routes=ROUTES % ("0s", "0s", "1d")))
    fleet.run(120)

    assert changes(fleet) == [(0, "new"), (90, "resolved")]


def test_40_other_groups_end_the_old_ones(tmp_path: Path) -> None:
    fleet = world(tmp_path)
    fleet.host("a", tags={"rack": "r1"})
    fleet.series("cpu.usage_active", "a", 95)
    fleet.run(60)

    fleet.use(rule_file(HIGH_CPU + ", group_by: [rack]}", routes=ROUTES % ("0s", "0s", "1d")))
    fleet.run(120)

    told = [
        (one.change, one.reason, one.labels.get("rack")) for _, n in fleet.receivers["ops"].accepted for one in n.alerts
    ]
    assert ("resolved", "rule_changed", None) in told
    assert ("new", "threshold", "r1") in told


# Notification


def test_41_a_message_waits_for_group_wait(tmp_path: Path) -> None:
    fleet = world(tmp_path, wait="45s")
    fleet.series("cpu.usage_active", "a", steps((0, 20), (30, 95)))

    fleet.run(300)

    assert changes(fleet) == [(75, "new")], "exactly, though evaluation runs every 30 s"


def test_41_what_resolves_within_group_wait_is_never_told(tmp_path: Path) -> None:
    fleet = world(tmp_path, wait="45s")
    fleet.series("cpu.usage_active", "a", steps((0, 95), (30, 20)))

    fleet.run(300)

    assert fleet.receivers["ops"].attempts == []


def test_42_ten_hosts_within_group_wait_are_one_message(tmp_path: Path) -> None:
    fleet = world(tmp_path, wait="60s")
    for index in range(10):
        fleet.series("cpu.usage_active", f"h{index}", steps((0, 20), (30 * (index % 2), 95)))

    fleet.run(300)

    ((at, told),) = fleet.receivers["ops"].accepted
    assert (at, told.firing_count, len(told.alerts)) == (60, 10, 10)


def test_43_a_new_member_comes_at_group_interval_and_only_it_is_marked(tmp_path: Path) -> None:
    fleet = world(tmp_path, wait="30s", interval="5m")
    fleet.series("cpu.usage_active", "a", 95)
    fleet.series("cpu.usage_active", "b", steps((0, 20), (90, 95)))

    fleet.run(600)

    assert fleet.receivers["ops"].story == [
        (30, [("a", "new", "warning")]),
        (330, [("b", "new", "warning"), ("a", "", "warning")]),
    ]


LEVELS = """  - name: HighCPU
    metric: cpu.usage_active
    levels: {warning: {above: 85}, critical: {above: 95}}"""


def test_44_escalation_to_critical_does_not_wait_for_group_interval(tmp_path: Path) -> None:
    fleet = world(tmp_path, LEVELS, wait="30s", interval="5m")
    fleet.series("cpu.usage_active", "a", steps((0, 90), (90, 99), (150, 90)))

    fleet.run(600)

    assert fleet.receivers["ops"].story == [
        (30, [("a", "new", "warning")]),
        (90, [("a", "escalated", "critical")]),
        (390, [("a", "deescalated", "warning")]),
    ]


def test_45_repeats_are_exact(tmp_path: Path) -> None:
    fleet = world(tmp_path, wait="0s", interval="300s", repeat="700s")
    fleet.series("cpu.usage_active", "a", 95)

    fleet.run(2200)

    assert changes(fleet) == [(0, "new"), (700, "same"), (1400, "same"), (2100, "same")]
    assert fleet.receivers["ops"].accepted[1][1].reason == "repeat interval elapsed"


def test_54_a_receiver_taken_out_of_the_route_hears_the_end(tmp_path: Path) -> None:
    two = 'receivers: {ops: {webhook: {url: "${HOOK}"}}, pager: {webhook: {url: "${HOOK}"}}}'
    routes = "routes: [{to: [%s], group_wait: 0s, group_interval: 0s}]"
    fleet = World(tmp_path, rule_file(HIGH_CPU + "}", receivers=two, routes=routes % "ops, pager"))
    fleet.series("cpu.usage_active", "a", 95)
    fleet.run(60)

    fleet.use(rule_file(HIGH_CPU + "}", receivers=two, routes=routes % "ops"))
    fleet.run(120)

    assert [change for _, change in fleet.receivers["pager"].changes] == ["new", "resolved"]
    assert [change for _, change in fleet.receivers["ops"].changes] == ["new"]


def test_55_without_send_resolved_the_next_firing_is_new(tmp_path: Path) -> None:
    hook = 'receivers: {ops: {webhook: {url: "${HOOK}", send_resolved: false}}}'
    routes = ROUTES % ("0s", "0s", "1d")
    fleet = World(tmp_path, rule_file(HIGH_CPU + "}", receivers=hook, routes=routes))
    fleet.series("cpu.usage_active", "a", steps((0, 95), (60, 20), (120, 95)))

    fleet.run(300)

    assert changes(fleet) == [(0, "new"), (120, "new")]


# Delivery


def failing(*outcomes: Outcome) -> object:
    left = list(outcomes)
    return lambda _at, _job: left.pop(0) if left else Outcome(Kind.SENT, "200")


def test_57_failed_attempts_are_repeated_with_the_same_key_and_growing_pauses(tmp_path: Path) -> None:
    fleet = world(tmp_path)
    fleet.series("cpu.usage_active", "a", 95)
    fleet.receivers["ops"].answer = failing(*[Outcome(Kind.RETRY, "500")] * 6)  # type: ignore[assignment]

    fleet.run(900)

    ops = fleet.receivers["ops"]
    assert len(ops.attempts) == 7
    assert len(ops.accepted) == 1
    assert len({job.notification.idempotency_key for _, job, _ in ops.attempts}) == 1
    assert [job.attempt for _, job, _ in ops.attempts] == [1, 2, 3, 4, 5, 6, 7]
    pauses = [later[0] - sooner[0] for sooner, later in zip(ops.attempts, ops.attempts[1:], strict=False)]
    assert all(pause <= min(300, 2**n) + 1 for n, pause in enumerate(pauses, start=1)), pauses


def test_58_a_receiver_that_asks_for_rest_gets_it_for_all_groups_and_others_do_not_notice(tmp_path: Path) -> None:
    two = 'receivers: {ops: {webhook: {url: "${HOOK}"}}, other: {webhook: {url: "${HOOK}"}}}'
    routes = "routes: [{to: [ops, other], group_by: [host], group_wait: 0s}]"
    fleet = World(tmp_path, rule_file(HIGH_CPU + "}", receivers=two, routes=routes))
    pause = Outcome(Kind.PAUSE, "429", retry_after_ms=45_000)
    fleet.receivers["ops"].answer = failing(pause)  # type: ignore[assignment]
    fleet.series("cpu.usage_active", "a", 95)
    fleet.series("cpu.usage_active", "b", steps((0, 20), (30, 95)))

    fleet.run(120)

    assert [at for at, _, _ in fleet.receivers["ops"].attempts] == [0, 45, 45]
    assert [job.attempt for _, job, _ in fleet.receivers["ops"].attempts] == [1, 1, 1], "no failed attempt"
    assert [at for at, _ in fleet.receivers["other"].accepted] == [0, 30]


def away(start: float, end: float) -> object:
    return lambda at, _job: Outcome(Kind.RETRY, "503") if start <= at < end else Outcome(Kind.SENT, "200")


def test_59_a_receiver_that_was_away_is_told_once(tmp_path: Path) -> None:
    fleet = world(tmp_path)
    fleet.series("cpu.usage_active", "a", 95)
    fleet.receivers["ops"].answer = away(0, 600)  # type: ignore[assignment]

    fleet.run(1200)

    ((at, told),) = fleet.receivers["ops"].accepted
    assert 600 <= at <= 900
    assert told.alerts[0].change == "new"


def test_60_what_came_and_went_meanwhile_is_one_message_with_both_times(tmp_path: Path) -> None:
    fleet = world(tmp_path)
    fleet.series("cpu.usage_active", "a", steps((0, 20), (120, 95), (420, 20)))
    fleet.receivers["ops"].answer = away(0, 900)  # type: ignore[assignment]

    fleet.run(1500)

    ((_, told),) = fleet.receivers["ops"].accepted
    assert [(one.change, one.firing) for one in told.alerts] == [("resolved", False)]
    (missed,) = told.missed
    assert missed.ends_at_ms - missed.starts_at_ms == 300_000
    assert fleet.rows(tables.told) == []


def test_60_several_incidents_in_one_outage_are_all_named(tmp_path: Path) -> None:
    fleet = world(tmp_path)
    busy: Curve = lambda at: 95 if at < 1800 and at % 600 < 120 else 20  # noqa: E731
    fleet.series("cpu.usage_active", "a", busy)
    fleet.receivers["ops"].answer = away(0, 2000)  # type: ignore[assignment]

    fleet.run(2600)

    ((_, told),) = fleet.receivers["ops"].accepted
    assert len(told.missed) == 3
    assert len({one.starts_at_ms for one in told.missed}) == 3


def test_61_resolved_never_comes_before_firing(tmp_path: Path) -> None:
    fleet = world(tmp_path)
    for n, host in enumerate("abcdef"):
        fleet.series("cpu.usage_active", host, lambda at, n=n: 95 if (at + 37 * n) % 400 < 150 else 20)
    flip = iter(range(10_000))
    fleet.receivers["ops"].answer = lambda _at, _job: Outcome(Kind.SENT if next(flip) % 3 == 2 else Kind.RETRY, "x")

    fleet.run(3600)

    known: set[tuple[str, int]] = set()
    for _, told in fleet.receivers["ops"].accepted:
        passed = {(one.fingerprint, one.starts_at_ms) for one in told.missed}
        for tell in told.tells:
            if not tell.firing:
                assert (tell.fingerprint, tell.starts_at_ms) in known | passed
        known |= {(tell.fingerprint, tell.starts_at_ms) for tell in told.tells if tell.firing}
    seqs = [told.seq for _, told in fleet.receivers["ops"].accepted]
    assert seqs == sorted(seqs)
    assert len(seqs) > 5


def test_62_killed_between_sending_and_noting_it_is_sent_again_with_the_same_key(tmp_path: Path) -> None:
    fleet = world(tmp_path)
    fleet.series("cpu.usage_active", "a", 95)
    fleet.now_s = 0
    fleet._hear()
    fleet.desk.tick(fleet.wall_ms, fleet.steady_ms)
    (sent,) = fleet.outbox.claim("ops", fleet.wall_ms, 4, 60_000)

    fleet.kill()
    fleet.run(60)

    ((_, job, _),) = fleet.receivers["ops"].attempts
    assert job.notification.idempotency_key == sent.notification.idempotency_key
    assert len(fleet.receivers["ops"].accepted) == 1


def test_63_what_is_queued_survives_and_keeps_its_order(tmp_path: Path) -> None:
    routes = "routes: [{to: [ops], group_by: [host], group_wait: 0s, group_interval: 0s}]"
    fleet = World(tmp_path, rule_file(HIGH_CPU + "}", routes=routes))
    for index in range(50):
        fleet.series("cpu.usage_active", f"h{index:02}", steps((0, 95), (90, 20)))
    fleet.receivers["ops"].answer = away(0, 45)  # type: ignore[assignment]
    fleet.run(40)

    fleet.kill()
    fleet.run(400)

    by_host: dict[str, list[str]] = {}
    for _, told in fleet.receivers["ops"].accepted:
        by_host.setdefault(told.alerts[0].labels["host"], []).append(told.alerts[0].change)
    assert len(by_host) == 50
    assert set(map(tuple, by_host.values())) <= {("new", "resolved"), ("resolved",)}


def test_64_a_receiver_that_refuses_is_left_alone_and_keeps_its_messages(tmp_path: Path) -> None:
    fleet = world(tmp_path)
    fleet.series("cpu.usage_active", "a", 95)
    fleet.receivers["ops"].answer = lambda _at, _job: Outcome(Kind.REFUSED, "no_service", "gone")
    fleet.run(880)
    before = len(fleet.receivers["ops"].attempts)
    kept = [row["state"] for row in fleet.rows(tables.outbox)]

    fleet.receivers["ops"].answer = lambda _at, _job: Outcome(Kind.SENT, "200")
    fleet.outbox.unpause(["ops"])
    fleet.run(900)

    assert (before, kept) == (1, ["pending"])
    assert changes(fleet) == [(900, "new")]


def test_64_a_receiver_that_refuses_is_tried_again_after_a_quarter_of_an_hour(tmp_path: Path) -> None:
    fleet = world(tmp_path)
    fleet.series("cpu.usage_active", "a", 95)
    refused = Outcome(Kind.REFUSED, "404")
    fleet.receivers["ops"].answer = failing(refused, refused)  # type: ignore[assignment]

    fleet.run(2000)

    assert [at for at, _, _ in fleet.receivers["ops"].attempts] == [0, 900, 1800]
    assert changes(fleet) == [(1800, "new")]


def test_65_a_rejected_message_is_tried_once_in_its_plainest_form(tmp_path: Path) -> None:
    fleet = world(tmp_path)
    fleet.series("cpu.usage_active", "a", 95)
    fleet.receivers["ops"].answer = failing(Outcome(Kind.REJECTED, "invalid_blocks"))  # type: ignore[assignment]

    fleet.run(60)

    assert [job.plain for _, job, _ in fleet.receivers["ops"].attempts] == [False, True]
    assert len(fleet.receivers["ops"].accepted) == 1


def test_65_a_message_rejected_twice_is_a_dead_letter_and_does_not_come_back_at_once(tmp_path: Path) -> None:
    fleet = world(tmp_path, repeat="1h")
    fleet.series("cpu.usage_active", "a", 95)
    fleet.receivers["ops"].answer = lambda _at, _job: Outcome(Kind.REJECTED, "400")

    fleet.run(3500)
    dead = [row["state"] for row in fleet.rows(tables.outbox)]
    fleet.run(3700)

    assert dead == ["dead"]
    assert len(fleet.receivers["ops"].attempts) == 4, "two, and two more an hour later"
    assert fleet.outbox.figures(fleet.wall_ms)["dead"] == 2


def test_67_a_body_that_is_too_large_is_halved(tmp_path: Path) -> None:
    fleet = world(tmp_path)
    for index in range(40):
        fleet.series("cpu.usage_active", f"h{index}", 95)
    fleet.receivers["ops"].answer = lambda _at, job: Outcome(
        Kind.SENT if (job.max_alerts or 100) <= 10 else Kind.SMALLER, "413"
    )

    fleet.run(60)

    assert [job.max_alerts for _, job, _ in fleet.receivers["ops"].attempts] == [None, 20, 10]


@pytest.mark.parametrize(("severity", "days"), [("warning", 1), ("critical", 7)])
def test_a_notification_is_given_up_after_a_day_a_critical_one_after_a_week(
    tmp_path: Path, severity: str, days: int
) -> None:
    fleet = World(
        tmp_path,
        rule_file(HIGH_CPU + f", severity: {severity}}}", every="1h", routes=ROUTES % ("0s", "0s", "90d")),
    )
    fleet.series("cpu.usage_active", "a", 95, every_s=60)
    fleet.receivers["ops"].answer = lambda _at, _job: Outcome(Kind.RETRY, "503")

    fleet.now_s = -3600
    fleet.run(days * 86_400 - 3600, step_s=3600)
    before = [row["state"] for row in fleet.rows(tables.outbox)]
    fleet.run(days * 86_400 + 3600, step_s=3600)

    assert before == ["pending"]
    assert [row["state"] for row in fleet.rows(tables.outbox)] == ["dead"]


def test_a_jump_of_the_clock_moves_no_timer(tmp_path: Path) -> None:
    fleet = world(tmp_path, HIGH_CPU + ", for: 10m}")
    fleet.series("cpu.usage_active", "a", 95)
    fleet.run(120)

    fleet.jump(7200)
    fleet.run(570)
    before = fleet.state()
    fleet.run(600)

    assert (before, fleet.state()) == ("pending", "firing")


def test_a_jump_back_does_not_stop_evaluation(tmp_path: Path) -> None:
    fleet = world(tmp_path, HIGH_CPU + ", for: 5m}")
    fleet.series("cpu.usage_active", "a", 95)
    fleet.run(120)

    fleet.jump(-7200)
    fleet.run(330)

    assert fleet.state() == "firing"


def test_told_is_written_only_when_a_receiver_accepted(tmp_path: Path) -> None:
    fleet = world(tmp_path)
    fleet.series("cpu.usage_active", "a", 95)
    fleet.receivers["ops"].answer = away(0, 30)  # type: ignore[assignment]

    fleet.run(0)
    before = fleet.rows(tables.told)
    fleet.run(400)

    assert before == []
    assert [row["fingerprint"] for row in fleet.rows(tables.told)] == [fleet.alerts()[0].fingerprint]
    assert fleet.receivers["ops"].accepted[0][1].tells[0] == compose.tell(
        next(iter(fleet.desk._live.alerts["HighCPU"].values()))
    )
