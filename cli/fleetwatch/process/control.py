"""A socket in the data folder through which `fleetwatch backup` and its kin reach the process that has the store open.

The embedded store belongs to one process. Requests and answers are JSON, one object per line; only the user who runs
the process, and root, can connect: the socket has mode 0600 and the folder is closed to others. It is no way in from
the network and it runs no command.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import structlog
from fleetwatch_proto.settings import ConfigError
from fleetwatch_storage.errors import StorageError
from fleetwatch_storage.store import Progress

from fleetwatch.console import Problem

NAME = "control.sock"
LONGEST_REQUEST = 64 * 1024
Job = Callable[[Mapping[str, Any], Progress], Mapping[str, Any]]
"""Long work on the store: what was asked, whom to tell how far it is; its result. Blocks; runs on a worker thread."""

log = structlog.get_logger(__name__)


class ControlServer:
    """Takes requests for `jobs`, one connection each, until `stop`."""

    def __init__(self, data_dir: Path, jobs: Mapping[str, Job]) -> None:
        self._data_dir, self._jobs = data_dir, jobs
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listens; a socket that a killed process left is replaced: the store is ours, so nobody listens there."""
        (self._data_dir / NAME).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with short_path(self._data_dir) as path:
            before = os.umask(0o177)
            try:
                listener.bind(path)
            finally:
                os.umask(before)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=LONGEST_REQUEST)

    async def stop(self) -> None:
        """Takes no more requests; work under way is left to end with the process."""
        if self._server is not None:
            self._server.close()
            (self._data_dir / NAME).unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, ValueError):
                request = json.loads(await reader.readline())
                await self._work(request, writer)
        finally:
            writer.close()

    async def _work(self, request: Mapping[str, Any], writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()

        def progress(done: int, total: int) -> None:
            loop.call_soon_threadsafe(_say, writer, {"done": done, "total": total})

        job = self._jobs.get(str(request.get("do")))
        if job is None:
            _say(writer, {"error": f"this process cannot do {request.get('do')!r}"})
            return
        try:
            result = await asyncio.to_thread(job, request, progress)
        except (StorageError, ConfigError, Problem, OSError) as error:
            _say(writer, {"error": str(error)})
        except Exception:
            log.exception("a request failed", request=request.get("do"))
            _say(writer, {"error": "it failed in a way nobody foresaw; the log of the running process says more"})
        else:
            _say(writer, {"result": dict(result)})
        await writer.drain()


def ask(data_dir: Path, request: Mapping[str, Any], progress: Progress) -> Mapping[str, Any] | None:
    """The result of a request to the process that has this folder open; None when there is none.

    Raises:
        Problem: it could not do it, in its words.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            with short_path(data_dir) as path:
                client.connect(path)
        except OSError:
            return None
        client.sendall(json.dumps(request).encode() + b"\n")
        for line in client.makefile("rb"):
            message = json.loads(line)
            if "error" in message:
                raise Problem(message["error"])
            if "result" in message:
                result: Mapping[str, Any] = message["result"]
                return result
            progress(message["done"], message["total"])
    raise Problem("the running fleetwatch ended before it was done")


@contextlib.contextmanager
def short_path(data_dir: Path) -> Iterator[str]:
    """A name for the socket that fits into the 108 bytes of an address, however deep the folder is (on Linux)."""
    if not Path("/proc/self/fd").exists():
        yield str(data_dir / NAME)
        return
    folder = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{NAME}"
    finally:
        os.close(folder)


def _say(writer: asyncio.StreamWriter, message: Mapping[str, Any]) -> None:
    if not writer.is_closing():
        writer.write(json.dumps(message).encode() + b"\n")
