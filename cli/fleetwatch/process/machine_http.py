"""/metrics, /healthz and /readyz of a process that has no pages: the standard library's server on its own thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST

from fleetwatch.process.addresses import bind, split_address

Metrics = Callable[[], bytes]
"""The Prometheus text of the process. Called on a thread."""
Readiness = Callable[[], tuple[bool, str]]
"""Whether the process can do its work now, and in words why not. Called on a thread; answers within seconds."""


class MachineHttp:
    """Serves until `close`."""

    def __init__(self, address: str, metrics: Metrics, readiness: Readiness) -> None:
        """Raises:
        ConfigError: the address cannot be listened on.
        """
        bound = bind(*split_address(address, "machine_http"), "machine_http")
        self.port: int = bound.getsockname()[1]
        self._server = ThreadingHTTPServer(
            bound.getsockname()[:2], _handler(metrics, readiness), bind_and_activate=False
        )
        self._server.socket.close()
        self._server.socket = bound
        self._server.daemon_threads = True
        self._server.server_activate()
        self._thread = threading.Thread(target=self._server.serve_forever, name="machine http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def answer(path: str, metrics: Metrics, readiness: Readiness) -> tuple[int, str, bytes]:
    """Status, content type and body of one request."""
    if path == "/metrics":
        return 200, CONTENT_TYPE_LATEST, metrics()
    if path == "/healthz":
        return 200, "text/plain; charset=utf-8", b"ok\n"
    if path == "/readyz":
        ready, detail = readiness()
        return 200 if ready else 503, "text/plain; charset=utf-8", (detail or "ready").encode() + b"\n"
    return 404, "text/plain; charset=utf-8", b"only /metrics, /healthz and /readyz are here\n"


def _handler(metrics: Metrics, readiness: Readiness) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # a client that sends nothing does not keep a thread
        server_version = "fleetwatch"
        sys_version = ""

        def do_GET(self) -> None:
            status, kind, body = answer(self.path.partition("?")[0], metrics, readiness)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Scrapes are not events."""

    return Handler
