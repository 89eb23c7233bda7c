"""Reading one rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fleetwatch_storage.query import AGGREGATES, GROUP_AGGREGATES, Matcher, Op, Transform

from fleetwatch_alerting import templates
from fleetwatch_alerting.rules import conditions, metrics, values
from fleetwatch_alerting.rules.document import Mapping
from fleetwatch_alerting.rules.schema import Comparison, Guard, Level, NoData, Rule, RuleType, Severity

_FIELDS = (
    *("name", "uid", "type", "metric", "where", "transform", "agg", "window", "group_by", "group_agg", "only_if"),
    *("recover", "levels", "severity", "for", "keep_firing_for", "nodata", "series_gone_after", "enabled"),
    *("labels", "annotations", "runbook_url", "dashboard"),
)
_LATER = (
    *("expr", "queries", "predict", "anomaly", "compare", "breaches", "min_points", "error_after", "flap", "storm"),
    *("hides_host_alerts", "to", "mute", "repeat_interval", "send_resolved", "escalate", "every"),
)
_NOT_FOR_HOST_DOWN = (
    *conditions.FIELDS,
    *("metric", "transform", "agg", "window", "group_by", "group_agg", "recover", "levels", "only_if"),
)
_DIFFERENCES = (Transform.INCREASE, Transform.DELTA)
_RESERVED = ("alertname", "severity")
_MONTH_MS = 31 * 86_400_000


@dataclass(frozen=True, slots=True)
class Defaults:
    """What rules inherit."""

    for_ms: int | None = None
    keep_firing_ms: int = 0
    nodata: NoData = NoData.KEEP
    severity: Severity = Severity.WARNING
    labels: tuple[tuple[str, str], ...] = ()


def defaults(fields: Mapping) -> Defaults:
    """The `defaults` section."""
    fields.done(("for", "keep_firing_for", "nodata", "severity", "labels"), ("every",))
    return Defaults(
        for_ms=fields.get("for", values.duration_ms, None),
        keep_firing_ms=fields.get("keep_firing_for", values.duration_ms, 0),
        nodata=NoData(fields.get("nodata", _nodata, "keep")),
        severity=Severity(fields.get("severity", values.choice(*Severity), "warning")),
        labels=_texts(fields, "labels", _label_template),
    )


def rule(fields: Mapping, inherited: Defaults, every_ms: int) -> Rule | None:
    """One rule, or None with the reasons among the problems."""
    before = len(fields.problems.found)
    fields.done((*_FIELDS, *conditions.FIELDS), (*_LATER, *conditions.LATER))
    name = fields.get("name", values.name, "")
    fields.missing("name is missing", "name")
    kind = fields.get("type", lambda node: RuleType(_type(node)), None if "type" in fields else RuleType.THRESHOLD)
    read = {RuleType.HOST_DOWN: _host_down, RuleType.THRESHOLD: _threshold}
    parts = {} if kind is None else read[kind](fields, inherited)
    common = _common(fields, inherited, every_ms)
    _clashing_labels(fields, parts, common)
    if len(fields.problems.found) > before or kind is None:
        return None
    source = f"{fields.problems.file}:{fields.node.start_mark.line + 1}"
    uid = fields.get("uid", values.name, name)
    return Rule(name=name, uid=uid, type=kind, source=source, **parts, **common)


def _common(fields: Mapping, inherited: Defaults, every_ms: int) -> dict[str, Any]:
    own = dict(_texts(fields, "labels", _label_template))
    fields.get("uid", values.name, "")
    return {
        "keep_firing_ms": fields.get("keep_firing_for", values.duration_ms, inherited.keep_firing_ms),
        "nodata": NoData(fields.get("nodata", _nodata, inherited.nodata.value)),
        "series_gone_ms": fields.get("series_gone_after", values.positive_duration_ms, max(300_000, 5 * every_ms)),
        "labels": tuple((dict(inherited.labels) | own).items()),
        "annotations": _texts(fields, "annotations", _template),
        "runbook_url": fields.get("runbook_url", _template, ""),
        "dashboard": fields.get("dashboard", _template, ""),
        "enabled": fields.get("enabled", values.flag, True),
        "where": _where(fields),
    }


def _host_down(fields: Mapping, inherited: Defaults) -> dict[str, Any]:
    """A silent host is a host whose seconds of silence reached `for`; the first sample ends it."""
    for key in _NOT_FOR_HOST_DOWN:
        if key in fields:
            fields.value(key)
            fields.problem(f"host_down takes no {key}: it fires when a host has sent nothing for the time in for", key)
    silent_ms = fields.get("for", values.positive_duration_ms, inherited.for_ms or 90_000)
    severity = Severity(fields.get("severity", values.choice(*Severity), "critical"))
    silent_s = silent_ms / 1000
    return {
        "metric": "",
        "unit": "seconds",
        "comparison": Comparison.AT_LEAST,
        "levels": (Level(severity, silent_s, silent_s),),
    }


def _threshold(fields: Mapping, inherited: Defaults) -> dict[str, Any]:
    metric = fields.get("metric", values.text, "")
    known = fields.get("metric", lambda node: metrics.resolve(values.text(node)), None)
    fields.missing("metric is missing: write measurement.field, as in cpu.usage_active", "metric", "expr")
    severity = Severity(fields.get("severity", values.choice(*Severity), inherited.severity.value))
    for_ms = fields.get("for", values.duration_ms, inherited.for_ms or 0)
    condition = conditions.read(fields, severity, for_ms)
    parts = _reading(fields) | _grouping(fields, metric, known) | {"only_if": _guards(fields)}
    op, levels = condition or (Comparison.ABOVE, ())
    return parts | {"metric": metric, "unit": _unit(known, parts), "comparison": op, "levels": levels}


def _unit(known: metrics.Metric | None, parts: dict[str, Any]) -> str:
    per_second = parts["transform"] in (Transform.RATE, Transform.DERIV)
    return known.unit if known and not per_second and parts["agg"] != "count" else ""


def _reading(fields: Mapping) -> dict[str, Any]:
    words = [one.value for one in Transform]
    word = fields.get("transform", values.choice(*words, "abs"), "none")
    transform = Transform.NONE if word == "abs" else Transform(word)
    window_ms = fields.get("window", values.positive_duration_ms, 0)
    per_second = transform in (Transform.RATE, Transform.DERIV)
    agg = fields.get("agg", values.choice(*sorted(AGGREGATES - {"first"})), "avg" if per_second else "last")
    if window_ms > _MONTH_MS:
        fields.problem("a window is at most 31d", "window")
    if "window" not in fields:
        if transform is not Transform.NONE:
            fields.problem(f"transform: {word} needs a window, as in  window: 5m", "transform")
        elif agg != "last":
            fields.problem(f"agg: {agg} needs a window, as in  window: 5m", "agg")
    if transform in _DIFFERENCES and "agg" in fields:
        fields.problem(f"agg has no meaning with transform: {word}, which is summed over the window", "agg")
    if word == "abs" and agg != "last":
        fields.problem("transform: abs goes with agg: last only", "transform")
    return {"transform": transform, "absolute": word == "abs", "agg": agg, "window_ms": window_ms}


def _grouping(fields: Mapping, metric: str, known: metrics.Metric | None) -> dict[str, Any]:
    """The labels of an alert: what the rule says, else host and the identity tags, the whole standing for its parts."""
    group_by = fields.get("group_by", values.labels, None)
    known_aggs = values.choice(*sorted(GROUP_AGGREGATES), later=("count_above", "percent_above"))
    group_agg = fields.get("group_agg", known_aggs, "max")
    if group_by is None and known is not None and known.identity is not None:
        total = _total(fields, metric)
        identity = tuple(tag for tag in known.identity if total is None or tag != total.tag)
        group_by = tuple(dict.fromkeys(("host", *identity)))
    return {"group_by": group_by, "group_agg": group_agg}


def _total(fields: Mapping, metric: str) -> Matcher | None:
    """The matcher for the whole (all processors), unless the rule speaks of the parts."""
    tag, whole = metrics.TOTALS.get(metric.rpartition(".")[0], ("", ""))
    spoken_of = {matcher.tag for matcher in fields.get("where", values.matchers, ())}
    spoken_of |= set(fields.get("group_by", values.labels, ()))
    return Matcher(tag, Op.EQ, whole) if tag and tag not in spoken_of else None


def _where(fields: Mapping) -> tuple[Matcher, ...]:
    before = len(fields.problems.found)
    where = fields.get("where", values.matchers, ())
    if len(fields.problems.found) > before:
        return ()
    total = _total(fields, fields.get("metric", values.text, ""))
    return (*where, total) if total else where


def _guards(fields: Mapping) -> tuple[Guard, ...]:
    found = []
    for one in fields.children("only_if"):
        one.done(("metric", "where", *conditions.FIELDS), ("query", *conditions.LATER))
        metric = one.get("metric", values.text, "")
        one.get("metric", lambda node: metrics.resolve(values.text(node)), None)
        compared = conditions.comparison(one)
        if compared:
            found.append(Guard(metric, *compared, where=one.get("where", values.matchers, ())))
    return tuple(found)


_type = values.choice(*RuleType, later=("absent",))


def _nodata(node: Any) -> str:
    if node.id == "mapping":
        raise ValueError("nodata with action and after is not supported yet; use keep or ok")
    return values.choice(*NoData, later=("alert", "breach"))(node)


def _texts(fields: Mapping, key: str, convert: Callable[[Any], str]) -> tuple[tuple[str, str], ...]:
    child = fields.child(key)
    if child is None:
        return ()
    for one in child.names():
        if not values.LABEL.fullmatch(one):
            child.problem(f'"{one[:80]}" is not a label name: letters, digits and _, starting with a letter', one)
    return tuple((one, child.get(one, convert, "")) for one in child.names())


def _template(node: Any) -> str:
    source = values.text(node)
    templates.check(source)
    return source


def _label_template(node: Any) -> str:
    source = values.text(node)
    try:
        templates.check(source, ("labels",))
    except ValueError as error:
        if "unknown name" in str(error):
            raise ValueError(
                f"{error}: a label may use labels.* only, or the alert would change at every value"
            ) from None
        raise
    return source


def _clashing_labels(fields: Mapping, parts: dict[str, Any], common: dict[str, Any]) -> None:
    taken = {*_RESERVED, *(parts.get("group_by") or ("host",))}
    for name, _ in common["labels"]:
        if name in taken:
            fields.problem(f'label "{name}" is set by the rule itself', "labels" if "labels" in fields else "")
