"""Texts of alerts: Jinja2 in a sandbox where nothing can loop, call, or grow.

The sandbox of Jinja2 keeps templates from Python's internals but not from using up time and memory, so what is allowed
is a list here: output, conditions, a few filters, plain arithmetic. A template that fails at run time leaves a mark in
the text («...») and never keeps an alert from being delivered.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from jinja2 import TemplateError, Undefined, meta, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from fleetwatch_alerting import units
from fleetwatch_alerting.spelling import suggestion

Values = Mapping[str, Any]
"""What a template sees: texts, finite numbers, None, and one level of mappings of them."""

CONTEXT = frozenset(
    (
        *("labels", "value", "values", "threshold", "level", "previous_level", "state", "reason", "health"),
        *("active_at", "fired_at", "resolved_at", "duration", "value_at_fire", "peak", "last_seen"),
        *("host", "rule", "external_url"),
    )
)
MAX_TEMPLATE = 8192
MAX_OUTPUT = 16_384
BUDGET_S = 0.05

_ALLOWED = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.CondExpr, nodes.Name, nodes.Const, nodes.Getattr,
    nodes.Getitem, nodes.Filter, nodes.Test, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Add,
    nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg, nodes.Pos, nodes.Concat, nodes.Keyword,
)  # fmt: skip
_NUMERIC = frozenset(["*", "/", "//", "%", "-", "+"])


class _Missing(Undefined):
    """An absent name prints as a mark instead of failing."""

    def __str__(self) -> str:
        return f"«missing {self._undefined_name}»"


class _Labels(dict[str, str]):
    """Labels whose absence is named in full."""

    def __missing__(self, key: str) -> _Missing:
        return _Missing(name=f"labels.{key}")


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = _NUMERIC

    def call_binop(self, _context: Any, operator: str, left: Any, right: Any) -> Any:
        for side in (left, right):
            if isinstance(side, Undefined):
                raise SecurityError(str(side).strip("«»"))
            if isinstance(side, bool) or not isinstance(side, int | float):
                raise SecurityError(f"{operator} works on numbers; join texts with ~")
        result = self.binop_table[operator](left, right)
        if not math.isfinite(result):
            raise SecurityError(f"{operator} left the range of numbers")
        return result

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return isinstance(obj, Mapping) and super().is_safe_attribute(obj, attr, value)

    def getattr(self, obj: Any, attribute: str) -> Any:
        return obj[attribute] if isinstance(obj, dict) else super().getattr(obj, attribute)


def check(source: str, known: Iterable[str] = CONTEXT) -> None:
    """Whether a template can be used.

    Raises:
        ValueError: a syntax error, a name that does not exist, or something the sandbox does not allow.
    """
    if len(source) > MAX_TEMPLATE:
        raise ValueError(f"the template is longer than {MAX_TEMPLATE} characters")
    environment = _environment()
    try:
        tree = environment.parse(source)
        environment.from_string(source)
    except TemplateError as error:
        raise ValueError(f"template: {error.message}") from error
    except RecursionError as error:
        raise ValueError("template: nested too deeply") from error
    for node in tree.find_all(nodes.Node):
        if not isinstance(node, _ALLOWED):
            raise ValueError(f"template: {type(node).__name__.lower()} is not allowed; use values, if and filters")
    if unknown := sorted(meta.find_undeclared_variables(tree) - set(known)):
        raise ValueError(f'template: unknown name "{unknown[0]}"{suggestion(unknown[0], known)}')


def compiled(source: str) -> Callable[[Values], str]:
    """A function from values to the text; the function never raises."""
    if "{" not in source:
        return lambda _values: source
    try:
        check(source)
        template = _environment().from_string(source)
    except (ValueError, TemplateError) as error:
        said = f"«template error: {error}»"
        return lambda _values: said

    def render(values: Values) -> str:
        labels = _Labels(values.get("labels", {}))
        try:
            return _bounded(template.generate({**values, "labels": labels}))
        except (TemplateError, ArithmeticError, ValueError, TypeError, LookupError) as error:
            return f"«template error: {error}»"

    return render


def _bounded(parts: Iterable[str]) -> str:
    """Joins output until it is too long or takes too long."""
    deadline = time.monotonic() + BUDGET_S
    found: list[str] = []
    length = 0
    for part in parts:
        found.append(part)
        length += len(part)
        if length > MAX_OUTPUT or time.monotonic() > deadline:
            return "".join(found)[:MAX_OUTPUT] + "«cut»"
    return "".join(found)


def _environment() -> _Environment:
    environment = _Environment(undefined=_Missing, autoescape=False, cache_size=0)
    environment.globals = {}
    kept = (
        "abs",
        "default",
        "d",
        "first",
        "float",
        "int",
        "last",
        "length",
        "lower",
        "round",
        "title",
        "trim",
        "upper",
    )
    environment.filters = {name: environment.filters[name] for name in kept} | _FILTERS
    kept_tests = ("defined", "undefined", "none", "number", "string", "eq", "ne", "lt", "le", "gt", "ge", "in")
    environment.tests = {name: environment.tests[name] for name in kept_tests}
    return environment


def _number(value: Any) -> float:
    if isinstance(value, Undefined):
        raise SecurityError(str(value).strip("«»"))
    return float(value)


def _round(value: Any, digits: int = 0) -> float:
    return round(_number(value), min(max(int(digits), 0), 12))


@pass_context
def _ago(context: Context, ms: Any) -> str:
    return f"{units.duration(float(context.get('now', 0)) - _number(ms))} ago"


_FILTERS: dict[str, Callable[..., Any]] = {
    "pct": lambda value: units.percent(_number(value)),
    "bytes": lambda value: units.size(_number(value)),
    "si": lambda value: units.scaled(_number(value)),
    "duration": lambda seconds: units.duration(_number(seconds) * 1000),
    "ago": _ago,
    "localtime": lambda ms: units.clock_time(int(_number(ms))),
    "urlencode": lambda value: quote(str(value), safe=""),
    "tojson": lambda value: json.dumps(str(value) if isinstance(value, Undefined) else value),
    "round": _round,
}
