"""The Ingest service: one coroutine reads a stream, a short-lived task writes to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TypeAlias

import grpc
import structlog
from fleetwatch_proto.v1.ingest_pb2 import AgentMessage, Hello
from google.protobuf.message import DecodeError

from fleetwatch_collector.clock import now_ms
from fleetwatch_collector.errors import CallRefused, Why
from fleetwatch_collector.identity import CALLER
from fleetwatch_collector.session import Parts, Session
from fleetwatch_collector.sessions import Sessions

_EOF: object = getattr(grpc.aio, "EOF")  # noqa: B009 - the type stubs do not know it

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"

_log = structlog.get_logger()


@dataclass(slots=True)
class Ingest:
    """`Ingest.Stream` on raw bytes. `reading` false: nothing more is read from any stream."""

    sessions: Sessions
    parts: Parts
    reading: bool = True

    async def stream(self, _requests: AsyncIterator[bytes], context: Context) -> None:
        """Serves one agent until either side ends the stream."""
        caller = _Caller(context)
        session = await self._open(caller, context)
        try:
            await self._read(session, context)
        except asyncio.CancelledError:
            if caller.refused is None:
                raise
            caller.uncancel()
            raise caller.refused from None
        finally:
            self.sessions.close(session, self.parts, now_ms(), time.monotonic())
            if self.reading:
                _log.info("agent disconnected", agent=session.identity.agent_id, host=session.host)

    async def _open(self, caller: _Caller, context: Context) -> Session:
        """The session; the Hello is not kept for as long as the stream is."""
        hello = await self._hello(context)
        session = self.sessions.open(CALLER.get(), hello, self.parts, caller, now_ms(), time.monotonic())
        caller.begin(session)
        _log.info("agent connected", agent=session.identity.agent_id, host=session.host, spool=session.spool_id)
        return session

    async def _hello(self, context: Context) -> Hello:
        try:
            async with asyncio.timeout(self.parts.settings.hello_timeout):
                raw = await context.read()
        except TimeoutError:
            raise CallRefused(Why.TIMEOUT, "no Hello came") from None
        try:
            message = AgentMessage() if raw is _EOF else AgentMessage.FromString(raw)
        except DecodeError as error:
            raise CallRefused(Why.INVALID, f"the first message is not of this protocol: {error}") from error
        if message.WhichOneof("message") != "hello":
            raise CallRefused(Why.INVALID, "the first message of a stream must be a Hello")
        if len(raw) > self.parts.settings.max_message:
            raise CallRefused(Why.EXHAUSTED, f"a Hello of {len(raw)} bytes")
        return message.hello

    async def _read(self, session: Session, context: Context) -> None:
        read = context.read
        while self.reading:
            if not self._take(session, await read()):
                return
            if session.must_wait():
                await session.wait()
        await asyncio.get_running_loop().create_future()  # until the server ends the call

    def _take(self, session: Session, raw: object) -> bool:
        """Takes a message, which is not kept while the next one is waited for; false at the end of the stream."""
        if not isinstance(raw, bytes):
            return False
        if self.reading:
            session.take(raw, now_ms(), time.monotonic())
        return True


class _Caller:
    """The writing half of a call, and the way to end it from outside: a `Stream`."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._session: Session | None = None
        self._writer: asyncio.Task[None] | None = None
        self._reader = asyncio.current_task()
        self.refused: CallRefused | None = None

    def begin(self, session: Session) -> None:
        """Messages of this session are sent from now on."""
        self._session = session
        self.wake()

    @property
    def writing(self) -> bool:
        """Whether a message is on its way out."""
        return self._writer is not None

    def wake(self) -> None:
        """Sends what waits, unless that is being done."""
        if self._writer is None and self._session is not None:
            self._writer = asyncio.get_running_loop().create_task(self._write(self._session))

    def end(self, refused: CallRefused) -> None:
        """Ends the call in these words."""
        if self.refused is None and self._reader is not None:
            self.refused = refused
            self._reader.cancel()

    def uncancel(self) -> None:
        """The cancellation was `end`'s: the task goes on to say why."""
        if self._reader is not None:
            self._reader.uncancel()

    async def _write(self, session: Session) -> None:
        try:
            while session.outbox.waiting and not session.gone:
                for message in session.messages():
                    await self._context.write(message)
        except (grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError):
            pass  # the call has ended; its reader notices
        finally:
            self._writer = None
