"""Which processes are worth showing: pure choice, and the table that travels."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable
from operator import attrgetter

from fleetwatch_proto.v1.ingest_pb2 import ProcessTable

ROWS = 20
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Process:
    """One process as it is followed from pass to pass.

    `descriptor` of its stat file, -1 where there are too many to keep open; `stat` the kernel's text; `state` a place
    in the counts; `ticks` of processor time used; `cpu_percent` of one core; `rss` bytes; `read_rate` and `write_rate`
    bytes per second; `started` ticks after boot; `io` bytes read and written when last looked at, at `io_at`.
    """

    __slots__ = (
        "cpu_percent",
        "descriptor",
        "io",
        "io_at",
        "name",
        "pid",
        "read_rate",
        "rss",
        "started",
        "stat",
        "state",
        "threads",
        "ticks",
        "write_rate",
    )

    def __init__(self, pid: int, descriptor: int = -1) -> None:
        self.pid = pid
        self.descriptor = descriptor
        self.name = self.stat = b""
        self.state = 0
        self.ticks = self.threads = self.started = self.rss = 0
        self.cpu_percent = self.io_at = self.read_rate = self.write_rate = 0.0
        self.io: tuple[int, int] | None = None


_ORDERS = ("cpu_percent", "rss", "read_rate", "write_rate")


def top(processes: Iterable[Process], rows: int = ROWS) -> list[Process]:
    """The union of the first by CPU, memory, read and write, each order giving one in turn; ordered by CPU, then
    memory.

    An order stops giving where its figure is 0.
    """
    everything = list(processes)
    ranked = [
        heapq.nlargest(rows, [one for one in everything if getattr(one, order) > 0], key=attrgetter(order))
        for order in _ORDERS
    ]
    chosen: dict[int, Process] = {}
    for place in range(rows):
        for order in ranked:
            if place < len(order) and len(chosen) < rows:
                chosen.setdefault(order[place].pid, order[place])
    return sorted(chosen.values(), key=lambda one: (-one.cpu_percent, -one.rss, one.pid))


def table(rows: Iterable[tuple[Process, str]], boot_s: int, hertz: int, with_names: bool) -> bytes:
    """Processes and their owners as a serialised ProcessTable, in the order given."""
    made = ProcessTable()
    for one, user in rows:
        made.pid.append(one.pid)
        made.name.append(_CONTROL.sub("?", one.name.decode("utf-8", "replace")) if with_names else "")
        made.user.append(user if with_names else "")
        made.cpu_percent.append(one.cpu_percent)
        made.rss.append(one.rss)
        made.read_bytes.append(one.read_rate)
        made.write_bytes.append(one.write_rate)
        made.threads.append(one.threads)
        made.started_ms.append(boot_s * 1000 + one.started * 1000 // hertz)
    return made.SerializeToString()
