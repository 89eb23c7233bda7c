"""HTTP to one InfluxDB: kept connections, and one deadline over a whole exchange.

The usual HTTP clients have timeouts per read only: a server that sends a byte now and then holds its caller for ever.
The network layer below wraps every read and write with the time that is left of the exchange.
"""

from __future__ import annotations

import json
import math
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpcore

from fleetwatch_storage.errors import StoreUnavailable

_MOST_ERROR_BYTES = 64 * 1024
_MOST_LINE_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said; header names are lower case, the body is cut at 64 KiB."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def error(self) -> str:
        """The server's own words: `error` of InfluxDB 1, `message` of 2 and 3, else the body."""
        try:
            parsed = json.loads(self.body)
        except ValueError:
            parsed = None
        if isinstance(parsed, dict):
            words = parsed.get("error") or parsed.get("message")
            if isinstance(words, str):
                return words.strip()
        return self.body.decode("utf-8", "replace").strip()[:1000]


class _Deadline(threading.local):
    """When the exchange of the current thread must have ended."""

    at = math.inf

    def left_s(self, timeout: float | None) -> float:
        left = self.at - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("no complete answer in time")
        return left if timeout is None else min(left, timeout)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.left_s(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.left_s(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left_s = self._deadline.left_s(timeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left_s), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Network(httpcore.NetworkBackend):
    def __init__(self, deadline: _Deadline) -> None:
        self._network, self._deadline = httpcore.SyncBackend(), deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        left_s = self._deadline.left_s(timeout)
        stream = self._network.connect_tcp(host, port, left_s, local_address, socket_options)
        return _Stream(stream, self._deadline)


class Http:
    """Requests to one server. Thread-safe; nothing is sent before the first request, redirects are not followed."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Host": urlsplit(self.url).netloc, "User-Agent": "fleetwatch", **headers}
        self._deadline = _Deadline()
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_connections=32,
            network_backend=_Network(self._deadline),
        )

    def send(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str],
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        within_s: float,
    ) -> Answer:
        """The whole answer, whatever its status.

        Raises:
            StoreUnavailable: no answer within the time.
        """
        with self._exchange(method, path, parameters, body, headers or {}, within_s) as response:
            return Answer(response.status, _lower(response), _start_of(response))

    @contextmanager
    def lines(
        self, method: str, path: str, parameters: Mapping[str, str], *, within_s: float
    ) -> Iterator[tuple[Answer, Iterator[bytes]]]:
        """The answer without its body, and the body line by line; where the status is not 200 the answer has the body.

        Raises:
            StoreUnavailable: no complete answer within the time.
        """
        body, where = urlencode(parameters).encode(), {}
        if method == "GET":
            body, where = b"", dict(parameters)
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        with self._exchange(method, path, where, body, headers, within_s) as response:
            if response.status == 200:
                yield Answer(200, _lower(response)), _lines(response)
            else:
                yield Answer(response.status, _lower(response), _start_of(response)), iter(())

    @contextmanager
    def _exchange(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str],
        body: bytes,
        headers: Mapping[str, str],
        within_s: float,
    ) -> Iterator[httpcore.Response]:
        target = f"{self.url}{path}" + (f"?{urlencode(parameters)}" if parameters else "")
        sent = {**self._headers, **headers, "Content-Length": str(len(body))}
        self._deadline.at = time.monotonic() + within_s
        try:
            limits = dict.fromkeys(("connect", "read", "write", "pool"), within_s)
            with self._pool.stream(
                method, target, headers=list(sent.items()), content=body, extensions={"timeout": limits}
            ) as response:
                yield response
        except httpcore.TimeoutException as error:
            raise StoreUnavailable(f"InfluxDB at {self.url} gave no complete answer within {within_s:g} s") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.ConnectionNotAvailable, OSError) as error:
            reason = str(error) or type(error).__name__
            raise StoreUnavailable(f"InfluxDB at {self.url} cannot be reached: {reason}") from error
        finally:
            self._deadline.at = math.inf

    def close(self) -> None:
        """Closes the connections; idempotent."""
        self._pool.close()


def _lower(response: httpcore.Response) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}


def _start_of(response: httpcore.Response) -> bytes:
    body = b""
    for chunk in response.iter_stream():
        body += chunk
        if len(body) >= _MOST_ERROR_BYTES:
            break
    return body[:_MOST_ERROR_BYTES]


def _lines(response: httpcore.Response) -> Iterator[bytes]:
    rest: list[bytes] = []
    size = 0
    for chunk in response.iter_stream():
        *whole, last = chunk.split(b"\n")
        if whole:
            yield b"".join([*rest, whole[0]])
            yield from whole[1:]
            rest, size = [], 0
        rest.append(last)
        size += len(last)
        if size > _MOST_LINE_BYTES:
            raise StoreUnavailable("InfluxDB sends a line of an answer that is too long to be one")
    yield b"".join(rest)
