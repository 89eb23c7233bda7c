"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """OK: as it should be. NOTE: worth knowing, works all the same. WRONG: does not work; the exit code says so."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about a subject, and what to do when it is not ok."""

    subject: str
    verdict: Verdict
    text: str
    advice: str = ""


def ok(subject: str, text: str) -> Finding:
    """Everything is as it should be."""
    return Finding(subject, Verdict.OK, text)


def note(subject: str, text: str, advice: str = "") -> Finding:
    """Worth knowing."""
    return Finding(subject, Verdict.NOTE, text, advice)


def wrong(subject: str, text: str, advice: str = "") -> Finding:
    """Does not work."""
    return Finding(subject, Verdict.WRONG, text, advice)
