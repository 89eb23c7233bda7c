"""What alerting raises, and what a receiver answers: each says whether trying again helps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class AlertingError(Exception):
    """Anything this package raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a rule file. `line` and `column` count from 1; `path` is where in the structure, dotted."""

    file: str
    line: int
    column: int
    message: str
    path: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: {self.message}"
        return f"{place}  [{self.path}]" if self.path else place


class RuleFileError(AlertingError):
    """A rule file that cannot be used; `problems` are all that is wrong with it, in the file's order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, problems)))


class EgressRefused(AlertingError):
    """An address that receivers must not reach; trying again does not help, changing the settings does."""
