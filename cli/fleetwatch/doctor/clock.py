"""Whether this machine's clock can be trusted: samples carry its time."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fleetwatch.doctor.findings import Finding, note, ok, wrong

if TYPE_CHECKING:
    from fleetwatch_storage.hosts import Host

TIME_ERROR = 5
"""What adjtimex(2) returns while the kernel clock is not synchronised."""
TIMEX_BYTES = 512
"""More than struct timex has on any Linux; zero in its first field means: change nothing."""
SKEW_MS = 5000.0
"""Beyond this a host's samples are visibly at the wrong time (delivery rules, clocks)."""


def check_clock() -> Iterator[Finding]:
    """Whether the kernel says its clock is synchronised."""
    synchronised = kernel_clock_synchronised()
    if synchronised:
        yield ok("clock", "the kernel's clock is synchronised")
    elif synchronised is None:
        yield note("clock", "this system does not say whether its clock is synchronised")
    else:
        yield note(
            "clock",
            "the kernel's clock is not synchronised",
            "run a time service: apt install systemd-timesyncd or chrony",
        )


def kernel_clock_synchronised() -> bool | None:
    """None where the system does not say."""
    if sys.platform != "linux":
        return None
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    return None if state < 0 else state != TIME_ERROR


def check_skew(hosts: Sequence[Host]) -> Iterator[Finding]:
    """Hosts whose clock differs from the collector's."""
    for host in hosts:
        if abs(host.clock_offset_ms) > SKEW_MS:
            yield wrong(
                "clock",
                f"the clock of {host.name} is {host.clock_offset_ms / 1000:+.1f} s from the collector's",
                "run a time service on both",
            )
