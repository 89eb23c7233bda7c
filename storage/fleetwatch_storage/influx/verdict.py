"""What an answer to a write means: stored, refused lines, too big, or hold and try again. Pure."""

from __future__ import annotations

import email.utils
import re
from dataclasses import dataclass
from enum import StrEnum

from fleetwatch_storage.errors import StoreUnavailable
from fleetwatch_storage.influx.http import Answer

_LONGEST_RETRY_AFTER_S = 3600.0
_DATA_ERRORS = (
    "partial write",
    "unable to parse",
    "field type conflict",
    "max-values-per-tag",
    "max-series-per-database",
    "points beyond retention",
    "outside retention",
    "max key length exceeded",
)
_FULL = re.compile(r"no space left|disk quota|writing WAL entry|engine is closed|input/output error", re.IGNORECASE)
_DROPPED = re.compile(r"dropped=(\d+)")


class Meaning(StrEnum):
    """What became of the lines."""

    STORED = "stored"
    DATA = "data"
    """Some lines were refused for a known reason, the others are stored."""
    UNKNOWN = "unknown"
    """Refused in words nobody knows: a bad line or a wrong configuration."""
    TOO_BIG = "too big"
    HOLD = "hold"
    """Nothing is promised; the same again later."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The meaning of an answer.

    `words` are the server's, `reason` is StoreUnavailable's word, `dropped` how many lines the server says it refused.
    """

    meaning: Meaning
    words: str = ""
    reason: str = ""
    dropped: int = 0
    retry_after_s: float | None = None


def judge(answer: Answer, now_s: float) -> Verdict:
    """The verdict on an answer to a write; `now_s` is unix time, for Retry-After as a date."""
    status, words = answer.status, answer.error
    if 200 <= status < 300:
        return Verdict(Meaning.STORED)
    if status == 413:
        return Verdict(Meaning.TOO_BIG, words or "the request is too large")
    if status in (400, 422):
        known = any(one in words for one in _DATA_ERRORS)
        dropped = _DROPPED.search(words)
        return Verdict(Meaning.DATA if known else Meaning.UNKNOWN, words, dropped=int(dropped[1]) if dropped else 0)
    return Verdict(
        Meaning.HOLD,
        words,
        _reason(status, words),
        retry_after_s=retry_after_s(answer.headers.get("retry-after"), now_s),
    )


def _reason(status: int, words: str) -> str:
    if status in (401, 403):
        return "auth"
    if status == 404 or "retention policy not found" in words:
        return "missing"
    if status in (408, 425, 429, 503):
        return "busy"
    return "full" if _FULL.search(words) else "down"


def retry_after_s(text: str | None, now_s: float) -> float | None:
    """Seconds of a Retry-After header (a number or a date), between 0 and an hour; None when there is none."""
    if text is None:
        return None
    if re.fullmatch(r"\d+", text.strip()):
        return min(float(text), _LONGEST_RETRY_AFTER_S)
    try:
        at = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return min(max(at.timestamp() - now_s, 0.0), _LONGEST_RETRY_AFTER_S)


def unavailable(verdict: Verdict, status: int, url: str, database: str) -> StoreUnavailable:
    """The error of a verdict that holds, in words that say what to do."""
    said = f": {verdict.words}" if verdict.words else ""
    advice = {
        "auth": "it does not accept the user or token (or these may not write): check influx_token_file or influx_user",
        "missing": f"it has no database or bucket {database!r}: create it, or allow it with influx_create = true",
        "full": "its disk is full: free space; InfluxDB 1 has to be restarted afterwards",
        "busy": "it is overloaded",
        "down": "it cannot take the write now",
    }[verdict.reason]
    return StoreUnavailable(
        f"InfluxDB at {url} answered {status}: {advice}{said}",
        reason=verdict.reason,
        retry_after_s=verdict.retry_after_s,
    )
