"""What every reader is made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fleetwatch_agent.readers.source import Files
from fleetwatch_agent.samples import Reader
from fleetwatch_agent.settings import AgentSettings


@dataclass(frozen=True, slots=True)
class Context:
    """`clock` returns seconds that only rise; it is what rates are divided by."""

    files: Files
    settings: AgentSettings
    clock: Callable[[], float]
    statvfs: Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Subsystem:
    """One line of the table of readers.

    `reads` says in words which files and sockets it reads. `slow` readers run only every `processes_every`; between,
    their fields are absent. `make` returns the reader, or raises when this machine has nothing for it.
    """

    name: str
    reads: tuple[str, ...]
    make: Callable[[Context], Reader]
    slow: bool = False
