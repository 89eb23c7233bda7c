"""An HTTP server that answers as it is told: every status, slowly, or not at all."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Request:
    """What came."""

    method: str
    path: str
    parameters: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What to answer. `drip_s`: one byte of the body in so many seconds; `hang_up`: close without a word."""

    status: int = 204
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    drip_s: float = 0.0
    drip_headers_s: float = 0.0
    hang_up: bool = False


class AnsweringServer:
    """Answers every request with `answer(request)`; keeps what came. A context manager."""

    def __init__(self, answer: Callable[[Request], Reply]) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> AnsweringServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                address = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, address.path, dict(parse_qsl(address.query)), headers, body)
                outer.requests.append(request)
                self._reply(outer.answer(request))

            do_GET = do_POST  # noqa: N815 - the name http.server looks for

            def _reply(self, reply: Reply) -> None:
                if reply.hang_up:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                if reply.drip_headers_s:
                    self._drip(b"HTTP/1.1 204 No Content\r\nX-Slow: " + b"x" * 1000, reply.drip_headers_s)
                    return
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                if reply.status != 204:
                    self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self._drip(reply.body, reply.drip_s)

            def _drip(self, body: bytes, every_s: float) -> None:
                if not every_s:
                    self.wfile.write(body)
                    return
                for position in range(len(body)):
                    if outer._closing.wait(every_s):
                        return
                    try:
                        self.wfile.write(body[position : position + 1])
                        self.wfile.flush()
                    except OSError:
                        return

            def log_message(self, *_: object) -> None:
                pass

        return Handler
