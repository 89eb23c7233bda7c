"""Metric names of rules against the catalogue; measurements outside it are custom ones and accepted."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from fleetwatch_proto import catalog

TOTALS = {"cpu": ("cpu", "cpu-total")}
"""Measurements whose series hold the whole beside its parts: the tag, and the value that stands for the whole."""

_METRIC = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}\.[A-Za-z_][A-Za-z0-9_]{0,127}")


@dataclass(frozen=True, slots=True)
class Metric:
    """What the catalogue knows of a metric; `identity` None for custom ones: every series by itself."""

    unit: str
    identity: tuple[str, ...] | None


def resolve(metric: str) -> Metric:
    """The metric, when rules can be written on it.

    Raises:
        ValueError: not `measurement.field`, probably mistyped, or a text.
    """
    if found := catalog.lookup(metric):
        measurement, field = found
        if field.kind is catalog.Kind.TEXT:
            raise ValueError(f"{metric} is a text; rules compare numbers")
        return Metric(field.unit, measurement.identity)
    if not _METRIC.fullmatch(metric):
        raise ValueError(f'"{metric[:80]}" is not a metric: write measurement.field, as in cpu.usage_active')
    name, _, field_name = metric.rpartition(".")
    if measurement_known := catalog.BY_NAME.get(name):
        fields = [one.name for one in measurement_known.fields]
        near = difflib.get_close_matches(field_name, fields, n=1, cutoff=0.4)
        said = f'; did you mean "{name}.{near[0]}"?' if near else f"; it has {', '.join(fields[:8])}"
        raise ValueError(f'{name} has no field "{field_name}"{said}')
    _refuse_mistyped(metric, name, field_name)
    return Metric("", None)


def _refuse_mistyped(metric: str, name: str, field_name: str) -> None:
    """A custom measurement may be called anything, but not almost like one of ours with the same field."""
    for near in difflib.get_close_matches(name, catalog.BY_NAME, n=3, cutoff=0.6):
        if catalog.BY_NAME[near].field(field_name):
            raise ValueError(f'unknown metric "{metric}"; did you mean "{near}.{field_name}"?')
