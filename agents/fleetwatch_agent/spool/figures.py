"""How large a spool may be, and how it stands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """`size` bytes the spool may have, `keep_free` bytes it leaves free on its disk."""

    size: int
    keep_free: int = 0


@dataclass(frozen=True, slots=True)
class Figures:
    """How the spool stands. `bytes` are those in use when a batch was last closed; `lost_points` is of all time."""

    spool_id: str
    next_seq: int
    batches: int
    bytes: int
    lost_points: int
    durable: bool
