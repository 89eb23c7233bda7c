"""The connection to a collector: one thread with an event loop, one gRPC stream at a time.

grpc.aio costs less per message than grpcio's blocking calls, whose open stream alone wakes a thread five times a
second.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
import uuid
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

import grpc
from fleetwatch_proto import PROTOCOL
from fleetwatch_proto.v1 import ingest_pb2 as pb
from fleetwatch_proto.v1.ingest_pb2_grpc import IngestStub

from fleetwatch_agent.clocks import Clocks
from fleetwatch_agent.sender.address import OPTIONS, own_address, target
from fleetwatch_agent.sender.session import Introduction, Session
from fleetwatch_agent.sender.troubles import Ending, ending
from fleetwatch_agent.spool import Spool

_log = logging.getLogger(__name__)
_SHORTEST_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 30.0
_FLUSH_S = 5.0
_CLOSE_S = 1.0
_WATCH_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Contact:
    """Whom to call and as whom; durations are seconds. `token` is never logged."""

    addresses: tuple[str, ...]
    agent_id: str
    host: str
    token: str
    connect_timeout_s: float
    ack_timeout_s: float


class Sender:
    """Keeps a stream open and the spool empty. `start`, `wake` and `stop` may be called from any thread."""

    def __init__(
        self,
        contact: Contact,
        introduction: Introduction,
        spool: Spool,
        clocks: Clocks,
        new_session: Callable[[], Session],
        choose: random.Random | None = None,
    ) -> None:
        self._contact = contact
        self._introduction = introduction
        self._spool = spool
        self._clocks = clocks
        self._new_session = new_session
        self._random = choose or random.Random()  # noqa: S311 - spreads reconnections, guards nothing
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._wake = asyncio.Event()
        self._farewell: tuple[pb.Goodbye.Reason.ValueType, int] | None = None
        self._turn = zlib.crc32(contact.agent_id.encode())
        self._said = ""
        self.connected = False

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()
        self._ready.wait(5)

    def wake(self) -> None:
        """Says that there may be something to send."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._wake.set)

    def stop(self, reason: pb.Goodbye.Reason.ValueType, expected_back_s: int = 0) -> None:
        """Sends what waits for at most 5 s, says goodbye, ends the thread; nothing is lost by what remains."""
        self._farewell = (reason, expected_back_s)
        self.wake()
        self._thread.join(_FLUSH_S + 3 * _CLOSE_S)

    # The thread

    def _run(self) -> None:
        try:
            asyncio.run(self._keep_connected())
        except Exception:
            _log.exception("sender ended")
            raise

    async def _keep_connected(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready.set()
        failures = 0
        while self._farewell is None:
            address = self._contact.addresses[self._turn % len(self._contact.addresses)]
            session = self._new_session()
            found = await self._attempt(address, session)
            if self._farewell is not None:
                return
            self._say(found)
            failures = 0 if session.acked or found.expected else failures + 1
            if session.stale:
                continue
            self._turn += 1
            await self._pause(self._delay_s(failures, session))

    def _delay_s(self, failures: int, session: Session) -> float:
        """Full jitter: anything from nothing to a bound that doubles; after a Drain the time asked for, and jitter."""
        bound = min(_LONGEST_BACKOFF_S, _SHORTEST_BACKOFF_S * 2 ** min(failures, 10))
        asked = (session.drain_ms or 0) / 1000
        return min(asked, _LONGEST_BACKOFF_S) + self._random.uniform(0, bound)

    async def _pause(self, seconds: float) -> None:
        """Waits; only a farewell ends it early."""
        end = self._clocks.seconds() + seconds
        while self._farewell is None and (left := end - self._clocks.seconds()) > 0:
            await self._wait(left)

    async def _wait(self, seconds: float) -> None:
        """Until woken or for `seconds`; a timer is cheaper than a task that is cancelled."""
        self._wake.clear()
        timer = asyncio.get_running_loop().call_later(seconds, self._wake.set)
        await self._wake.wait()
        timer.cancel()

    def _say(self, found: Ending) -> None:
        """Once per change; what is expected is no news."""
        if found.expected:
            _log.debug("stream ended", extra={"why": found.text})
        elif found.text != self._said:
            _log.warning("not connected, samples are kept", extra={"why": found.text})
            self._said = found.text

    # One stream

    async def _attempt(self, address: str, session: Session) -> Ending:
        """One stream from connecting to its end."""
        async with grpc.aio.insecure_channel(target(address), options=OPTIONS) as channel:
            stub: Any = IngestStub(channel)
            call = stub.Stream(metadata=self._metadata(), wait_for_ready=True)
            try:
                return await self._converse(call, address, session)
            except grpc.aio.AioRpcError as error:
                return ending(error.code(), error.details() or "", address)
            except asyncio.CancelledError:
                # A call cancelled by the watchdog raises this as well; the thread's own loop is never cancelled.
                return Ending(f"{address} has not answered for {self._contact.ack_timeout_s:g} s")
            except TimeoutError:
                return Ending(f"{address} does not answer: is a collector listening there?")
            except asyncio.InvalidStateError:
                # The stream ended between two messages of ours.
                return ending(await call.code(), await call.details() or "", address)
            except Exception as error:  # noqa: BLE001 - one stream's fault must not silence the agent for good
                _log.exception("stream failed", extra={"collector": address})
                return Ending(f"{address}: {type(error).__name__}: {error}")
            finally:
                self.connected = False
                session.end()
                call.cancel()

    async def _converse(self, call: Any, address: str, session: Session) -> Ending:
        introduction = await self._introduce(address)
        refused = await asyncio.wait_for(
            self._greet(call, session, introduction, address), self._contact.connect_timeout_s
        )
        if refused:
            return refused
        self._connected(address, session)
        reading = asyncio.create_task(self._hear(call, session))
        watchdog = asyncio.create_task(self._watch(call, session))
        try:
            await self._talk(call, session, reading)
            if self._farewell is not None and not reading.done():
                await self._part(call, session, reading)
        finally:
            watchdog.cancel()
            if not reading.done():
                reading.cancel()
            await asyncio.gather(reading, watchdog, return_exceptions=True)
        if session.drain_ms is not None or session.stale:
            return Ending(
                "the collector drains" if session.drain_ms is not None else "the spool changed", expected=True
            )
        if not call.done():  # its status would be waited for for ever
            return Ending(f"{address} sent something that is not a message of this protocol")
        return ending(await call.code(), await call.details() or "", address)

    async def _greet(self, call: Any, session: Session, introduction: Introduction, address: str) -> Ending | None:
        """Hello and Welcome; why this collector cannot be used, if so."""
        await call.write(session.hello(introduction))
        while session.welcome is None:
            message = await call.read()
            if not isinstance(message, pb.CollectorMessage):
                return ending(await call.code(), await call.details() or "", address)
            session.receive(message)
        if session.welcome.protocol < PROTOCOL:
            spoken = f"it speaks protocol {session.welcome.protocol}, this agent {PROTOCOL}"
            return Ending(f"{address} is older than this agent: {spoken}; update the collector")
        return None

    async def _talk(self, call: Any, session: Session, reading: asyncio.Task[None]) -> None:
        """Sends whatever there is until the stream is to end."""
        give_up_at: float | None = None
        while not (reading.done() or session.stale):
            if self._farewell is not None or session.drain_ms is not None:
                now = self._clocks.seconds()
                give_up_at = give_up_at or now + _FLUSH_S
                answered = not session.in_flight if self._farewell is None else session.idle
                if answered or now >= give_up_at:
                    return
            message = session.next()
            if message is not None:
                await call.write(message)
                continue
            left = 0.5 if give_up_at else session.due_in_s()
            await self._wait(max(0.01, left))

    async def _hear(self, call: Any, session: Session) -> None:
        """Takes answers in until the stream ends, and lets the talking side look at them."""
        try:
            async for message in _answers(call):
                session.receive(message)
                self._wake.set()
        finally:
            self._wake.set()

    async def _watch(self, call: Any, session: Session) -> None:
        """Ends a stream whose collector lets batches lie without a word: TCP and HTTP/2 may look alive all the same."""
        while True:
            await asyncio.sleep(min(_WATCH_EVERY_S, self._contact.ack_timeout_s / 2))
            silent_s = self._clocks.seconds() - session.heard_s
            if session.in_flight and silent_s > self._contact.ack_timeout_s:
                call.cancel()
                return

    async def _part(self, call: Any, session: Session, reading: asyncio.Task[None]) -> None:
        if self._farewell is None:
            return
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await call.write(session.goodbye(*self._farewell))
                await call.done_writing()
                await asyncio.wait([reading])

    def _connected(self, address: str, session: Session) -> None:
        self.connected = True
        self._said = ""
        welcome = session.welcome
        if welcome is not None:
            names = {"collector": address, "as_host": welcome.host, "version": welcome.collector_version}
            _log.info("connected", extra=names)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        identity = (
            ("fleetwatch-agent-id", self._contact.agent_id),
            ("fleetwatch-host", self._contact.host),
            ("fleetwatch-correlation", uuid.uuid4().hex),
        )
        token = self._contact.token
        return (*identity, ("authorization", f"Bearer {token}")) if token else identity

    async def _introduce(self, address: str) -> Introduction:
        """What is said of this host, with the address it reaches the collector from."""
        facts = pb.Facts()
        facts.CopyFrom(self._introduction.facts)
        facts.address = await own_address(address)
        return replace(self._introduction, facts=facts)


async def _answers(call: Any) -> AsyncIterator[pb.CollectorMessage]:
    while isinstance(message := await call.read(), pb.CollectorMessage):
        yield message
