"""The options of `fleetwatch query` as a Query. Pure: `now_ms` is an argument."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from fleetwatch_proto.settings import duration_s
from fleetwatch_storage.query import Matcher, Op, Query, Transform

STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
"""Steps that people and roll-ups use."""
WANTED_STEPS = 60
"""About how many steps an answer has when no step is asked for: one sparkline."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was typed. `since` and `until` are durations back from now (`1h`), RFC 3339 times, or unix seconds."""

    metric: str
    since: str = "1h"
    until: str = ""
    step: str = ""
    aggregates: tuple[str, ...] = ("avg",)
    transform: str = "none"
    hosts: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    group_by: str | None = None
    group_aggregate: str = "avg"
    top: int = 0
    bottom: int = 0


def to_query(asked: Asked, now_ms: int) -> Query:
    """The question.

    Raises:
        ValueError: an option that says nothing we understand, in words.
        QueryFailed: a question that no store could answer.
    """
    measurement, fields = split_metric(asked.metric)
    start_ms, end_ms = moment_ms(asked.since, now_ms), moment_ms(asked.until, now_ms) if asked.until else now_ms
    if asked.top and asked.bottom:
        raise ValueError("--top and --bottom exclude each other")
    return Query(
        measurement=measurement,
        fields=fields,
        start_ms=start_ms,
        end_ms=end_ms,
        step_ms=step_ms(asked.step, end_ms - start_ms),
        aggregates=asked.aggregates,
        transform=Transform(asked.transform),
        where=(*host_matchers(asked.hosts), *map(matcher, asked.tags)),
        group_by=None if asked.group_by is None else tuple(tag for tag in asked.group_by.split(",") if tag),
        group_aggregate=asked.group_aggregate,
        limit=asked.top or asked.bottom,
        order="top" if asked.top else "bottom" if asked.bottom else "",
    )


def split_metric(metric: str) -> tuple[str, tuple[str, ...]]:
    """`cpu.usage_user,usage_system` as the measurement and its fields.

    Raises:
        ValueError: no measurement or no field.
    """
    measurement, dot, fields = metric.partition(".")
    names = tuple(field for field in fields.split(",") if field)
    if not dot or not measurement or not names:
        raise ValueError(f"{metric!r} is not a metric: write measurement.field, for example cpu.usage_active")
    return measurement, names


def matcher(text: str) -> Matcher:
    """`k=v`, `k!=v`, `k=~pattern` or `k!~pattern`.

    Raises:
        ValueError: none of these.
    """
    match = re.fullmatch(r"([^=!~]+)(=~|!~|!=|=)(.*)", text, re.DOTALL)
    if not match:
        raise ValueError(
            f"{text!r} is not a condition on a tag: write key=value, key!=value, key=~pattern or key!~pattern"
        )
    return Matcher(match[1], Op(match[2]), match[3])


def host_matchers(hosts: Sequence[str]) -> tuple[Matcher, ...]:
    """One of these hosts; none: all."""
    if not hosts:
        return ()
    if len(hosts) == 1:
        return (Matcher("host", Op.EQ, hosts[0]),)
    return (Matcher("host", Op.RE, "|".join(map(re.escape, hosts))),)


def moment_ms(text: str, now_ms: int) -> int:
    """Unix milliseconds of `1h` (ago), `2026-01-31T12:00:00Z`, `1767225600` or `now`.

    Raises:
        ValueError: none of these; a time without a zone is read in this machine's zone.
    """
    if text == "now":
        return now_ms
    if re.fullmatch(r"\d{9,}(\.\d+)?", text):
        return round(float(text) * 1000)
    try:
        return now_ms - round(duration_s(text.removeprefix("-")) * 1000)
    except ValueError:
        try:
            return round(datetime.fromisoformat(text).timestamp() * 1000)
        except ValueError:
            raise ValueError(f"{text!r} is not a time: write 1h (ago), 2026-01-31T12:00:00Z or unix seconds") from None


def step_ms(text: str, range_ms: int) -> int:
    """Milliseconds of a step; when none is asked for, one that gives about sixty; `raw` or `0`: samples as stored."""
    if text in ("raw", "0"):
        return 0
    if text:
        return round(duration_s(text) * 1000)
    wanted_s = max(range_ms, 0) / 1000 / WANTED_STEPS
    return 1000 * next((step for step in STEPS_S if step >= wanted_s), STEPS_S[-1])
