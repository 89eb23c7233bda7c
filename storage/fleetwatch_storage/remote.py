"""The store of another process, read and written through the collector's gRPC services."""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc
import structlog
from fleetwatch_proto.settings import ConfigError, read_secret
from fleetwatch_proto.v1 import import_pb2, import_pb2_grpc, query_pb2, query_pb2_grpc

from fleetwatch_storage import messages
from fleetwatch_storage.errors import QueryFailed, RejectedRow, StoreUnavailable, WriteRejected
from fleetwatch_storage.frames import Frame, empty
from fleetwatch_storage.hosts import Host
from fleetwatch_storage.lineprotocol.encode import encode_pieces
from fleetwatch_storage.query import Matcher, Query
from fleetwatch_storage.settings import RemoteSettings
from fleetwatch_storage.store import Health, SeriesKey

CHUNK_BYTES = 512 * 1024
_LARGEST_MESSAGE = 16 * 1024 * 1024
_HEALTH_S = 3.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0

_WRONG = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE})
_REASONS = {
    grpc.StatusCode.UNAUTHENTICATED: "auth",
    grpc.StatusCode.PERMISSION_DENIED: "auth",
    grpc.StatusCode.UNIMPLEMENTED: "missing",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "busy",
    grpc.StatusCode.DEADLINE_EXCEEDED: "busy",
}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RemoteOptions:
    """How to speak to the collector. `host` is the name that written lines without a host belong to."""

    token: str = ""
    ca: bytes | None = None
    host: str = field(default_factory=socket.gethostname)
    within_s: float = 30.0

    def metadata(self) -> list[tuple[str, str]]:
        """What every call carries."""
        identity = [("fleetwatch-host", self.host)]
        return [*identity, ("authorization", f"Bearer {self.token}")] if self.token else identity


def remote_options(settings: RemoteSettings) -> RemoteOptions:
    """The options of these settings.

    Raises:
        ConfigError: a file that cannot be used.
    """
    token = read_secret(settings.collector_token_file) if settings.collector_token_file else ""
    try:
        ca = settings.collector_ca_file.read_bytes() if settings.collector_ca_file else None
    except OSError as error:
        raise ConfigError(f"{settings.collector_ca_file}: cannot read the certificate: {error.strerror}") from error
    return RemoteOptions(token, ca)


_CHANNEL: Sequence[tuple[str, int]] = (
    ("grpc.max_receive_message_length", _LARGEST_MESSAGE),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.enable_retries", 0),
)


class RemoteStore:
    """The seam over one collector. Thread-safe; connects by itself, again and again."""

    commit_lag_s = 0.0
    """The collector answers a write when its store has it."""

    def __init__(self, target: str, options: RemoteOptions | None = None) -> None:
        """`target` is HOST:PORT, or several IPv4 addresses with commas."""
        self._target, self._options = target, options or RemoteOptions()
        self._channel = _channel(grpc, target, self._options)
        self._query = query_pb2_grpc.QueryStub(self._channel)
        self._import = import_pb2_grpc.ImportStub(self._channel)

    def read(self, query: Query) -> Frame:
        """As the seam says."""
        with self._translated(QueryFailed):
            pieces = list(map(_frame, self._query.ReadStream(messages.query_to_message(query), **self._call())))
        names = [name for name, _, _ in query.columns()] if query.step_ms else query.fields
        return messages.join_pieces(pieces) if pieces else empty(query.measurement, names)

    def latest(self, measurements: Sequence[str] = ()) -> list[Frame]:
        """As the seam says."""
        request = query_pb2.LatestRequest(measurements=measurements)
        with self._translated(QueryFailed):
            pieces = [_frame(message) for message in self._query.Latest(request, **self._call())]
        groups = itertools.groupby(pieces, key=lambda piece: piece.measurement)
        return [messages.join_pieces(group) for _, group in groups]

    def series(self, measurement: str = "", where: Sequence[Matcher] = ()) -> list[SeriesKey]:
        """As the seam says."""
        conditions = list(map(messages.matcher_to_message, where))
        request = query_pb2.SeriesRequest(measurement=measurement, where=conditions)
        with self._translated(QueryFailed):
            return [messages.series_from_message(one) for one in self._query.ListSeries(request, **self._call())]

    def hosts(self) -> list[Host]:
        """As the collector knows them."""
        with self._translated(QueryFailed):
            found = self._query.ListHosts(query_pb2.HostsRequest(), **self._call())
            return [messages.host_from_message(one) for one in found]

    def health(self) -> Health:
        """As the collector's store says; not ready when the collector cannot be asked."""
        try:
            with self._translated(QueryFailed):
                reply = self._query.StoreHealth(query_pb2.HealthRequest(), **self._call(_HEALTH_S))
        except (StoreUnavailable, QueryFailed) as error:
            return Health(False, False, "remote", str(error))
        return messages.health_from_message(reply)

    def write(self, frames: Sequence[Frame]) -> None:
        """As the seam says, through the Import service: what line protocol cannot say is left out."""
        pieces = list(encode_pieces(frames, CHUNK_BYTES))
        if not pieces:
            return
        with self._translated(StoreUnavailable):
            reply = self._import.Write(_chunks(pieces), **self._call())
        if reply.rejected_lines:
            raise _rejected(b"".join(pieces).split(b"\n"), reply)

    def write_lines(self, text: bytes, precision: str = "ns") -> import_pb2.WriteReply:
        """Line protocol as it is; returns when its good lines are durable, naming the bad ones by number.

        Raises:
            QueryFailed: the collector refuses the writer or the precision.
            StoreUnavailable: nothing is promised; the same text may be written again.
        """
        pieces = (text[start : start + CHUNK_BYTES] for start in range(0, len(text), CHUNK_BYTES))
        with self._translated(StoreUnavailable):
            reply: import_pb2.WriteReply = self._import.Write(_chunks(pieces, precision), **self._call())
        return reply

    def close(self) -> None:
        """Closes the connection; idempotent."""
        self._channel.close()

    def _call(self, within_s: float | None = None) -> dict[str, Any]:
        return {"timeout": within_s or self._options.within_s, "metadata": self._options.metadata()}

    @contextmanager
    def _translated(self, exhausted: type[QueryFailed] | type[StoreUnavailable]) -> Iterator[None]:
        """gRPC's errors as the seam's; `exhausted` is what asking for too much means to this call."""
        try:
            yield
        except grpc.RpcError as error:
            _raise(error, self._target, exhausted)
        except ValueError as error:
            raise StoreUnavailable(
                f"the collector at {self._target} gave an answer that is not one: {error}"
            ) from error


def _raise(error: grpc.RpcError, target: str, exhausted: type[QueryFailed] | type[StoreUnavailable]) -> NoReturn:
    status = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
    words = (error.details() if isinstance(error, grpc.Call) else str(error)) or status.name
    if status in _WRONG or (status is grpc.StatusCode.RESOURCE_EXHAUSTED and exhausted is QueryFailed):
        raise QueryFailed(words) from error
    said = f"the collector at {target} cannot be asked: {words}"
    raise StoreUnavailable(said, reason=_REASONS.get(status, "down")) from error


def _channel(library: Any, target: str, options: RemoteOptions) -> Any:
    """A channel of `grpc` or `grpc.aio`."""
    where = f"ipv4:{target}" if "," in target else target
    if options.ca is None:
        return library.insecure_channel(where, options=_CHANNEL)
    return library.secure_channel(where, grpc.ssl_channel_credentials(options.ca), options=_CHANNEL)


def _frame(message: query_pb2.FrameMessage) -> Frame:
    return messages.frame_from_message(message)


def _chunks(pieces: Iterable[bytes], precision: str = "ms") -> Iterator[import_pb2.WriteChunk]:
    for piece in pieces:
        yield import_pb2.WriteChunk(lines=piece, precision=precision)


def _rejected(lines: Sequence[bytes], reply: import_pb2.WriteReply) -> WriteRejected:
    rows = []
    for one in reply.rejected:
        text = lines[one.number - 1].decode() if 0 < one.number <= len(lines) else ""
        rows.append(RejectedRow(text.split(",")[0], text[:1000], one.reason))
    return WriteRejected(rows, count=reply.rejected_lines)


class RemoteLive:
    """The collector's live frames. Used on one event loop; connects again by itself when the collector goes away."""

    def __init__(self, target: str, options: RemoteOptions | None = None) -> None:
        self._target, self._options = target, options or RemoteOptions()
        self._channel: grpc.aio.Channel | None = None

    async def watch(
        self, hosts: frozenset[str] = frozenset(), measurements: frozenset[str] = frozenset(), *, fast: bool = False
    ) -> AsyncIterator[list[Frame]]:
        """As the seam says; frames that arrive while the collector cannot be reached are missed."""
        request = query_pb2.WatchRequest(hosts=sorted(hosts), measurements=sorted(measurements), fast=fast)
        pause_s, lost = _FIRST_PAUSE_S, False
        while True:
            try:
                async for frame in self._frames(request):
                    if lost:
                        log.info("live frames are back", collector=self._target)
                    pause_s, lost = _FIRST_PAUSE_S, False
                    yield [frame]
            except (grpc.aio.AioRpcError, ValueError) as error:
                if not lost and pause_s > _FIRST_PAUSE_S:
                    log.warning("live frames are away", collector=self._target, error=_words(error))
                    lost = True
            await asyncio.sleep(random.uniform(0, pause_s))  # noqa: S311 - spreads load, keeps no secret
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def _frames(self, request: query_pb2.WatchRequest) -> AsyncIterator[Frame]:
        if self._channel is None:
            self._channel = _channel(grpc.aio, self._target, self._options)
        stub = query_pb2_grpc.QueryStub(self._channel)
        call = stub.Watch(request, metadata=tuple(self._options.metadata()))
        try:
            async for message in call:
                yield _frame(message)
        finally:
            call.cancel()

    async def close(self) -> None:
        """Ends all iterations; idempotent."""
        if self._channel is not None:
            await self._channel.close(None)
            self._channel = None


def _words(error: Exception) -> str:
    return (error.details() or error.code().name) if isinstance(error, grpc.aio.AioRpcError) else str(error)
