"""The rule file: what it accepts, and that all that is wrong with it is said at once, at its place, in words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fleetwatch_alerting import pack
from fleetwatch_alerting.errors import RuleFileError
from fleetwatch_alerting.rules import check, load
from fleetwatch_alerting.rules.loader import loads
from fleetwatch_alerting.rules.schema import Comparison, NoData, RuleFile, Severity, SlackConfig, WebhookConfig
from fleetwatch_storage.query import Matcher, Op, Transform
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {"SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T/B/x", "TOKEN": "secret", "EMPTY": ""}

NEWCOMER = """version: 1
rules:
  - name: HighCPU
    metric: cpu.usage_active
    above: 90
    for: 5m
receivers:
  ops:
    slack: {webhook_url: "${SLACK_WEBHOOK_URL}"}
"""


def read(text: str) -> RuleFile:
    return loads(text, "alerts.yaml", environment=ENVIRONMENT)


def problems(text: str) -> list[str]:
    with pytest.raises(RuleFileError) as found:
        read(text)
    return [str(problem) for problem in found.value.problems]


def rule_problems(fields: str, rest: str = "") -> list[str]:
    """Problems of one rule that starts on line 3."""
    lines = "\n".join(f"    {line}" for line in fields.splitlines())
    return problems(f"version: 1\nrules:\n  - name: R\n{lines}\n{rest}")


def test_the_newcomers_file_is_enough() -> None:
    file = read(NEWCOMER)

    (rule,) = file.rules
    assert (rule.name, rule.uid, rule.metric, rule.comparison) == (
        "HighCPU",
        "HighCPU",
        "cpu.usage_active",
        Comparison.ABOVE,
    )
    assert [(level.severity, level.threshold, level.recover, level.for_ms) for level in rule.levels] == [
        (Severity.WARNING, 90.0, 90.0, 300_000)
    ]
    assert (rule.group_by, rule.where) == (("host",), (Matcher("cpu", Op.EQ, "cpu-total"),))
    assert file.route.to == ("ops",)
    assert isinstance(file.receivers[0], SlackConfig)


def test_every_field_of_this_version_is_read() -> None:
    file = read("""version: 1
settings: {every: 10s, eval_delay: 5s, external_url: "https://mon.example.com/", startup_grace: 1m, max_catchup: 2h}
defaults: {for: 2m, keep_firing_for: 1m, nodata: ok, severity: info, labels: {team: platform}}
rules:
  - name: Disk
    uid: disk-1
    metric: disk.used_percent
    where: {env: prod, "host!~": "ci-.*", "fstype": [ext4, xfs], "path!": /boot}
    agg: avg
    window: 10m
    group_by: [host, path]
    group_agg: max
    levels:
      warning: {at_least: 85%, recover: 80}
      critical: {at_least: 95, recover: 90, for: 30s}
    only_if: [{metric: disk.free, below: 20Gi}, {above: 50}]
    series_gone_after: 10m
    labels: {service: "storage-{{ labels.host }}"}
    annotations: {summary: "{{ value | pct }}"}
    runbook_url: https://wiki.example.com/disk
    dashboard: "/d/{{ labels.host | urlencode }}"
    enabled: false
  - {name: Long, metric: app.queue.depth, threshold: 2k, op: ">=", nodata: keep, transform: delta, window: 1h}
  - {name: Silent, type: host_down, for: 3m, where: {role: db}}
receivers:
  hook:
    webhook: {url: "https://example.com/${TOKEN}", headers: {X-Key: "${TOKEN}"}, max_alerts: 5, allow_private: true,
              send_resolved: false, timeout: 5s}
routes: [{to: hook, group_by: [alertname, host], group_wait: 1s, group_interval: 2m, repeat_interval: 3h}]
""")

    disk, long, silent = file.rules
    assert (disk.uid, disk.agg, disk.window_ms, disk.enabled, disk.unit) == ("disk-1", "avg", 600_000, False, "percent")
    assert [(one.threshold, one.recover, one.for_ms) for one in disk.levels] == [(85, 80, 120_000), (95, 90, 30_000)]
    assert disk.where == (
        Matcher("env", Op.EQ, "prod"),
        Matcher("host", Op.NRE, "ci-.*"),
        Matcher("fstype", Op.RE, "ext4|xfs"),
        Matcher("path", Op.NE, "/boot"),
    )
    assert [(one.metric, one.comparison, one.threshold) for one in disk.only_if] == [
        ("disk.free", Comparison.BELOW, 20 * 2**30),
        ("", Comparison.ABOVE, 50),
    ]
    assert dict(disk.labels) == {"team": "platform", "service": "storage-{{ labels.host }}"}
    assert (disk.nodata, disk.keep_firing_ms, disk.series_gone_ms) == (NoData.OK, 60_000, 600_000)
    assert (long.measurement, long.field, long.group_by, long.nodata) == ("app.queue", "depth", None, NoData.KEEP)
    assert (long.comparison, long.levels[0].threshold, long.transform) == (Comparison.AT_LEAST, 2000, Transform.DELTA)
    assert (silent.levels[0].threshold, silent.levels[0].severity) == (180.0, Severity.CRITICAL)
    (hook,) = file.receivers
    assert isinstance(hook, WebhookConfig)
    assert hook.url.reveal() == "https://example.com/secret"
    assert (hook.max_alerts, hook.allow_private, hook.send_resolved, hook.timeout_s) == (5, True, False, 5.0)
    assert (file.route.group_by, file.route.repeat_interval_ms) == (("alertname", "host"), 10_800_000)
    assert (file.settings.every_ms, file.settings.eval_delay_ms) == (10_000, 5000)
    assert file.settings.external_url == "https://mon.example.com"


def test_yaml_1_2_keeps_words_and_times_as_they_are() -> None:
    file = read(
        "version: 1\nrules:\n  - {name: R, metric: mem.used, above: 017, labels: {on: yes, at: 22:00, off: no}}\n"
    )

    assert dict(file.rules[0].labels) == {"on": "yes", "at": "22:00", "off": "no"}
    assert file.rules[0].levels[0].threshold == 17


def test_75_four_mistakes_are_four_lines() -> None:
    said = problems("""version: 1
rules:
  - name: HighCPU
    metirc: cpu.usage_active
    abov: 90
    for: 5
receivers: {ops: {slack: {webhook_url: "${SLACK_WEBHOOK_URL}", mode: thread}}}
""")

    assert said == [
        'alerts.yaml:4:5: unknown field "metirc"; did you mean "metric"?  [rules.0.metirc]',
        'alerts.yaml:5:5: unknown field "abov"; did you mean "above"?  [rules.0.abov]',
        "alerts.yaml:6:5: duration needs a unit: write 5s or 5m  [rules.0.for]",
        'alerts.yaml:7:64: "mode" is not supported yet  [receivers.ops.slack.mode]',
    ]


def test_75_a_duplicate_key_names_the_first_line() -> None:
    said = rule_problems("metric: mem.used\nabove: 1\nfor: 5m\nfor: 9m")

    assert said == ['alerts.yaml:7:5: found duplicate key "for"; first on line 6  [rules.0.for]']


def test_76_an_unquoted_comparison_gets_the_words_to_write() -> None:
    said = rule_problems("metric: mem.used\nthreshold: > 90")

    assert said == ["alerts.yaml:5:18: YAML reads '>' as the start of a block of text; write  above: 90"]


CASES = [
    ("metric: mem.used\nabove: 1\nbelow: 2", "give one comparison, not 2 (above, below)"),
    ("metric: mem.used", "a condition is missing: write above, below, at_least or at_most"),
    ("above: 1", "metric is missing"),
    ("metric: mem.used\nabove: > 5", "write  above: 5"),
    ('metric: mem.used\nabove: "> 5"', '"> 5" is not a number; write  above: 5'),
    ("metric: mem.used\nabove: .nan", '".nan" is not a number'),
    ("metric: mem.used\nabove: 1e999", "is too large"),
    ("metric: mem.used\nabove: [1]", "expected text, not a list"),
    ("metric: mem.used\nabove: 5\nop: '<'", '"op" belongs to threshold'),
    ("metric: mem.used\nthreshold: 5\nop: '=='", '"==" is not supported yet'),
    ("metric: mem.used\nabove: 95\nrecover: 97", "recover (97) must not be above the threshold (95)"),
    ("metric: mem.used\nbelow: 95\nrecover: 90", "recover (90) must not be below the threshold (95)"),
    (
        "metric: mem.used\nlevels: {warning: {above: 9}, critical: {above: 8}}",
        "the critical threshold (8) must not be below",
    ),
    (
        "metric: mem.used\nlevels: {warning: {above: 9}, critical: {below: 8}}",
        "all levels must compare in the same way",
    ),
    ("metric: mem.used\nlevels: {warning: {above: 9}}\nabove: 3", "above does not go with levels"),
    ("metric: mem.used\nlevels: {}", "name at least one level"),
    ("metric: mem.used\nlevels: {fatal: {above: 1}}", 'unknown field "fatal"'),
    ("metric: cpuu.usage_active\nabove: 1", 'did you mean "cpu.usage_active"?'),
    ("metric: mem.usde\nabove: 1", 'mem has no field "usde"; did you mean "mem.used"?'),
    ("metric: memory\nabove: 1", "is not a metric: write measurement.field"),
    ("metric: process_top.name\nabove: 1", "is a text; rules compare numbers"),
    ("metric: mem.used\nabove: 1\nagg: avg", "agg: avg needs a window"),
    ("metric: mem.used\nabove: 1\nagg: mean\nwindow: 5m", '"mean" is not one of'),
    ("metric: net.err_in\nabove: 1\ntransform: rate", "transform: rate needs a window"),
    ("metric: net.err_in\nabove: 1\ntransform: increase\nagg: max\nwindow: 5m", "agg has no meaning with transform"),
    ("metric: mem.used\nabove: 1\nfor: 5 minutes", "'5 minutes' is not a duration"),
    ("metric: mem.used\nabove: 1\nseverity: fatal", '"fatal" is not one of info, warning, critical'),
    ("metric: mem.used\nabove: 1\nwhere: {host=~: '[a'}", "bad regular expression"),
    ("metric: mem.used\nabove: 1\nwhere: {'host<': a}", "is not a label with an operator"),
    ("metric: mem.used\nabove: 1\nwhere: host", "expected a mapping of labels to values"),
    ("metric: mem.used\nabove: 1\nnodata: alert", '"alert" is not supported yet'),
    ("metric: mem.used\nabove: 1\nnodata: {action: alert}", "is not supported yet"),
    ("metric: mem.used\nabove: 1\npredict: {reaches: 100}", '"predict" is not supported yet'),
    ("metric: mem.used\nabove: 1\ngroup_agg: percent_above", "is not supported yet"),
    ("metric: mem.used\nabove: 1\nlabels: {alertname: x}", 'label "alertname" is set by the rule itself'),
    ("metric: mem.used\nabove: 1\nlabels: {a: '{{ value }}'}", "a label may use labels.* only"),
    ("metric: mem.used\nabove: 1\nlabels: {'a b': x}", "is not a label name"),
    ("metric: mem.used\nabove: 1\nannotations: {a: '{{ valu }}'}", 'unknown name "valu"; did you mean "value"?'),
    ("metric: mem.used\nabove: 1\nannotations: {a: '{{ value'}", "template: unexpected end of template"),
    ("type: host_down\nabove: 1", "host_down takes no above"),
    ("type: host_down\nmetric: mem.used", "host_down takes no metric"),
    ("type: absent\nmetric: mem.used", '"absent" is not supported yet'),
    ("metric: mem.used\nabove: 1\nenabled: yes", 'write true or false, not "yes"'),
    ("metric: mem.used\nabove: 1\nonly_if: [{metric: mem.used}]", "a condition is missing"),
    ("metric: mem.used\nabove: 1\nonly_if: [{query: x, above: 1}]", '"query" is not supported yet'),
]


@pytest.mark.parametrize(("fields", "wanted"), CASES, ids=[wanted[:40] for _, wanted in CASES])
def test_a_mistake_in_a_rule_is_named_once_at_its_line(fields: str, wanted: str) -> None:
    said = rule_problems(fields)

    assert len(said) == 1, said
    assert wanted in said[0]
    assert re.match(r"alerts\.yaml:\d+:\d+: ", said[0])


FILE_CASES = [
    ("", "the file is empty"),
    ("- 1\n", "expected a mapping of names to values, not a list"),
    ("rules: []\n", "version is missing"),
    ("version: 2\nrules: []\n", "reads version 1 of the file"),
    ("version: 1\nrules: {a: 1}\n", "expected a list"),
    ("version: 1\nrules: [\n", "not YAML"),
    ("version: 1\nrule: []\n", 'unknown field "rule"; did you mean "rules"?'),
    ("version: 1\ninhibit: []\n", '"inhibit" is not supported yet'),
    ("version: 1\nsettings: {every: 500ms}\n", "too short: at least 1s"),
    ("version: 1\nsettings: {every: 1500ms}\n", "whole seconds"),
    ("version: 1\nsettings: {external_url: mon.example.com}\n", "not an http:// or https:// address"),
    ("version: 1\nreceivers: {o: {}}\n", "say what it is: slack or webhook"),
    ("version: 1\nreceivers: {o: {email: {to: x}}}\n", '"email" is not supported yet'),
    ("version: 1\nreceivers: {o: {slack: {webhook_url: 'https://hooks.slack.com/x'}}}\n", "a secret does not belong"),
    ("version: 1\nreceivers: {o: {slack: {webhook_url: '${NOPE}'}}}\n", "the environment variable NOPE is not set"),
    ("version: 1\nreceivers: {o: {slack: {webhook_url: '${EMPTY}'}}}\n", "the environment variable EMPTY is not set"),
    ("version: 1\nreceivers: {o: {slack: {webhook_url: '${file:/does/not/exist}'}}}\n", "cannot read the secret"),
    ("version: 1\nreceivers: {o: {webhook: {url: 'file:///etc/passwd'}}}\n", "not an http:// or https:// address"),
    ("version: 1\nreceivers: {o: {webhook: {}}}\n", "url is missing"),
    (
        "version: 1\nreceivers: {o: {webhook: {url: 'http://x', headers: {Host: y}}}}\n",
        "set by the alert manager itself",
    ),
    ("version: 1\nreceivers: {o: {webhook: {url: 'http://x', headers: {A: \"b\\r\\nc\"}}}}\n", "on one line"),
    ("version: 1\nreceivers: {o: {webhook: {url: 'http://x', max_alerts: 0}}}\n", "whole number from 1 to 1000"),
    ("version: 1\nreceivers: {o: {webhook: {url: 'http://x'}, timeout: 5s}}\n", "belongs under the receiver's kind"),
    ("version: 1\nreceivers: {ops: {webhook: {url: 'http://x'}}}\nroutes: [{to: [opps]}]\n", 'did you mean "ops"?'),
    ("version: 1\nreceivers: {o: {webhook: {url: 'http://x'}}}\nroutes: [{to: o}, {to: o}]\n", "more than one route"),
    ("version: 1\nroutes: [{group_wait: 5s}]\n", "to is missing"),
]


@pytest.mark.parametrize(("text", "wanted"), FILE_CASES, ids=[wanted[:40] for _, wanted in FILE_CASES])
def test_a_mistake_elsewhere_is_named_once(text: str, wanted: str) -> None:
    said = problems(text)

    assert len(said) == 1, said
    assert wanted in said[0]


def test_names_and_uids_are_taken_once() -> None:
    said = problems("""version: 1
rules:
  - {name: A, metric: mem.used, above: 1}
  - {name: B, uid: A, metric: mem.used, above: 1}
  - {name: A, metric: mem.used, above: 1}
""")

    assert [one.partition("  [")[0] for one in said] == [
        'alerts.yaml:4:15: uid "A" is taken; first on line 3',
        'alerts.yaml:5:6: name "A" is taken; first on line 3',
    ]


def test_custom_measurements_are_accepted() -> None:
    file = read("version: 1\nrules:\n  - {name: R, metric: shop.orders_waiting, above: 5}\n")

    assert (file.rules[0].group_by, file.rules[0].unit) == (None, "")


def test_secrets_are_never_printed() -> None:
    file = read(NEWCOMER)

    assert "hooks.slack.com" not in repr(file) + str(file)
    assert str(file.receivers[0].webhook_url) == "***"  # type: ignore[union-attr]


def test_a_secret_file_must_be_private(tmp_path: Path) -> None:
    secret = tmp_path / "hook"
    secret.write_text("https://hooks.slack.com/services/T/B/y\n")
    text = f'version: 1\nreceivers: {{o: {{slack: {{webhook_url: "${{file:{secret}}}"}}}}}}\n'
    secret.chmod(0o644)
    open_to_all = problems(text)
    secret.chmod(0o600)

    file = read(text)

    assert "must not be readable by others" in open_to_all[0]
    assert file.receivers[0].webhook_url.reveal() == "https://hooks.slack.com/services/T/B/y"  # type: ignore[union-attr]


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"version: 1\n# \xe9\n")

    missing, binary = check(tmp_path / "missing.yaml"), check(tmp_path / "latin.yaml")

    assert "No such file" in missing[0].message
    assert "not UTF-8" in binary[0].message


def test_hostile_nesting_and_aliases_are_problems_not_crashes() -> None:
    deep = problems("version: 1\nrules: " + "[" * 5000)
    bomb = "version: 1\na: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )

    assert "nested too deeply" in deep[0] or "not YAML" in deep[0]
    assert all("unknown field" in one for one in problems(bomb))
    assert "larger than" in problems("#" * (2 << 20))[0]


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
@settings(max_examples=150, deadline=None)
def test_any_text_is_either_a_rule_file_or_has_problems(text: str) -> None:
    for candidate in (text, f"version: 1\nrules:\n  - name: {text}\n", NEWCOMER.replace("90", text)):
        try:
            read(candidate)
        except RuleFileError as error:
            assert error.problems
            assert all(problem.line >= 1 and problem.column >= 1 for problem in error.problems)


def test_the_shipped_rules_load_and_are_quiet_about_processor_and_load() -> None:
    file = load(pack.DEFAULT)

    assert [rule.name for rule in file.rules] == [
        *(
            "HostSilent",
            "DiskSpace",
            "DiskInodes",
            "MemoryAvailable",
            "OutOfMemoryKill",
            "SystemdUnitFailed",
            "ClockSkew",
        )
    ]
    assert not {rule.measurement for rule in file.rules} & {"cpu", "system"}
    assert file.receivers == ()


@pytest.mark.parametrize("path", sorted((ROOT / "infrastructure" / "rules").glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_file_loads(path: Path) -> None:
    hooks = {"SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T/B/x", "HOOK_TOKEN": "x"}

    assert check(path, environment=hooks) == []


def test_there_are_example_files() -> None:
    assert len(list((ROOT / "infrastructure" / "rules").glob("*.yaml"))) >= 3


def test_every_field_of_a_rule_is_in_the_readme() -> None:
    from fleetwatch_alerting.rules import conditions, rule_fields

    readme = (ROOT / "alerting" / "README.md").read_text()

    missing = [name for name in (*rule_fields._FIELDS, *conditions.FIELDS) if f"`{name}`" not in readme]
    assert missing == []
