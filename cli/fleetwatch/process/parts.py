"""Starting the parts of a process in order and stopping them in the reverse, whatever happens on the way."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from typing import Protocol

from fleetwatch.process.machine_http import MachineHttp, Metrics, Readiness
from fleetwatch.process.stopping import stop_within
from fleetwatch.process.vitals import VitalsWriter


class Part(Protocol):
    """What the server parts and the local agent are: started once, stopped once, on the event loop."""

    async def start(self) -> None:
        """Returns when the part works."""

    async def stop(self) -> None:
        """Finishes what is in flight and lets go of everything."""


class Parts(contextlib.AsyncExitStack):
    """The running parts; leaving the context stops them, the last started first."""

    async def start(self, name: str, part: Part, stop_s: float) -> None:
        """Starts a part; one that fails while starting is stopped too."""
        self.push_async_callback(functools.partial(stop_within, name, part.stop, stop_s))
        await part.start()

    def write_vitals(self, writer: VitalsWriter) -> None:
        """Stores the process's own measurements until the parts stop."""
        task = asyncio.create_task(writer.run(), name="vitals")
        self.callback(task.cancel)

    def serve_machines(self, address: str, metrics: Metrics, readiness: Readiness) -> None:
        """/metrics, /healthz and /readyz at `address`; nothing when it is empty.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        if address:
            self.callback(MachineHttp(address, metrics, readiness).close)
