"""Fast rows from the hosts that somebody looks at: asked for in time, renewed, and let go afterwards."""

from __future__ import annotations

import asyncio
import time

from fleetwatch_collector.live import Hub
from fleetwatch_collector.session import Session
from fleetwatch_collector.sessions import Sessions
from fleetwatch_collector.settings import CollectorSettings

FOR_S = 15
_RENEW_AFTER_S = 5.0
_LOOK_EVERY_S = 1.0
_LET_GO_S = 1


class Watching:
    """Sends SetInterval to the sessions of watched hosts; `run` until cancelled."""

    def __init__(self, hub: Hub, sessions: Sessions, settings: CollectorSettings) -> None:
        self._hub, self._sessions, self._settings = hub, sessions, settings
        self._asked: dict[Session, float] = {}
        self._change = asyncio.Event()
        hub.on_change = self._change.set

    async def run(self) -> None:
        """Looks once a second, and at once when somebody begins to watch."""
        while True:
            self.look(time.monotonic())
            self._change.clear()
            try:
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._change.wait()
            except TimeoutError:
                pass

    def look(self, now_s: float) -> None:
        """Asks those that are watched and were not asked lately; lets the others fall back within a second."""
        wanted = self._wanted()
        interval_ms = int(self._settings.watch_interval * 1000)
        for session in wanted:
            if now_s - self._asked.get(session, -_RENEW_AFTER_S) >= _RENEW_AFTER_S:
                session.watch(interval_ms, FOR_S)
                self._asked[session] = now_s
        for session in [one for one in self._asked if one not in wanted]:
            if not session.gone:
                session.watch(interval_ms, _LET_GO_S)
            del self._asked[session]

    def _wanted(self) -> set[Session]:
        hosts = self._hub.fast_hosts(self._sessions.hosts(), self._settings.watched_hosts)
        found = (self._sessions.of_host(host) for host in hosts)
        return {session for session in found if session is not None}
