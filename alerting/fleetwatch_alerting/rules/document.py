"""A YAML document whose every value knows its place, and a reader that collects all problems instead of stopping.

YAML 1.2: `on`, `no` and `22:00` are text. Nodes are read without being turned into Python objects first, so that each
message has a line and a column, and duplicate keys are seen.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from fleetwatch_alerting.errors import Problem
from fleetwatch_alerting.spelling import suggestion

T = TypeVar("T")
D = TypeVar("D")
MAX_BYTES = 1 << 20

_STR = "tag:yaml.org,2002:str"


@dataclass(slots=True)
class Problems:
    """Collects what is wrong with one file, each thing once however often it is read."""

    file: str
    found: list[Problem] = field(default_factory=list)

    def add(self, node: Any, message: str, path: str) -> None:
        """Notes a problem at the start of a node."""
        mark = node.start_mark
        problem = Problem(self.file, mark.line + 1, mark.column + 1, message, path)
        if problem not in self.found:
            self.found.append(problem)


def parse(text: str, problems: Problems) -> Any | None:
    """The root node, or None with the reason among the problems."""
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        problems.found.append(Problem(problems.file, 1, 1, f"larger than {MAX_BYTES} bytes"))
        return None
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        problems.found.append(_syntax(problems.file, text, error))
    except (YAMLError, RecursionError, ValueError) as error:
        said = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        problems.found.append(Problem(problems.file, 1, 1, f"not YAML: {said}"))
    else:
        if root is not None:
            return root
        problems.found.append(Problem(problems.file, 1, 1, "the file is empty"))
    return None


def _syntax(file: str, text: str, error: MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    lines = text.splitlines()
    written = lines[line - 1] if line <= len(lines) else ""
    return Problem(file, line, column, _block_scalar(written) or f"not YAML: {error.problem or error.context}")


def _block_scalar(line: str) -> str:
    """The hint for `threshold: > 90`, where YAML reads a folded text."""
    key, _, value = line.partition(":")
    if not value.strip().startswith(">"):
        return ""
    number = value.strip().lstrip(">=").strip() or "90"
    word = "at_least" if value.strip().startswith(">=") else "above"
    indicator = f"YAML reads '>' as the start of a block of text; write  {word}: {number}"
    return indicator if key.strip() else ""


class Mapping:
    """The fields of one mapping node, read one by one; `done` reports those that do not exist."""

    def __init__(self, node: Any, path: str, problems: Problems) -> None:
        self.node, self.path, self.problems = node, path, problems
        self._values: dict[str, tuple[Any, Any]] = {}
        self._mistyped: set[str] = set()
        if node.id != "mapping":
            self.problem(f"expected a mapping of names to values, not {described(node)}")
            return
        for key, value in node.value:
            self._take(key, value)

    def _take(self, key: Any, value: Any) -> None:
        if key.id != "scalar":
            self.problems.add(key, "a name must be plain text", self.path)
        elif key.value in self._values:
            first = self._values[key.value][0].start_mark.line + 1
            self.problems.add(key, f'found duplicate key "{key.value}"; first on line {first}', self.at(key.value))
        else:
            self._values[key.value] = (key, value)

    def at(self, key: str) -> str:
        """The path of a field."""
        return f"{self.path}.{key}" if self.path else key

    def problem(self, message: str, key: str = "") -> None:
        """Notes a problem at a field, or at the mapping itself."""
        if key in self._values:
            self.problems.add(self._values[key][0], message, self.at(key))
        else:
            self.problems.add(self.node, message, self.at(key) if key else self.path)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def names(self) -> list[str]:
        """All names, in the file's order."""
        return list(self._values)

    def value(self, key: str) -> Any | None:
        """The node of a field."""
        return self._values[key][1] if key in self._values else None

    def get(self, key: str, convert: Callable[[Any], T], default: D) -> T | D:
        """A field as `convert(node)` reads it; a ValueError from it becomes a problem, and the default stands."""
        node = self.value(key)
        if node is None or is_null(node):
            return default
        try:
            return convert(node)
        except ValueError as error:
            self.problem(str(error), key)
            return default

    def child(self, key: str) -> Mapping | None:
        """A field that is itself a mapping."""
        node = self.value(key)
        return None if node is None or is_null(node) else Mapping(node, self.at(key), self.problems)

    def children(self, key: str) -> list[Mapping]:
        """A field that is a list of mappings."""
        node = self.value(key)
        if node is None or is_null(node):
            return []
        if node.id != "sequence":
            self.problem(f"expected a list, not {described(node)}", key)
            return []
        return [Mapping(one, f"{self.at(key)}.{index}", self.problems) for index, one in enumerate(node.value)]

    def done(self, known: Sequence[str], later: Iterable[str] = ()) -> None:
        """Reports fields that are unknown, and those of the full language that this version does not do yet."""
        planned = set(later)
        for key in self._values:
            if key in planned:
                self.problem(f'"{key}" is not supported yet', key)
            elif key not in known:
                self._mistyped.update(difflib.get_close_matches(key, known, n=1))
                self.problem(f'unknown field "{key}"{suggestion(key, known)}', key)

    def missing(self, message: str, *keys: str) -> None:
        """Notes that a field is missing, unless it is there mistyped, which `done` has reported."""
        if not self._mistyped.intersection(keys) and not any(key in self for key in keys):
            self.problem(message)


def is_null(node: Any) -> bool:
    """Whether a value was left empty."""
    return bool(node.id == "scalar" and node.tag == "tag:yaml.org,2002:null")


def described(node: Any) -> str:
    """What a node is, in words."""
    if node.id == "mapping":
        return "a mapping"
    if node.id == "sequence":
        return "a list"
    return "nothing" if is_null(node) else f'"{node.value}"'


def is_text(node: Any) -> bool:
    """Whether a scalar is text: quoted, or not readable as anything else."""
    return bool(node.id == "scalar" and node.tag == _STR)
