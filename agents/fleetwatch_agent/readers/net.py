"""Traffic of network interfaces, from /proc/net/dev and /sys/class/net."""

from __future__ import annotations

from fnmatch import fnmatchcase

from fleetwatch_agent.readers.context import Context
from fleetwatch_agent.samples import Reader, Series, Values

READS = ("/proc/net/dev", "/sys/class/net/*/flags and speed, once a minute")

_TRAFFIC = ("bytes_sent", "bytes_recv", "packets_sent", "packets_recv")
_FIELDS = (*_TRAFFIC, "err_in", "err_out", "drop_in", "drop_out", "speed")
_UP = 0x1
_LOOK_AGAIN_S = 60.0


def make(context: Context) -> Reader:
    """One row of `net` per interface that is up."""
    return NetReader(context)


class NetReader:
    """Asks for flags and speed once a minute only: the driver answers those, some slowly."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._links: dict[bytes, tuple[Series, float] | None] = {}
        self._looked_at = 0.0

    def __call__(self) -> Values:
        now = self._context.clock()
        if now - self._looked_at >= _LOOK_AGAIN_S:
            self._links, self._looked_at = {}, now
        readings: Values = []
        for line in self._context.files.read("proc/net/dev").split(b"\n")[2:]:
            name, colon, numbers = line.partition(b":")
            if not colon:
                continue
            name = name.strip()
            link = self._links[name] if name in self._links else self._look(name)
            if link:
                readings.append((link[0], _row(numbers, link[1])))
        return readings

    def _look(self, name: bytes) -> tuple[Series, float] | None:
        """Series and speed of an interface; None when it is down or left out."""
        text, files = name.decode("utf-8", "replace"), self._context.files
        link = None
        flags = files.text(f"sys/class/net/{text}/flags")
        ignored = any(fnmatchcase(text, pattern) for pattern in self._context.settings.net_ignore)
        if not ignored and int(flags or "0x1", 16) & _UP:
            speed = files.text(f"sys/class/net/{text}/speed")
            link = (Series("net", (("interface", text),), _FIELDS), float(speed or -1))
        self._links[name] = link
        return link


def _row(numbers: bytes, speed: float) -> list[float]:
    counts = list(map(float, numbers.split()))
    received, sent = counts[:4], counts[8:12]
    return [sent[0], received[0], sent[1], received[1], received[2], sent[2], received[3], sent[3], speed]
