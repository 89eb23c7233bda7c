"""Which names are taken: everything an agent sends is hostile text."""

from __future__ import annotations

import re

NAME_BYTES = 128
TAGS = 16
KEY_BYTES = 64
VALUE_BYTES = 256

_AGENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_RESERVED_TAGS = frozenset({"host", "time"})


def agent_id_problem(text: str) -> str:
    """What is wrong with an agent id, in words; empty when nothing is."""
    if _AGENT_ID.fullmatch(text):
        return ""
    return f"agent id {text[:64]!r}: 1 to 64 letters, digits, dashes and underscores are taken"


def host_problem(text: str) -> str:
    """What is wrong with a host name; empty when nothing is."""
    if _HOST.fullmatch(text):
        return ""
    return f"host name {text[:64]!r}: 1 to 128 letters, digits, dots, dashes, colons and underscores are taken"


def text_problem(what: str, text: str, limit: int) -> str:
    """What is wrong with a name or value of at most `limit` bytes of UTF-8; empty when nothing is."""
    if not text:
        return f"{what} is empty"
    if len(text) > limit or (not text.isascii() and len(text.encode()) > limit):
        return f"{what} {text[:32]!r}... has more than {limit} bytes"
    if not text.isprintable() and _CONTROL.search(text):
        return f"{what} {text[:64]!r} has a control character"
    return ""


def tags_problem(pairs: list[tuple[str, str]]) -> str:
    """What is wrong with tags; empty when nothing is. An empty value is allowed and equals the tag's absence."""
    if len(pairs) > TAGS:
        return f"{len(pairs)} tags; at most {TAGS} are taken"
    if len({key for key, _ in pairs}) < len(pairs):
        return f"a tag is given twice in {[key for key, _ in pairs]}"
    for key, value in pairs:
        if key in _RESERVED_TAGS:
            return f"a tag must not be called {key!r}"
        problem = text_problem("tag key", key, KEY_BYTES) or (
            text_problem(f"tag {key!r}: value", value, VALUE_BYTES) if value else ""
        )
        if problem:
            return problem
    return ""


def printable(text: str, limit: int = VALUE_BYTES) -> str:
    """`text` cut to `limit` characters, with control characters replaced: for names that are shown, never looked up."""
    text = text[:limit]
    return text if text.isprintable() else _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
