"""Once a second: host records brought up to date; every few seconds they, events and watermarks are made to last."""

from __future__ import annotations

import asyncio
import time

import structlog
from fleetwatch_storage.metadata.hosts import Event, HostDirectory

from fleetwatch_collector.accounts import Accounts
from fleetwatch_collector.clock import now_ms
from fleetwatch_collector.events import Events
from fleetwatch_collector.presence import Presence

_REFRESH_S = 1.0
_SHARE_OF_TIME = 50

_log = structlog.get_logger()


class Upkeep:
    """Saves in a worker thread and spends at most a fiftieth of the time on it: ten thousand hosts take a while."""

    def __init__(
        self, directory: HostDirectory, presence: Presence, events: Events, accounts: Accounts, interval_s: float
    ) -> None:
        self._directory, self._presence, self._events, self._accounts = directory, presence, events, accounts
        self._interval_s = interval_s
        self._failing = ""

    async def run(self) -> None:
        """Works until cancelled."""
        save_at_s = time.monotonic() + self._interval_s
        while True:
            await asyncio.sleep(_REFRESH_S)
            self._presence.refresh(now_ms())
            started_s = time.monotonic()
            if started_s >= save_at_s:
                await self.save()
                took_s = time.monotonic() - started_s
                save_at_s = started_s + max(self._interval_s, took_s * _SHARE_OF_TIME)
                self._accounts.forget_idle(started_s)

    async def save(self) -> None:
        """Makes everything last; what cannot be saved now is tried again the next time."""
        self._presence.refresh(now_ms())
        events, marks = self._events.take(), self._accounts.take_changed()
        try:
            await asyncio.to_thread(self._save, events, marks)
            self._failing = ""
        except Exception as error:  # noqa: BLE001 - whatever the database raises, ingestion goes on without it
            self._events.put_back(events)
            self._accounts.put_back(marks)
            if str(error) != self._failing:
                _log.exception("host directory cannot be saved; it is tried again")
            self._failing = str(error)

    def _save(self, events: list[Event], marks: dict[tuple[str, str], int]) -> None:
        self._directory.flush()
        self._directory.keep_watermarks(marks, now_ms())
        self._directory.record(events)
