"""How much one call of the parser takes, and the words in which it refuses the rest."""

from __future__ import annotations

import re
from dataclasses import dataclass

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class LineLimits:
    """Limits of one line and of one call; sizes in bytes of UTF-8."""

    tags: int = 16
    key_bytes: int = 64
    value_bytes: int = 256
    name_bytes: int = 128
    fields: int = 512
    """Different fields per measurement in one call."""
    line_bytes: int = 64 * 1024
    field_sets: int = 1000
    """Different combinations of measurement and fields in one call; bounds the memory of sparse rows."""
    reported: int = 1000
    """Refused lines that are named; all are counted."""


class BadLine(Exception):
    """One line that is refused; the text is the reason, for people."""


def check_text(what: str, text: str, limit: int) -> str:
    """`text`, when it is short enough and printable.

    Raises:
        BadLine: empty, too long, a control character, or not UTF-8.
    """
    if not text:
        raise BadLine(f"{what} is empty")
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        raise BadLine(f"{what} is not valid UTF-8") from None
    if size > limit:
        raise BadLine(f"{what} {text[:32]!r}... has {size} bytes; at most {limit} are taken")
    if _CONTROL.search(text):
        raise BadLine(f"{what} {text[:64]!r} has a control character")
    return text
