"""A fleet of simulated agents over the real protocol in one process, and the tally of what happened to it."""

from __future__ import annotations

import asyncio
import random
import resource
import time
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from fleetwatch_proto import PROTOCOL

from tests.support import simulated_agent
from tests.support.conditions import wait_until_async


def identity(agent: str) -> list[tuple[str, str]]:
    """The call metadata that tells a collector on loopback who calls."""
    return [("fleetwatch-agent-id", agent), ("fleetwatch-host", agent)]


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """What the fleet does. Rows are sampled every `interval_s`; a batch holds `rows` of them."""

    host: str = "127.0.0.1"
    port: int = 7400
    agents: int = 100
    first_agent: int = 0  # number of the first one: several processes make up one fleet
    prefix: str = "sim"
    interval_s: float = 10.0
    rows: int = 1
    encoding: str = "bitmap"  # bitmap, raw, zlib
    connect_over_s: float = 1.0  # first connections are spread over this time
    backoff_s: float = 0.5  # upper end of the first back-off; doubled each time up to `max_backoff_s`
    max_backoff_s: float = 8.0
    silence_s: float = 30.0  # something in flight and no answer for so long: connect again
    batches: int = 0  # each agent stops sampling after so many; 0: never
    flood: bool = False  # sample whenever the window has room, times counted on from `start_ms`
    start_ms: int = 0
    seed: int = 1
    protocol: int = PROTOCOL  # what the agents say they speak
    identity: Callable[[str], list[tuple[str, str]]] = identity


@dataclass(slots=True)
class Tally:
    """What happened, summed over agents. Latencies in seconds."""

    points_issued: int = 0
    points_acked: int = 0
    batches_acked: int = 0
    points_sent: int = 0  # resent ones again
    batches_refused: int = 0  # nacked for good
    bytes_sent: int = 0  # of messages, before HTTP/2
    connects: int = 0  # calls that were opened
    welcomes: int = 0
    ack_s: array[float] = field(default_factory=lambda: array("d"))  # last sending to acknowledgement
    delivery_s: array[float] = field(default_factory=lambda: array("d"))  # sample taken to acknowledgement
    closed: Counter[str] = field(default_factory=Counter)  # why calls ended
    nacks: Counter[str] = field(default_factory=Counter)

    def ack_percentile_s(self, share: float) -> float:
        """Of the time from the last sending to the acknowledgement; NaN when nothing was acknowledged."""
        return float(np.quantile(np.array(self.ack_s), share)) if self.ack_s else float("nan")

    def forget_latencies(self) -> None:
        """Latencies are those from now on."""
        self.ack_s, self.delivery_s = array("d"), array("d")

    def add(self, other: Tally) -> None:
        """Takes over the figures of another process's fleet."""
        for name in self.__slots__:
            mine = getattr(self, name)
            if isinstance(mine, Counter):
                mine.update(getattr(other, name))
            else:
                setattr(self, name, mine + getattr(other, name))


class Fleet:
    """The agents of one process. Start and stop it on the event loop that runs it."""

    def __init__(self, settings: LoadSettings) -> None:
        rng = random.Random(settings.seed * 1_000_003 + settings.first_agent)
        numbers = range(settings.first_agent, settings.first_agent + settings.agents)
        self.settings, self.tally = settings, Tally()
        self.agents = [
            simulated_agent.SimulatedAgent(f"{settings.prefix}-{number:05}", settings, self.tally, rng)
            for number in numbers
        ]
        self._watchdog: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Agents connect and sample from now on, spread evenly."""
        allow_open_files(len(self.agents) + 200)
        count = len(self.agents)
        for place, agent in enumerate(self.agents):
            share = place / count
            agent.start(share * self.settings.connect_over_s, share * self.settings.interval_s * self.settings.rows)
        self._watchdog = asyncio.create_task(self._look_for_silence())

    async def stop(self) -> None:
        """Ends all calls; what is unacknowledged stays in the agents' spools."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        for agent in self.agents:
            agent.stop()
        await asyncio.sleep(0)

    @property
    def connected(self) -> int:
        """Agents that the collector has welcomed on the call they have open."""
        return sum(agent.connected for agent in self.agents)

    @property
    def unacked(self) -> int:
        """Batches in all spools."""
        return sum(agent.unacked for agent in self.agents)

    async def all_connected(self, within_s: float = 30.0) -> None:
        """Waits until every agent is welcomed."""
        await wait_until_async(
            lambda: self.connected == len(self.agents), within_s=within_s, what="every simulated agent connected"
        )

    async def all_acked(self, within_s: float = 60.0) -> None:
        """Waits until every agent has sampled its `batches` and all spools are empty."""
        await wait_until_async(
            lambda: all(agent.exhausted and not agent.unacked for agent in self.agents),
            within_s=within_s,
            what="every batch acknowledged",
        )

    async def _look_for_silence(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            now = time.monotonic()
            for agent in self.agents:
                agent.check_silence(now)


def allow_open_files(count: int) -> None:
    """Raises the soft limit of open files to what is needed.

    Raises:
        OSError: the hard limit is lower.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and count > hard:
        raise OSError(f"{count} open files are needed, this process may have {hard}: use more load processes")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
