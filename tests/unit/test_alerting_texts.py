"""What people and receivers read: templates that cannot do harm, Slack's limits, Alertmanager's body, units."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import pytest
from fleetwatch_alerting import templates, units
from fleetwatch_alerting.notification import Missed, Notification, NotifiedAlert, Tell, from_json, group_key, to_json
from fleetwatch_alerting.outcome import Kind, retry_after_ms
from fleetwatch_alerting.receivers import slack, webhook
from fleetwatch_alerting.receivers.http import Answer, classify
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.receivers import slack_problems, v4_problems

NOW = 1_800_000_000_000
CONTEXT: dict[str, Any] = {
    "labels": {"host": "web-1", "path": "/home"},
    "value": 96.12,
    "threshold": 85.0,
    "active_at": NOW - 90_000,
    "duration": 4320,
    "now": NOW,
    "level": "critical",
    "fired_at": NOW,
    "peak": None,
}


def rendered(source: str) -> str:
    return templates.compiled(source)(CONTEXT)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("plain", "plain"),
        ("CPU {{ value | pct }} on {{ labels.host }}", "CPU 96.1 % on web-1"),
        ("{{ 1536 | bytes }} {{ 1234567 | si }} {{ duration | duration }}", "1.5 KiB 1.2 M 1h 12m"),
        ("{{ active_at | ago }} {{ active_at | localtime }}", "1m 30s ago 2027-01-15 07:58:30 UTC"),
        ("{{ labels.host ~ '/x y' | urlencode }}", "web-1%2Fx%20y"),
        ("{% if value > threshold %}over{% else %}under{% endif %}", "over"),
        ("{{ value | round(1) }} {{ value | int }} {{ (value - threshold) | round }}", "96.1 96 11.0"),
        ("{{ labels.rack }}", "«missing labels.rack»"),
        ("{{ labels.rack | default('none') }}", "none"),
        ("{{ labels['path'] }}", "/home"),
        ("{{ value / 0 }}", "«template error: float division by zero»"),
        ("{{ labels.rack | pct }}", "«template error: missing labels.rack»"),
    ],
)
def test_templates_say(source: str, wanted: str) -> None:
    assert rendered(source) == wanted


HOSTILE = [
    "{{ 'A' * 300000000 }}",
    "{{ 'a'.ljust(300000000) }}",
    "{{ '%0300000000d' % 1 }}",
    "{{ '%0300000000d'|format(1) }}",
    "{{ 9 ** 9 ** 9 ** 9 }}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% set a = 'xxxxxxxxxx' %}{% set a = a ~ a %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{{ ''.__class__.__mro__ }}",
    "{{ labels.__class__ }}",
    "{{ labels.items() }}",
    "{{ self.__init__.__globals__ }}",
    "{{ cycler.__init__ }}",
    "{{ lipsum() }}",
    "{{ 'x' | attr('__class__') }}",
    "{{ [1] * 9999999 }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as o %}",
    "{{ 'x'|center(300000000) }}",
    "{{ 'x'|indent(300000000) }}",
    "{{ (1,2)|batch(1000000000)|list }}",
    "{{ 'aaa'|replace('a', 'aaaaaaaa') }}",
    "{{ value.__class__ }}",
    "{% call m() %}{% endcall %}",
    "{% filter upper %}x{% endfilter %}",
    "{% with a=1 %}{% endwith %}",
    "{{ 1 if }}",
    "{{ 'x'|round(999999999) }}",
    "{{ {'a': 1}.a }}",
    "{{ value|tojson|safe }}",
    "{{ labels|map('upper') }}",
    "{{" * 900,
    "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "x" * 9000,
    "{{ 99999999999999999999 * 99999999999999999999 * 1e300 }}",
]


@pytest.mark.parametrize("source", HOSTILE, ids=[one[:40] for one in HOSTILE])
def test_hostile_templates_cost_nothing_and_give_nothing_away(source: str) -> None:
    started = time.process_time()
    said = rendered(source)

    assert time.process_time() - started < 0.5
    assert len(said) <= templates.MAX_OUTPUT + 10
    assert "<class" not in said
    assert "root:" not in said


def test_label_values_are_data_not_templates() -> None:
    said = templates.compiled("{{ labels.host }}")({"labels": {"host": "{{ 7 * 7 }}"}})

    assert said == "{{ 7 * 7 }}"


def test_a_long_text_is_cut() -> None:
    said = templates.compiled("{{ labels.host }}{{ labels.host }}")({"labels": {"host": "x" * 10_000}})

    assert said.endswith("«cut»")
    assert len(said) < 17_000


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_template_is_rendered_or_marked(source: str) -> None:
    for one in (source, "{{" + source + "}}", "{%" + source + "%}"):
        assert isinstance(rendered(one), str)


def alert(index: int = 0, **fields: Any) -> NotifiedAlert:
    known: dict[str, Any] = {
        "fingerprint": f"{index:016x}",
        "firing": True,
        "change": "new",
        "rule": "HighCPU",
        "rule_uid": "HighCPU",
        "labels": {"alertname": "HighCPU", "host": f"web-{index}", "severity": "critical"},
        "annotations": {"summary": "busy"},
        "level": "critical",
        "starts_at_ms": NOW - 60_000,
        "active_at_ms": NOW - 120_000,
        "metric": "cpu.usage_active",
        "unit": "percent",
        "value": 96.1,
        "threshold": 85.0,
    }
    return NotifiedAlert(**(known | fields))


def notification(*alerts: NotifiedAlert, left_out: int = 0, **fields: Any) -> Notification:
    tells = tuple(Tell(one.fingerprint, one.level, one.starts_at_ms, one.firing) for one in alerts)
    known: dict[str, Any] = {
        "receiver": "ops",
        "group_key": group_key({"alertname": "HighCPU"}),
        "group_labels": {"alertname": "HighCPU"},
        "seq": 7,
        "reason": "first notification",
        "created_ms": NOW,
        "alerts": alerts,
        "tells": tells,
        "firing_count": sum(one.firing for one in alerts) + left_out,
        "external_url": "https://mon.example.com",
        "resolved_count": sum(not one.firing for one in alerts),
        "left_out": left_out,
        "idempotency_key": "k" * 32,
    }
    return Notification(**(known | fields))


RESOLVED = {"firing": False, "change": "resolved", "ends_at_ms": NOW, "peak": 99.0, "value": 12.0}


def test_a_notification_survives_being_stored() -> None:
    one = notification(alert(), alert(1, **RESOLVED), missed=(Missed("f", "warning", 1, 2),))

    assert from_json(to_json(one)) == one


def test_the_webhook_body_is_alertmanagers() -> None:
    body = webhook.payload(notification(alert(), alert(1, **RESOLVED)), sent_at_ms=NOW, attempt=2)

    assert v4_problems(body) == []
    assert body["groupKey"] == '{}:{alertname="HighCPU"}'
    assert body["commonLabels"] == {"alertname": "HighCPU", "severity": "critical"}
    assert [one["endsAt"] for one in body["alerts"]] == ["0001-01-01T00:00:00Z", "2027-01-15T08:00:00Z"]
    assert (body["x"]["seq"], body["x"]["attempt"], body["x"]["deliveryId"]) == (7, 2, "k" * 32)
    assert body["alerts"][0]["x"]["valueAtFire"] is None


def test_the_plain_webhook_body_has_nothing_of_ours() -> None:
    body = webhook.payload(notification(alert()), sent_at_ms=NOW, plain=True)

    assert v4_problems(body) == []
    assert "x" not in body
    assert "x" not in body["alerts"][0]


def test_alerts_left_out_of_a_body_are_counted() -> None:
    body = webhook.payload(notification(*map(alert, range(9)), left_out=3), sent_at_ms=NOW, max_alerts=4)

    assert (len(body["alerts"]), body["truncatedAlerts"]) == (4, 8)


def test_a_wrong_body_would_be_noticed() -> None:
    body = webhook.payload(notification(alert()), sent_at_ms=NOW)

    broken = [
        body | {"version": 4},
        body | {"status": "resolved"},
        {**body, "alerts": [{**body["alerts"][0], "fingerprint": "F"}]},
    ]

    assert all(v4_problems(one) for one in broken)


def test_slack_shows_one_alert_with_its_facts() -> None:
    full = alert(
        annotations={
            "summary": "busy",
            "description": "since noon",
            "top_processes": "java 412.0 %",
            "sparkline": "▁▂█",
            "runbook_url": "https://wiki.example.com/cpu",
        },
        host_link="https://mon.example.com/hosts/web-0?from=1&to=2",
    )

    body = slack.payload(notification(full), now_ms=NOW)

    assert slack_problems(body) == []
    text = str(body)
    assert body["text"] == ":red_circle: CRITICAL: HighCPU 96.1 % on web-0"
    assert "<https://mon.example.com/hosts/web-0?from=1&to=2|CRITICAL: HighCPU 96.1 % on web-0>" in text
    for said in (
        "*Value*\\n96.1 %",
        "*Threshold*\\n&gt; 85.0 %",
        "<!date^1799999880^",
        "java 412.0 %",
        "▁▂█",
        "Runbook",
        "Host page",
    ):
        assert said in text
    assert body["attachments"][0]["color"] == "#D0342C"


def test_slack_says_how_long_it_lasted_and_how_bad_it_was() -> None:
    body = slack.payload(notification(alert(**RESOLVED)), now_ms=NOW)

    assert slack_problems(body) == []
    assert "RESOLVED" in body["text"]
    assert "12.0 % (peak 99.0 %)" in str(body)
    assert "*Lasted*\\n1m" in str(body)


def test_67_two_thousand_alerts_fit_and_say_how_many_more() -> None:
    shown = [alert(index, labels={"alertname": "HighCPU", "host": f"web-{index}" + "&" * 60}) for index in range(15)]

    body = slack.payload(notification(*shown, left_out=1985), now_ms=NOW)

    assert slack_problems(body) == []
    assert "…and 1 985 more: <https://mon.example.com|see all>" in str(body)
    assert "2000 firing" in body["text"]


def test_68_names_from_outside_mention_nobody() -> None:
    nasty = '<!channel> & "x" <https://evil|click>'

    body = slack.payload(
        notification(
            alert(labels={"alertname": "HighCPU", "host": nasty}, annotations={"summary": nasty}),
            group_labels={"host": nasty},
        ),
        now_ms=NOW,
    )

    assert slack_problems(body) == []
    assert "<!channel>" not in str(body)
    assert "<https://evil" not in str(body)
    assert "&lt;!channel&gt; &amp;" in str(body)


texts = st.text(max_size=400) | st.sampled_from(["<!here>", "&" * 4000, "|" * 100, "`" * 50, "\n" * 500, "*_~"])


@given(texts, texts, texts, st.integers(1, 15), st.integers(0, 3000), st.booleans())
@settings(max_examples=150, deadline=None)
def test_slacks_limits_hold_for_any_text(
    host: str, summary: str, path: str, count: int, left_out: int, plain: bool
) -> None:
    labels = {"alertname": "HighCPU", "host": host, "path": path}
    notes = {"summary": summary, "description": summary, "top_processes": path, "sparkline": host}
    shown = [
        alert(index, labels=labels, annotations=notes, host_link=f"https://m/{quote(summary)}")
        for index in range(count)
    ]

    body = slack.payload(notification(*shown, left_out=left_out, group_labels=labels), now_ms=NOW, plain=plain)

    assert slack_problems(body) == []
    assert "<!here>" not in str(body)


def test_a_message_beyond_the_limits_would_be_noticed() -> None:
    body = slack.payload(notification(alert()), now_ms=NOW)
    blocks = body["attachments"][0]["blocks"]

    too_many = {**body, "attachments": [{"blocks": blocks * 20}]}
    too_long = {
        **body,
        "attachments": [{"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3001}}]}],
    }

    assert slack_problems(too_many)
    assert slack_problems(too_long)
    assert slack_problems({**body, "text": ""})


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, "ok", Kind.SENT),
        (200, '{"ok": true}', Kind.SENT),
        (200, "<html>proxy</html>", Kind.RETRY),
        (200, '{"ok":false,"error":"invalid_blocks"}', Kind.REJECTED),
        (200, '{"ok":false,"error":"ratelimited"}', Kind.PAUSE),
        (400, "invalid_blocks", Kind.REJECTED),
        (403, "invalid_token", Kind.REFUSED),
        (404, "no_service", Kind.REFUSED),
        (410, "channel_is_archived", Kind.REFUSED),
        (429, "", Kind.PAUSE),
        (500, "rollup_error", Kind.RETRY),
        (200, '["odd"]', Kind.RETRY),
        (200, '{"ok":', Kind.RETRY),
    ],
)
def test_slacks_answers(status: int, body: str, kind: Kind) -> None:
    assert slack.outcome(Answer(status, {}, body), 0).kind is kind


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, "sent"),
        (204, "sent"),
        (301, "refused"),
        (400, "rejected"),
        (401, "refused"),
        (404, "refused"),
        (408, "retry"),
        (410, "refused"),
        (413, "smaller"),
        (422, "rejected"),
        (425, "retry"),
        (429, "pause"),
        (500, "retry"),
        (503, "retry"),
    ],
)
def test_answers_by_status(status: int, kind: str) -> None:
    assert classify(Answer(status, {}), 30_000).kind.value == kind


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, 30_000),
        ("", 30_000),
        ("7", 7000),
        ("0", 1000),
        ("1.5", 1500),
        ("86400", 3_600_000),
        ("soon", 30_000),
        ("Fri, 15 Jan 2027 08:00:45 GMT", 45_000),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 1000),
        ("-5", 30_000),
        ("99999999999999999999999", 3_600_000),
        ("Fri, 99 Jan 2027 08:00:45 GMT", 30_000),
    ],
)
def test_retry_after(header: str | None, wanted: int) -> None:
    assert retry_after_ms(header, NOW / 1000) == wanted


@pytest.mark.parametrize(
    ("value", "unit", "wanted"),
    [
        (96.13, "percent", "96.1 %"),
        (19.5 * 2**30, "bytes", "19.5 GiB"),
        (5400, "seconds", "1h 30m"),
        (2500, "milliseconds", "2.5s"),
        (71, "celsius", "71 °C"),
        (3, "", "3"),
        (0.25, "", "0.25"),
        (None, "percent", "-"),
        (1234567, "count", "1.2 M"),
        (float("nan"), "bytes", "-"),
        (-3000, "milliseconds", "-3s"),
        (0, "seconds", "0s"),
    ],
)
def test_quantities(value: float | None, unit: str, wanted: str) -> None:
    assert units.quantity(value, unit) == wanted


def test_times_are_rfc_3339_and_the_zero_time_stands_for_none() -> None:
    assert (units.iso(NOW), units.iso(NOW + 5), units.iso(None)) == (
        "2027-01-15T08:00:00Z",
        "2027-01-15T08:00:00.005Z",
        "0001-01-01T00:00:00Z",
    )
