"""Starting the parts of a process in order and stopping them in theirs, whatever happens on the way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fleetwatch_agent.settings import AgentSettings
from fleetwatch_proto.settings import load, read_secret
from fleetwatch_storage.remote import RemoteOptions, RemoteStore

from fleetwatch.process.machine_http import MachineHttp, Metrics, Readiness
from fleetwatch.process.stopping import stop_within
from fleetwatch.process.vitals import Vitals, VitalsWriter, Write


class Part(Protocol):
    """What the server parts and the local agent are: started once, stopped once, on the event loop."""

    async def start(self) -> None:
        """Returns when the part works."""

    async def stop(self) -> None:
        """Finishes what is in flight and lets go of everything."""


@dataclass(frozen=True, slots=True)
class Stop:
    """When a part is stopped (those of a smaller `turn` come first) and how long it may take."""

    turn: int
    within_s: float


class Parts(contextlib.AsyncExitStack):
    """The running parts; leaving the context closes what else was opened, then stops them by their turns."""

    def __init__(self) -> None:
        super().__init__()
        self._started: list[tuple[Stop, str, Part]] = []
        self.push_async_callback(self._stop)

    async def start(self, name: str, part: Part, stop: Stop) -> None:
        """Starts a part; one that fails while starting is stopped too."""
        self._started.append((stop, name, part))
        await part.start()

    async def _stop(self) -> None:
        for stop, name, part in sorted(self._started, key=lambda one: one[0].turn):
            await stop_within(name, part.stop, stop.within_s)

    def write_vitals(self, figures: Mapping[str, Vitals], write: Write, interval_s: float) -> None:
        """Stores the process's own measurements, under the name its host's agent uses, until the parts stop."""
        host = load(AgentSettings).host_name
        task = asyncio.create_task(VitalsWriter(figures, host, write, interval_s).run(), name="vitals")
        self.callback(task.cancel)

    def importer(self, collector: str, token_file: Path | None) -> Write:
        """Writes through a collector: its commit thread is the store's only writer, also within its own process."""
        token = read_secret(token_file) if token_file else ""
        remote = RemoteStore(collector, RemoteOptions(token, within_s=10.0))
        self.callback(remote.close)
        return remote.write

    def serve_machines(self, address: str, metrics: Metrics, readiness: Readiness) -> None:
        """/metrics, /healthz and /readyz at `address`; nothing when it is empty.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        if address:
            self.callback(MachineHttp(address, metrics, readiness).close)
