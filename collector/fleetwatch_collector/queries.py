"""The Query service: the store's read side and the live hub, for other processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from fleetwatch_proto.v1 import query_pb2 as wire
from fleetwatch_storage import messages
from fleetwatch_storage.errors import QueryFailed, StoreUnavailable
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.store import StoreReader

from fleetwatch_collector.errors import CallRefused, Why
from fleetwatch_collector.identity import CALLER
from fleetwatch_collector.live import Hub
from fleetwatch_collector.settings import CollectorSettings

T = TypeVar("T")

PIECE_BYTES = 1024 * 1024
LARGEST_ANSWER = 4 * PIECE_BYTES
_THREADS = 8
_MOST_CALLERS = 1000


class QueryService:
    """Every call to the store runs in a worker thread, a few at a time for each caller."""

    def __init__(self, settings: CollectorSettings, store: StoreReader, hub: Hub) -> None:
        self._settings, self._store, self._hub = settings, store, hub
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="fleetwatch-query")
        self._turns: dict[str, asyncio.Semaphore] = {}

    async def read(self, request: wire.QueryRequest, _context: Any) -> wire.FrameMessage:
        """One answer in one message."""
        message = await self._ask(lambda: messages.frame_to_message(self._read(request)))
        if message.ByteSize() > LARGEST_ANSWER:
            detail = f"the answer has {message.ByteSize()} bytes; one message takes {LARGEST_ANSWER}: use ReadStream"
            raise CallRefused(Why.EXHAUSTED, detail)
        return message

    async def read_stream(self, request: wire.QueryRequest, _context: Any) -> AsyncIterator[wire.FrameMessage]:
        """One answer in pieces of whole series."""
        frame = await self._ask(lambda: self._read(request))
        for piece in messages.frame_pieces(frame, PIECE_BYTES):
            yield piece

    async def latest(self, request: wire.LatestRequest, _context: Any) -> AsyncIterator[wire.FrameMessage]:
        """The last row of every series."""
        wanted = tuple(request.measurements)
        for frame in await self._ask(lambda: self._store.latest(wanted)):
            for piece in messages.frame_pieces(frame, PIECE_BYTES):
                yield piece

    async def list_series(self, request: wire.SeriesRequest, _context: Any) -> AsyncIterator[wire.SeriesKey]:
        """Known series."""

        def ask() -> list[wire.SeriesKey]:
            where = messages.matchers_from_messages(request.where)
            return [messages.series_to_message(one) for one in self._store.series(request.measurement, where)]

        for series in await self._ask(ask):
            yield series

    async def list_hosts(self, _request: wire.HostsRequest, _context: Any) -> AsyncIterator[wire.HostRecord]:
        """Known hosts."""
        for record in await self._ask(lambda: [messages.host_to_message(host) for host in self._store.hosts()]):
            yield record

    async def watch(self, request: wire.WatchRequest, _context: Any) -> AsyncIterator[wire.FrameMessage]:
        """Live frames until the caller leaves."""
        watcher = self._hub.watch(frozenset(request.hosts), frozenset(request.measurements), fast=request.fast)
        try:
            async for frames in watcher:
                for piece in _pieces(frames):
                    yield piece
        finally:
            watcher.close()

    async def store_health(self, _request: wire.HealthRequest, _context: Any) -> wire.HealthReply:
        """Whether the store can read and write."""
        return messages.health_to_message(await self._ask(self._store.health))

    def close(self) -> None:
        """Lets the worker threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _read(self, request: wire.QueryRequest) -> Frame:
        frame = self._store.read(messages.query_from_message(request))
        if len(frame) * len(frame.fields) > self._settings.query_points:
            detail = f"{len(frame) * len(frame.fields)} values; at most {self._settings.query_points} are answered"
            raise QueryFailed(f"{detail}: ask for a shorter range, a longer step or fewer series")
        return frame

    async def _ask(self, ask: Callable[[], T]) -> T:
        """Runs a question in a thread; what the store raises becomes a refusal in its words."""
        turn = self._turn()
        try:
            async with asyncio.timeout(self._settings.query_timeout):
                await turn.acquire()
                answer = asyncio.get_running_loop().run_in_executor(self._threads, ask)
                answer.add_done_callback(lambda _: turn.release())
                return await asyncio.shield(answer)
        except TimeoutError:
            raise CallRefused(Why.TIMEOUT, f"no answer within {self._settings.query_timeout:g} s") from None
        except QueryFailed as failed:
            raise CallRefused(Why.INVALID, str(failed)) from failed
        except StoreUnavailable as away:
            raise CallRefused(Why.UNAVAILABLE, str(away)) from away

    def _turn(self) -> asyncio.Semaphore:
        caller = CALLER.get()
        key = f"{caller.address} {caller.agent_id}"
        if key not in self._turns:
            if len(self._turns) >= _MOST_CALLERS:
                self._turns.clear()
            self._turns[key] = asyncio.Semaphore(self._settings.queries_at_once)
        return self._turns[key]


def _pieces(frames: Iterable[Frame]) -> Iterable[wire.FrameMessage]:
    for frame in frames:
        yield from messages.frame_pieces(frame, PIECE_BYTES)
