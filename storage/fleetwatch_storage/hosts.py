"""Hosts as the fleet knows them: identity, tags, facts and how complete their data is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Facts:
    """What a host says it is; texts are empty and numbers 0 where unknown. Times are unix milliseconds."""

    os: str = ""
    kernel: str = ""
    architecture: str = ""
    cpu_model: str = ""
    cores: int = 0
    threads: int = 0
    memory_bytes: int = 0
    virtualization: str = ""
    boot_time_ms: int = 0
    address: str = ""


@dataclass(frozen=True, slots=True)
class Completeness:
    """Batches of a host by sequence number since it was first seen.

    `duplicates` were already stored when they came, `late` came after newer ones, `lost` never will.
    """

    expected: int = 0
    received: int = 0
    duplicates: int = 0
    late: int = 0
    lost: int = 0

    @property
    def share(self) -> float:
        """Received of expected, 0 to 1; 1 when nothing was expected."""
        return min(1.0, self.received / self.expected) if self.expected else 1.0


@dataclass(frozen=True, slots=True)
class Host:
    """One host. `goodbye_until_ms`: it announced a stop and is expected back by then (0: it did not)."""

    name: str
    agent_id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    facts: Facts = field(default_factory=Facts)
    agent_version: str = ""
    first_seen_ms: int = 0
    last_seen_ms: int = 0
    interval_ms: int = 10_000
    connected: bool = False
    goodbye_until_ms: int = 0
    clock_offset_ms: float = 0.0
    completeness: Completeness = field(default_factory=Completeness)
