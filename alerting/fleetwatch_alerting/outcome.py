"""How an attempt ended, as a receiver's module reports it and the outbox acts on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

DEFAULT_PAUSE_MS = 30_000
LONGEST_PAUSE_MS = 3_600_000


class Kind(StrEnum):
    """What to do next."""

    SENT = "sent"
    RETRY = "retry"  # the same again later: the network, a timeout, an overloaded server
    PAUSE = "pause"  # the receiver asks for rest: nothing to it until then, and this was no failure
    SMALLER = "smaller"  # too large: again with half the alerts
    REJECTED = "rejected"  # it did not like this body: once more in the plainest form
    REFUSED = "refused"  # it does not want us: keep everything, look again in a while or when settings change


@dataclass(frozen=True, slots=True)
class Outcome:
    """`status` is the HTTP status or one word; `error` says why, without secrets; `reference` is the provider's."""

    kind: Kind
    status: str = ""
    error: str = ""
    retry_after_ms: int = DEFAULT_PAUSE_MS
    reference: str = ""


def retry_after_ms(value: str | None, now_s: float) -> int:
    """Milliseconds of a Retry-After header: whole seconds or an HTTP date; within bounds, half a minute when absent."""
    if not value:
        return DEFAULT_PAUSE_MS
    text = value.strip()
    if text.replace(".", "", 1).isdecimal():
        wait_ms = float(text) * 1000
    else:
        try:
            until = parsedate_to_datetime(text)
        except ValueError:
            return DEFAULT_PAUSE_MS
        aware = until if until.tzinfo else until.replace(tzinfo=UTC)
        wait_ms = (aware - datetime.fromtimestamp(now_s, UTC)).total_seconds() * 1000
    return int(min(max(wait_ms, 1000), LONGEST_PAUSE_MS))
