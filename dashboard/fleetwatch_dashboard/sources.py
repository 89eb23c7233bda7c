"""Where pages and API get their data, and how they ask for it: in worker threads, a few at a time, not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Protocol, TypeVar

import anyio
from fastapi import Depends, Request, WebSocket
from fleetwatch_storage.metadata.alerts import Alert, RuleSummary, Told
from fleetwatch_storage.metadata.hosts import Event
from fleetwatch_storage.store import LiveSource, StoreReader

from fleetwatch_dashboard.problems import Problem
from fleetwatch_dashboard.settings import DashboardSettings

T = TypeVar("T")


class AlertReader(Protocol):
    """What the dashboard needs to know of alerts; blocks."""

    def active(self) -> list[Alert]:
        """Alerts that are pending, firing or recovering, critical first."""

    def past(self, limit: int) -> list[Alert]:
        """Alerts that have ended, newest end first."""

    def told(self, fingerprints: Sequence[str]) -> list[Told]:
        """Who was told of these alerts, earliest first."""

    def rules(self) -> list[RuleSummary]:
        """Rules that are evaluated."""


class EventReader(Protocol):
    """Events of hosts; blocks."""

    def events(self, host: str, start_ms: int, end_ms: int, limit: int = 500) -> list[Event]:
        """Events of a host (all hosts when empty) in the range, newest first."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything a handler may use. `ready` names what must work and answers "" or says in words what is wrong."""

    settings: DashboardSettings
    store: StoreReader
    live: LiveSource | None
    alerts: AlertReader
    events: EventReader
    metrics: Callable[[], str]
    ready: Mapping[str, Callable[[], str]]
    now_ms: Callable[[], int]
    threads: ThreadPoolExecutor
    queries: anyio.CapacityLimiter

    async def ask(self, call: Callable[[], T]) -> T:
        """Runs a blocking call in a worker thread. A call that is given up keeps its thread until it ends, so that a
        store that hangs never takes more threads than there are.

        Raises:
            Problem: it took longer than the query timeout.
        """
        limit = self.settings.query_timeout
        try:
            return await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(self.threads, call), limit)
        except TimeoutError as error:
            raise Problem(504, f"the store did not answer within {limit:g} s; ask for less or try again") from error


def sources(request: Request) -> Sources:
    """The sources of the app that answers this request."""
    found: Sources = request.app.state.sources
    return found


Found = Annotated[Sources, Depends(sources)]
"""What a handler that needs sources declares."""


def socket_sources(socket: WebSocket) -> Sources:
    """The same for a WebSocket."""
    found: Sources = socket.app.state.sources
    return found
