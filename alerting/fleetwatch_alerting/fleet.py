"""The hosts at one moment, as rules need them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from fleetwatch_storage.hosts import Host
from fleetwatch_storage.query import Matcher

from fleetwatch_alerting.engine import Missing

_ALIVE_MS = 90_000
_LONGEST_INTERVAL_MS = 100_000


@dataclass(frozen=True, slots=True, eq=False)
class Fleet:
    """Hosts by name at `now_ms` of the server's clock; `interval_ms` is the collection interval to reckon with.

    `replayed`: this is an evaluation of the past, and who was alive then is unknown.
    """

    hosts: Mapping[str, Host]
    now_ms: int
    interval_ms: int
    replayed: bool = False

    def missing(self, host: str) -> Missing:
        """What it means that a series of this host has no value. `host` empty: a group over several hosts."""
        if self.replayed or not self.hosts:
            return Missing.HOST
        if not host:
            return Missing.SERIES if any(map(self._alive, self.hosts.values())) else Missing.HOST
        found = self.hosts.get(host)
        if found is None:
            return Missing.RETIRED
        return Missing.SERIES if self._alive(found) else Missing.HOST

    def _alive(self, host: Host) -> bool:
        return _is_alive(host, self.now_ms)


def at(hosts: Sequence[Host], now_ms: int, *, replayed: bool = False) -> Fleet:
    """The fleet of these hosts; its interval is the longest in use, within reason."""
    longest = max((host.interval_ms for host in hosts if _is_alive(host, now_ms)), default=10_000)
    by_name = {host.name: host for host in hosts}
    return Fleet(by_name, now_ms, min(longest, _LONGEST_INTERVAL_MS), replayed)


def _is_alive(host: Host, now_ms: int) -> bool:
    return now_ms - host.last_seen_ms <= max(_ALIVE_MS, 3 * host.interval_ms)


def silence_s(hosts: Sequence[Host], now_ms: int) -> npt.NDArray[np.float64]:
    """Seconds (n,) since each host was last heard of, by the server's clock.

    An announced stop counts from the moment the host is expected back, a host never heard of from its first entry.
    """
    heard = [max(host.last_seen_ms or host.first_seen_ms, host.goodbye_until_ms) for host in hosts]
    return (now_ms - np.array(heard, np.float64)) / 1000.0


def matches(host: Host, where: Sequence[Matcher]) -> bool:
    """Whether a host satisfies matchers on its name and tags."""
    tags = {**host.tags, "host": host.name}
    return all(matcher.accepts(tags.get(matcher.tag, "")) for matcher in where)
