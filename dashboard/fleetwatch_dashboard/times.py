"""Times as people and programs write them, and the range a page or an answer is about. Unix milliseconds inside."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from fleetwatch_proto.settings import duration_s

from fleetwatch_dashboard.problems import Problem

RANGES: tuple[tuple[str, str], ...] = (
    ("5m", "5 minutes"),
    ("1h", "1 hour"),
    ("6h", "6 hours"),
    ("24h", "24 hours"),
    ("7d", "7 days"),
    ("30d", "30 days"),
    ("365d", "1 year"),
)
"""Ranges of the picker, in the order of the keys 1 to 7."""

MAX_SPAN_MS = 20 * 366 * 86_400_000
_STEPS_S = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
_EARLIEST_MS, _LATEST_MS = 0, 4_102_444_800_000  # 1970 to 2100


@dataclass(frozen=True, slots=True)
class Span:
    """`[start_ms, end_ms)`; `range` is the text of a range that moves with the clock, "" when it stands still."""

    start_ms: int
    end_ms: int
    range: str = ""

    @property
    def query(self) -> str:
        """The span as a link carries it."""
        if self.range:
            return f"range={self.range}"
        return f"from={self.start_ms // 1000}&to={math.ceil(self.end_ms / 1000)}"

    @property
    def label(self) -> str:
        """The span as the picker's button shows it."""
        if self.range:
            return (
                self.range.replace("365d", "1y")
                .replace("h", " h")
                .replace("m", " m")
                .replace("d", " d")
                .replace("y", " y")
            )
        return length(self.end_ms - self.start_ms)


def span_of(*, now_ms: int, relative: str = "", start: str = "", end: str = "", default: str = "1h") -> Span:
    """The span of `?range=1h` or `?from=..&to=..`.

    Raises:
        Problem: a text that is no time, an end before the start.
    """
    if start or end:
        return _between(start or f"-{default}", end or "now", now_ms)
    text = relative or default
    return Span(now_ms - _relative(text, "range"), now_ms, text)


def moment(text: str, now_ms: int, field: str) -> int:
    """Unix milliseconds of `now`, `-1h`, unix seconds or an RFC 3339 time.

    Raises:
        Problem: none of these.
    """
    if text == "now":
        return now_ms
    if text.startswith("-"):
        return now_ms - _relative(text[1:], field)
    if re.fullmatch(r"\d{1,12}(\.\d{1,6})?", text):
        return _within(int(float(text) * 1000), field, text)
    try:
        # A plus in a query string arrives as a blank.
        parsed = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError as error:
        wanted = "write now, -1h, unix seconds or 2026-11-19T02:58:30Z"
        raise Problem(400, f"{field} is not a time: {wanted}", field=field, value=text) from error
    aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    return _within(int(aware.timestamp() * 1000), field, text)


def step_for(span_ms: int, points: int) -> int:
    """The shortest round step in milliseconds that needs at most `points` steps."""
    wanted = span_ms / 1000 / max(1, points)
    for step in _STEPS_S:
        if step >= wanted:
            return step * 1000
    return math.ceil(wanted / 86_400) * 86_400_000


def length(milliseconds: float) -> str:
    """A length of time in its two largest units: `14 m 10 s`, `1 h 32 m`, `41 d`."""
    seconds = max(0, round(milliseconds / 1000))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return _two(seconds, 60, "m", 1, "s")
    if seconds < 86_400:
        return _two(seconds, 3600, "h", 60, "m")
    return _two(seconds, 86_400, "d", 3600, "h") if seconds < 10 * 86_400 else f"{seconds // 86_400} d"


def brief(milliseconds: float) -> str:
    """The same without seconds once there are minutes, for where space is short."""
    return length(milliseconds // 60_000 * 60_000 if milliseconds >= 60_000 else milliseconds)


def clock(at_ms: int) -> str:
    """The time of day in UTC; pages show it in the reader's zone once their script runs."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%H:%M:%S}"


def rfc3339(at_ms: int) -> str:
    """UTC with milliseconds."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _between(start: str, end: str, now_ms: int) -> Span:
    from_ms, to_ms = moment(start, now_ms, "from"), moment(end, now_ms, "to")
    if to_ms <= from_ms:
        raise Problem(400, "to must be later than from", field="to", value=end)
    return Span(from_ms, to_ms)


def _relative(text: str, field: str) -> int:
    try:
        span = int(duration_s(text) * 1000)
    except ValueError as error:
        raise Problem(400, f"{field}: {error}", field=field, value=text) from error
    if not 1000 <= span <= MAX_SPAN_MS:
        raise Problem(400, f"{field} must be between 1 s and 20 years", field=field, value=text)
    return span


def _within(at_ms: int, field: str, text: str) -> int:
    if not _EARLIEST_MS <= at_ms <= _LATEST_MS:
        raise Problem(400, f"{field} must be between 1970 and 2100", field=field, value=text)
    return at_ms


def _two(seconds: int, big: int, big_name: str, small: int, small_name: str) -> str:
    rest = seconds % big // small
    return f"{seconds // big} {big_name}" + (f" {rest} {small_name}" if rest else "")
