"""Clocks of the host, and waiting that a signal or another thread can end."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass

_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@dataclass(frozen=True, slots=True)
class Clocks:
    """`boot_ms` only rises and counts suspended time; `wall_ms` is unix time and may jump. Both in milliseconds."""

    boot_ms: Callable[[], int]
    wall_ms: Callable[[], int]

    def seconds(self) -> float:
        """Seconds that only rise."""
        return self.boot_ms() / 1000


def host_clocks() -> Clocks:
    """The clocks of this machine."""
    return Clocks(
        boot_ms=lambda: time.clock_gettime_ns(_SINCE_BOOT) // 1_000_000,
        wall_ms=lambda: time.time_ns() // 1_000_000,
    )


class Waker:
    """A wait that `wake` ends from any thread or signal handler."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._poll = select.poll()
        self._poll.register(self._read, select.POLLIN)

    def wait(self, seconds: float) -> None:
        """Returns after `seconds`, or at once when woken before or meanwhile."""
        if self._poll.poll(max(0.0, seconds) * 1000):
            os.read(self._read, 4096)

    def wake(self) -> None:
        """Ends a wait, the next one when none is under way."""
        try:
            os.write(self._write, b"!")
        except BlockingIOError:
            return

    def close(self) -> None:
        """Frees the descriptors."""
        os.close(self._read)
        os.close(self._write)
