"""The questions pages ask the store, as data. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fleetwatch_storage.query import Matcher, Op, Query, Transform

from fleetwatch_dashboard.times import Span

SPARK_POINTS = 60
PROCESS_WINDOW_MS = 90_000
HISTORY_MS = 7 * 86_400_000
RATE_WINDOW_MS = 180_000
RATE_STEP_MS = 60_000

PROCESS_FIELDS = ("pid", "name", "user", "cpu_percent", "rss", "read_bytes", "write_bytes", "threads", "started")
_TOTAL = Matcher("cpu", Op.EQ, "cpu-total")
_REAL_INTERFACE = Matcher("interface", Op.NE, "lo")


def spark_step(span: Span) -> int:
    """The step of a sparkline over a span."""
    return max(1000, (span.end_ms - span.start_ms) // SPARK_POINTS)


def sparkline_cpu(span: Span, hosts: Sequence[str] = ()) -> Query:
    """Processor use of these hosts (all when empty): one question for a whole page."""
    return _stepped("cpu", ("usage_active",), span, (_TOTAL, *among(hosts)))


def sparkline_mem(span: Span, hosts: Sequence[str] = ()) -> Query:
    """Memory use of these hosts (all when empty)."""
    return _stepped("mem", ("used_percent",), span, among(hosts))


def net_now(now_ms: int, hosts: Sequence[str] = ()) -> Query:
    """Bytes per second in and out over all real interfaces of each host, per minute, the last minutes."""
    return Query(
        "net", ("bytes_recv", "bytes_sent"), now_ms - RATE_WINDOW_MS, now_ms, RATE_STEP_MS, ("avg",), Transform.RATE,
        (_REAL_INTERFACE, *among(hosts)), ("host",), "sum",
    )  # fmt: skip


def tile_lines(span: Span, host: str, mount: str) -> dict[str, Query]:
    """What the sparklines of the tiles are drawn from, by tile."""
    where = (Matcher("host", Op.EQ, host),)
    step = spark_step(span)
    return {
        "cpu": _stepped("cpu", ("usage_active",), span, (*where, _TOTAL)),
        "mem": _stepped("mem", ("used_percent",), span, where),
        "swap": _stepped("swap", ("used_percent",), span, where),
        "disk": _stepped("disk", ("used_percent",), span, (*where, Matcher("path", Op.EQ, mount))),
        "pressure": _stepped(
            "pressure", ("avg10",), span,
            (*where, Matcher("resource", Op.EQ, "io"), Matcher("type", Op.EQ, "some")),
        ),
        "net": Query(
            "net", ("bytes_recv", "bytes_sent"), span.start_ms, span.end_ms, step, ("avg",), Transform.RATE,
            (*where, _REAL_INTERFACE), ("host",), "sum",
        ),
    }  # fmt: skip


def disk_history(now_ms: int, host: str) -> Query:
    """Used bytes of every mount over the last week."""
    where = (Matcher("host", Op.EQ, host),)
    return Query("disk", ("used",), now_ms - HISTORY_MS, now_ms, 4 * 3_600_000, ("last",), where=where)


def processes_at(at_ms: int, host: str) -> Query:
    """The process tables of a host up to a moment."""
    where = (Matcher("host", Op.EQ, host),)
    return Query("process_top", PROCESS_FIELDS, at_ms - PROCESS_WINDOW_MS, at_ms + 1, where=where)


def _stepped(measurement: str, fields: tuple[str, ...], span: Span, where: tuple[Matcher, ...]) -> Query:
    return Query(measurement, fields, span.start_ms, span.end_ms, spark_step(span), where=where)


def among(hosts: Sequence[str]) -> tuple[Matcher, ...]:
    """Conditions that leave only these hosts; none when empty."""
    return (Matcher("host", Op.RE, "|".join(map(re.escape, hosts))),) if hosts else ()
