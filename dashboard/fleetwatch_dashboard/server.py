"""Serving the app over HTTP inside a process that does other things too."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import uvicorn
from fastapi import FastAPI
from fleetwatch_proto.settings import ConfigError

from fleetwatch_dashboard.settings import DashboardSettings, listen_address

STOP_WITHIN_S = 5


class DashboardServer:
    """uvicorn on its own socket, started and stopped by its owner; it touches no signal handler and no log settings."""

    def __init__(self, app: FastAPI, settings: DashboardSettings) -> None:
        """Raises:
        ConfigError: the address cannot be used.
        """
        address, port = listen_address(settings)
        self._threads: ThreadPoolExecutor = app.state.sources.threads
        self._socket = _bound(address, port)
        self.port: int = self._socket.getsockname()[1]
        self._server = _Server(
            uvicorn.Config(
                app, log_config=None, access_log=False, lifespan="off", server_header=False, ws="websockets-sansio",
                ws_max_size=65_536, h11_max_incomplete_event_size=32_768, timeout_graceful_shutdown=STOP_WITHIN_S,
                proxy_headers=False,
            )
        )  # fmt: skip
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns when requests are answered.

        Raises:
            ConfigError: the server could not start.
        """
        self._running = asyncio.create_task(self._server.serve([self._socket]))
        while not self._server.started:
            if self._running.done():
                await self._running
                raise ConfigError("the HTTP server stopped while starting")
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Lets requests finish for some seconds, then closes; idempotent."""
        self._server.should_exit = True
        if self._running is not None:
            with suppress(asyncio.CancelledError):
                await self._running
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._socket.close()


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The owner of the process decides what signals do."""
        yield


def _bound(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"http = {address}:{port}: cannot listen there: {error.strerror}; choose another port"
        ) from error
    listener.listen(2048)
    listener.setblocking(False)
    return listener
