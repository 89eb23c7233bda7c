"""Uvicorn inside an event loop that somebody else owns: no signal handlers, our socket, our logs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from starlette.types import ASGIApp

CLOSE_S = 2
"""How long open requests and WebSockets get to finish."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the process, which stops its parts in order."""
        yield


class WebServer:
    """Serves an ASGI app on a bound socket from `start` to `stop`."""

    def __init__(self, app: ASGIApp, bound: socket.socket) -> None:
        """Takes over the bound socket."""
        self._socket = bound
        self._server = _Server(
            uvicorn.Config(
                app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=CLOSE_S
            )
        )
        self._task: asyncio.Task[None] | None = None
        self.port: int = bound.getsockname()[1]

    async def start(self) -> None:
        """Returns when pages are answered.

        Raises:
            RuntimeError: the app failed to start; it has logged why.
        """
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]), name="web")
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise RuntimeError("the web server ended while starting")
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Finishes open requests, then closes."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        self._socket.close()
