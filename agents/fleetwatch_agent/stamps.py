"""Time stamps that never repeat, however the wall clock jumps.

A batch with the series and time of a stored one overwrites it, so an agent whose clock was set back must not use an old
stamp again. Stamps therefore lie in one of eight classes, the remainders modulo 8 ms, and within a class they only
rise. After a step back another class is taken, whose stamps all lie before the new time. The state is kept with the
spool. Rounding to a class moves a stamp by at most 4 ms.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

CLASSES = 8
_FORGET_MS = 24 * 3600 * 1000
_STEP_MS = 2000
_FORMAT = f"<{CLASSES + 1}q"


@dataclass(frozen=True, slots=True)
class Stamps:
    """`current` is the class in use; `highest` the last stamp given in each class, unix milliseconds."""

    current: int = 0
    highest: tuple[int, ...] = (-1,) * CLASSES

    def pack(self) -> bytes:
        """The state as bytes for the spool."""
        return struct.pack(_FORMAT, self.current, *self.highest)

    @classmethod
    def unpack(cls, data: bytes) -> Stamps:
        """The state from the spool; a fresh one when the bytes are not one."""
        if len(data) != struct.calcsize(_FORMAT):
            return cls()
        current, *highest = struct.unpack(_FORMAT, data)
        return cls(current % CLASSES, tuple(highest))

    def merged(self, other: Stamps) -> Stamps:
        """The state after both: `other` is the later one."""
        return Stamps(other.current, tuple(map(max, self.highest, other.highest)))

    def used(self, time_ms: int) -> Stamps:
        """The state after a stamp was given."""
        one = time_ms % CLASSES
        return Stamps(one, (*self.highest[:one], time_ms, *self.highest[one + 1 :]))


def stamp(state: Stamps, wall_ms: int) -> tuple[Stamps, int | None]:
    """The stamp of a sample read at `wall_ms`, and the state after it.

    None when every class has stamps later than `wall_ms`: the sample must be dropped, for any stamp could overwrite. A
    clock that was far ahead eight times must not silence the host for ever: classes more than a day ahead are forgotten
    then.
    """
    order = [state.current, *sorted(range(CLASSES), key=lambda one: state.highest[one])]
    for one in order:
        time = _nearest(wall_ms, one)
        if time > state.highest[one]:
            return state.used(time), time
    furthest = max(range(CLASSES), key=lambda one: state.highest[one])
    if state.highest[furthest] > wall_ms + _FORGET_MS:
        time = _nearest(wall_ms, furthest)
        return state.used(time), time
    return state, None


def stepped(offset_before_ms: int, offset_ms: int) -> bool:
    """Whether the wall clock jumped between two readings of wall clock less boot-time clock."""
    return abs(offset_ms - offset_before_ms) > _STEP_MS


def _nearest(wall_ms: int, one: int) -> int:
    """The time of a class nearest to `wall_ms`."""
    half = CLASSES // 2
    return wall_ms + half - (wall_ms + half - one) % CLASSES
