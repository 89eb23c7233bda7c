"""Reading a rule file: everything that is wrong with it in one run."""

from __future__ import annotations

from collections.abc import Mapping as Environment
from pathlib import Path

from fleetwatch_alerting.errors import Problem, RuleFileError
from fleetwatch_alerting.rules import receiver_fields, rule_fields, values
from fleetwatch_alerting.rules.document import Mapping, Problems, described, parse
from fleetwatch_alerting.rules.schema import Rule, RuleFile, Settings

MAX_RULES = 1000

_SECTIONS = ("version", "settings", "defaults", "rules", "receivers", "routes")
_LATER = ("inhibit", "mute_timings", "maintenance")


def load(path: Path, *, environment: Environment[str, str] | None = None) -> RuleFile:
    """The rule file at `path`, with its secrets looked up in `environment` (None: the process's).

    Raises:
        RuleFileError: with every problem of the file.
    """
    return loads(_read(path), str(path), environment=environment)


def check(path: Path, *, environment: Environment[str, str] | None = None) -> list[Problem]:
    """All problems of the rule file at `path`, in its order; none when it can be loaded."""
    try:
        load(path, environment=environment)
    except RuleFileError as error:
        return list(error.problems)
    return []


def loads(text: str, name: str, *, environment: Environment[str, str] | None = None) -> RuleFile:
    """A rule file from its text; `name` stands for it in messages.

    Raises:
        RuleFileError: with every problem of the text.
    """
    problems = Problems(name)
    root = parse(text, problems)
    found = None if root is None else _file(Mapping(root, "", problems), name, environment)
    if problems.found or found is None:
        raise RuleFileError(sorted(problems.found, key=lambda one: (one.line, one.column)))
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise RuleFileError([Problem(str(path), 1, 1, f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise RuleFileError([Problem(str(path), 1, 1, f"not UTF-8 text: byte {error.start}")]) from error


def _file(root: Mapping, name: str, environment: Environment[str, str] | None) -> RuleFile:
    root.done(_SECTIONS, _LATER)
    _version(root)
    settings = _settings(root.child("settings"))
    section = root.child("defaults")
    inherited = rule_fields.Defaults() if section is None else rule_fields.defaults(section)
    rules = _rules(root, inherited, settings.every_ms)
    declared = root.child("receivers")
    receivers = () if declared is None else receiver_fields.receivers(declared, environment)
    route = receiver_fields.route(root, [] if declared is None else declared.names())
    return RuleFile(name, settings, tuple(rules), receivers, route)


def _version(root: Mapping) -> None:
    if root.node.id != "mapping":
        return
    node = root.value("version")
    if node is None:
        root.missing("version is missing: write  version: 1  at the top", "version")
    elif node.id != "scalar" or node.value != "1":
        root.problem(f"this version of fleetwatch reads version 1 of the file, not {described(node)}", "version")


def _settings(fields: Mapping | None) -> Settings:
    if fields is None:
        return Settings()
    fields.done(
        ("every", "eval_delay", "external_url", "startup_grace", "max_catchup"), ("timezone", "heartbeat", "limits")
    )
    plain = Settings()
    every_ms = fields.get("every", values.positive_duration_ms, plain.every_ms)
    if every_ms > 3_600_000 or every_ms % 1000:
        fields.problem("every is whole seconds, at most 1h", "every")
    return Settings(
        every_ms=every_ms,
        eval_delay_ms=fields.get("eval_delay", _delay_ms, None),
        external_url=fields.get("external_url", values.url, ""),
        startup_grace_ms=fields.get("startup_grace", values.duration_ms, plain.startup_grace_ms),
        max_catchup_ms=fields.get("max_catchup", values.duration_ms, plain.max_catchup_ms),
    )


def _delay_ms(node: object) -> int | None:
    return None if values.text(node) == "auto" else values.duration_ms(node)


def _rules(root: Mapping, inherited: rule_fields.Defaults, every_ms: int) -> list[Rule]:
    entries = root.children("rules")
    if len(entries) > MAX_RULES:
        root.problem(f"{len(entries)} rules, at most {MAX_RULES}", "rules")
    first: dict[str, int] = {}
    found = []
    for entry in entries:
        _unique(entry, first)
        rule = rule_fields.rule(entry, inherited, every_ms)
        if rule is not None:
            found.append(rule)
    return found


def _unique(entry: Mapping, first: dict[str, int]) -> None:
    """Names and uids are one space: a rule without a uid has its name for one."""
    for key in ("name", "uid"):
        node = entry.value(key)
        if node is None or node.id != "scalar" or (key == "uid" and _same_as_name(entry, node)):
            continue
        if node.value in first:
            entry.problem(f'{key} "{node.value[:80]}" is taken; first on line {first[node.value]}', key)
        else:
            first[node.value] = node.start_mark.line + 1


def _same_as_name(entry: Mapping, uid: object) -> bool:
    name = entry.value("name")
    return name is not None and getattr(name, "value", None) == getattr(uid, "value", None)
