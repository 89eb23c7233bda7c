"""A gRPC bidirectional stream on a TCP connection of its own, in plain asyncio: what the load generator's agents speak.

Ten thousand grpcio channels cost a load process more than the server it is to load. This speaks just enough of HTTP/2
(RFC 9113) and of gRPC over it: one stream per connection, no compression, no TLS, flow control honoured both ways.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import Callable, Iterable

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_INITIAL_WINDOW_SIZE = 4
_DEFAULT_WINDOW = 65_535
_MAX_FRAME = 16_384
_STREAM = 1


class GrpcStream(asyncio.Protocol):
    """One call. `on_message(bytes)` per answer; `on_closed(reason)` exactly once, when nothing more will come.

    `on_going_away()` is called when the server asked for no new calls: finish what is in flight and connect again.
    """

    def __init__(
        self,
        method: str,
        metadata: Iterable[tuple[str, str]],
        *,
        on_message: Callable[[bytes], None],
        on_closed: Callable[[str], None],
        on_going_away: Callable[[], None],
    ) -> None:
        self._method, self._metadata = method, list(metadata)
        self._on_message, self._on_closed = on_message, on_closed
        self._on_going_away = on_going_away
        self._transport: asyncio.Transport | None = None
        self._incoming, self._body, self._waiting = bytearray(), bytearray(), bytearray()
        self._send_window = self._connection_window = self._peer_initial = _DEFAULT_WINDOW
        self._consumed = 0
        self._closed = False

    def send(self, message: bytes) -> None:
        """Queues one message; it leaves as the peer's windows allow."""
        self._waiting += b"\0" + struct.pack(">I", len(message)) + message
        self._flush()

    @property
    def closed(self) -> bool:
        """Whether the call has ended."""
        return self._closed

    def close(self, reason: str = "closed here") -> None:
        """Ends the call without ceremony."""
        if self._transport is not None:
            self._transport.abort()
        self._end(reason)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        authority = "{}:{}".format(*transport.get_extra_info("peername")[:2])
        settings = _frame(_SETTINGS, 0, 0, struct.pack(">HI", 2, 0))  # ENABLE_PUSH off
        headers = _frame(_HEADERS, _END_HEADERS, _STREAM, _header_block(self._method, authority, self._metadata))
        self._write(_PREFACE + settings + headers)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"connection lost: {exc}" if exc else "connection closed")

    def data_received(self, data: bytes) -> None:
        self._incoming += data
        while len(self._incoming) >= 9 and not self._closed:
            length = int.from_bytes(self._incoming[:3], "big")
            if len(self._incoming) < 9 + length:
                return
            kind, flags = self._incoming[3], self._incoming[4]
            stream = int.from_bytes(self._incoming[5:9], "big")
            payload = bytes(self._incoming[9 : 9 + length])
            del self._incoming[: 9 + length]
            self._frame_received(kind, flags, stream, payload)

    def _frame_received(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _DATA:
            self._data(payload)
        elif kind == _WINDOW_UPDATE:
            self._widen(stream, int.from_bytes(payload, "big"))
        elif kind == _SETTINGS and not flags & _ACK:
            self._settings(payload)
        elif kind == _PING and not flags & _ACK:
            self._write(_frame(_PING, _ACK, 0, payload))
        elif kind == _GOAWAY:
            self._on_going_away()
        elif kind == _RST_STREAM:
            self.close(f"stream reset by the server, code {int.from_bytes(payload, 'big')}")
        if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
            self.close(_readable(payload) if kind == _HEADERS else "ended by the server")

    def _data(self, payload: bytes) -> None:
        self._body += payload
        self._consumed += len(payload)
        if self._consumed >= _DEFAULT_WINDOW // 2:
            update = struct.pack(">I", self._consumed)
            self._write(_frame(_WINDOW_UPDATE, 0, 0, update) + _frame(_WINDOW_UPDATE, 0, _STREAM, update))
            self._consumed = 0
        while len(self._body) >= 5 and not self._closed:
            length = int.from_bytes(self._body[1:5], "big")
            if len(self._body) < 5 + length:
                return
            message = bytes(self._body[5 : 5 + length])
            del self._body[: 5 + length]
            self._on_message(message)

    def _settings(self, payload: bytes) -> None:
        for at in range(0, len(payload) - 5, 6):
            key, value = struct.unpack_from(">HI", payload, at)
            if key == _INITIAL_WINDOW_SIZE:
                self._send_window += value - self._peer_initial
                self._peer_initial = value
        self._write(_frame(_SETTINGS, _ACK, 0, b""))
        self._flush()

    def _widen(self, stream: int, by: int) -> None:
        if stream:
            self._send_window += by
        else:
            self._connection_window += by
        self._flush()

    def _flush(self) -> None:
        room = min(self._send_window, self._connection_window, len(self._waiting))
        if room <= 0 or self._transport is None:
            return
        out = bytes(self._waiting[:room])
        del self._waiting[:room]
        self._send_window -= room
        self._connection_window -= room
        frames = (_frame(_DATA, 0, _STREAM, out[at : at + _MAX_FRAME]) for at in range(0, room, _MAX_FRAME))
        self._write(b"".join(frames))

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._closed:
            self._transport.write(data)

    def _end(self, reason: str) -> None:
        if not self._closed:
            self._closed = True
            self._on_closed(reason)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _header_block(method: str, authority: str, metadata: Iterable[tuple[str, str]]) -> bytes:
    """HPACK (RFC 7541 §6.2.3) with every field a literal that is never indexed: no state, no Huffman coding."""
    fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", method),
        (":authority", authority),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *metadata,
    ]
    return b"".join(b"\x10" + _text(name) + _text(value) for name, value in fields)


def _text(text: str) -> bytes:
    raw = text.encode()
    if len(raw) < 127:
        return bytes([len(raw)]) + raw
    if len(raw) >= 255:
        raise ValueError(f"header text of {len(raw)} bytes is more than this client sends")
    return bytes([127, len(raw) - 127]) + raw


def _readable(trailers: bytes) -> str:
    """The printable parts of a header block: enough for the status and message of grpc's own server."""
    return " ".join(part.decode() for part in re.findall(rb"[ -~]{3,}", trailers)) or "ended by the server"
