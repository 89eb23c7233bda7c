"""One simulated agent: the agent's side of the protocol as a state machine on the event loop, values from `values`.

Its spool is a list of numbers, because every value can be made again. It keeps the window the collector grants, resends
what is not acknowledged after every reconnect and backs off with full jitter.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from fleetwatch_proto import VERSION
from fleetwatch_proto.v1 import ingest_pb2 as wire

from tests.support.encoding import encode
from tests.support.http2 import GrpcStream
from tests.support.values import AgentValues, HostValues, Numbers, host_schema

if TYPE_CHECKING:
    from tests.support.load import LoadSettings, Tally

METHOD = "/fleetwatch.v1.Ingest/Stream"
SCHEMA = host_schema()
VALUES = HostValues(SCHEMA.series)


@dataclass(slots=True)
class Spooled:
    """A batch in the spool. `taken_at` and `sent_at` are on the monotonic clock; `sent_at` 0: not on this call."""

    seq: int
    t0_ms: int
    taken_at: float
    sent_at: float = 0.0


class SimulatedAgent:
    """One agent. Every method runs on the event loop's thread."""

    def __init__(self, name: str, settings: LoadSettings, tally: Tally, rng: random.Random) -> None:
        self.name, self.spool_id = name, str(uuid.UUID(int=rng.getrandbits(128)))
        self.issued: dict[int, int] = {}  # seq -> time of the first row, unix milliseconds
        self.acked: set[int] = set()
        self.refused: set[int] = set()
        self._settings, self._tally, self._rng = settings, tally, rng
        self._values = AgentValues(VALUES, name, self.spool_id)
        self._spool: dict[int, Spooled] = {}  # by rising seq
        self._unsent: list[int] = []  # heap of what is in the spool and not on this call
        self._in_flight = 0
        self._stream: GrpcStream | None = None
        self._window = 0  # batches in flight the collector allows; 0: not welcomed
        self._schema_sent = False
        self._base: tuple[int, Numbers] | None = None  # seq and last row of the batch sent before on this call
        self._heard_at = 0.0
        self._failures = 0
        self._leaving_after_s: float | None = None
        self._stopped = False
        self._connecting: asyncio.Task[None] | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}

    @property
    def unacked(self) -> int:
        """Batches in the spool."""
        return len(self._spool)

    @property
    def exhausted(self) -> bool:
        """Whether the settings' number of batches has been sampled."""
        return bool(self._settings.batches) and len(self.issued) >= self._settings.batches

    @property
    def connected(self) -> bool:
        """Whether the collector has welcomed it on the call that is open."""
        return self._window > 0

    def start(self, connect_after_s: float, sample_after_s: float) -> None:
        """Connects and samples from then on."""
        self._later("connect", connect_after_s, self._connect)
        if not self._settings.flood:
            self._tick(asyncio.get_running_loop().time() + sample_after_s)

    def stop(self) -> None:
        """Ends the call and all timers."""
        self._stopped = True
        for timer in self._timers.values():
            timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._stream is not None:
            self._stream.close("stopped")

    def check_silence(self, now: float) -> None:
        """Connects again when something is in flight and nothing was heard for the settings' time."""
        if self._stream and self._in_flight and now - self._heard_at > self._settings.silence_s:
            self._stream.close("no answer")

    # sampling

    def _tick(self, at: float) -> None:
        """Samples at `at` on the loop's clock and then every interval, without drift."""
        loop = asyncio.get_running_loop()

        def due() -> None:
            self._take(time.time_ns() // 1_000_000 - self._row_offsets_ms()[-1])
            self._pump()
            if not self.exhausted:
                self._tick(at + self._settings.interval_s * self._settings.rows)

        self._timers["tick"] = loop.call_at(at, due)

    def _take(self, t0_ms: int) -> None:
        seq = len(self.issued) + 1
        self.issued[seq] = t0_ms
        self._spool[seq] = Spooled(seq, t0_ms, time.monotonic())
        heapq.heappush(self._unsent, seq)
        self._tally.points_issued += self._points_per_batch

    def _take_at_once(self) -> None:
        step_ms = int(self._settings.interval_s * 1000)
        self._take(self._settings.start_ms + len(self.issued) * self._settings.rows * step_ms)

    def _row_offsets_ms(self) -> list[int]:
        return [int(row * self._settings.interval_s * 1000) for row in range(self._settings.rows)]

    def times_and_ticks(self, seq: int) -> dict[int, int]:
        """Time of each row of a batch in unix milliseconds to its tick."""
        first = (seq - 1) * self._settings.rows
        return {self.issued[seq] + offset: first + row for row, offset in enumerate(self._row_offsets_ms())}

    @property
    def _points_per_batch(self) -> int:
        return VALUES.columns * self._settings.rows

    # connecting

    def _connect(self) -> None:
        if not self._stopped:
            self._connecting = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        def call() -> GrpcStream:
            return GrpcStream(
                METHOD,
                self._settings.identity(self.name),
                on_message=self._received,
                on_closed=self._closed,
                on_going_away=lambda: self._leave(0.0),
            )

        try:
            loop = asyncio.get_running_loop()
            _, stream = await loop.create_connection(call, self._settings.host, self._settings.port)
        except OSError as error:
            self._closed(f"cannot connect: {error.strerror or error}")
            return
        if not stream.closed:
            self._stream = stream
            self._tally.connects += 1
            self._heard_at = time.monotonic()
            self._send(wire.AgentMessage(hello=self._hello()))

    def _hello(self) -> wire.Hello:
        return wire.Hello(
            spool_id=self.spool_id,
            boot_id=self.spool_id,
            first_unacked=next(iter(self._spool), 0),
            next_seq=len(self.issued) + 1,
            agent_version=VERSION,
            protocol=self._settings.protocol,
            facts=wire.Facts(os="simulated", architecture="x86_64", cores=4, threads=4, memory_bytes=8 << 30),
            tags=[wire.Tag(key="env", value="load")],
            wall_ms=time.time_ns() // 1_000_000,
            boottime_ms=time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000,
            interval_ms=int(self._settings.interval_s * 1000),
        )

    def _closed(self, reason: str) -> None:
        self._stream, self._window = None, 0
        self._all_unsent()
        if self._stopped:
            return
        self._tally.closed[reason] += 1
        longest = min(self._settings.max_backoff_s, self._settings.backoff_s * 2**self._failures)
        planned, self._leaving_after_s = self._leaving_after_s, None
        self._failures += planned is None
        self._later("connect", (planned or 0.0) + self._rng.uniform(0.0, longest), self._connect)

    def _leave(self, after_s: float) -> None:
        """Sends nothing new; once nothing is in flight connects again."""
        self._leaving_after_s = after_s
        self._pump()

    # sending

    def _pump(self) -> None:
        """Sends what the window allows, oldest first."""
        if self._leaving_after_s is not None:
            if not self._in_flight and self._stream is not None:
                self._stream.close("asked to leave")
            return
        while self._in_flight < self._window:
            if not self._unsent and self._settings.flood and not self.exhausted:
                self._take_at_once()
            if not self._unsent:
                return
            spooled = self._spool.get(heapq.heappop(self._unsent))
            if spooled is not None:
                self._send_batch(spooled)

    def _send_batch(self, spooled: Spooled) -> None:
        if not self._schema_sent:
            self._send(wire.AgentMessage(schema=SCHEMA))
            self._schema_sent = True
        batch = self.batch(spooled.seq, spooled.t0_ms)
        self._send(wire.AgentMessage(batch=batch))
        spooled.sent_at = time.monotonic()
        if not self._in_flight:
            self._heard_at = spooled.sent_at  # silence is counted from now on
        self._in_flight += 1
        self._tally.points_sent += self._points_per_batch

    def batch(self, seq: int, t0_ms: int) -> wire.Batch:
        """The batch as it goes out now: same values every time, encoded relative to what went before it."""
        settings = self._settings
        rows = VALUES.of(self._values, np.arange((seq - 1) * settings.rows, seq * settings.rows))
        made = wire.Batch(
            seq=seq,
            schema_id=SCHEMA.id,
            t0_ms=t0_ms,
            offset_ms=self._row_offsets_ms(),
        )
        encode(made, rows, settings.encoding, self._base)
        self._base = (seq, rows[-1])
        return made

    def _send(self, message: wire.AgentMessage) -> None:
        if self._stream is not None:
            raw = message.SerializeToString()
            self._tally.bytes_sent += len(raw)
            self._stream.send(raw)

    # receiving

    def _received(self, raw: bytes) -> None:
        message = wire.CollectorMessage.FromString(raw)
        self._heard_at = time.monotonic()
        match message.WhichOneof("message"):
            case "ack":
                self._acknowledged(message.ack)
            case "welcome":
                self._welcomed(message.welcome)
            case "nack":
                self._nacked(message.nack)
            case "need_schema":
                self._all_unsent()
            case "drain":
                self._leave(message.drain.reconnect_after_ms / 1000)
        self._pump()

    def _welcomed(self, welcome: wire.Welcome) -> None:
        self._window = welcome.window_batches or 1
        self._schema_sent = SCHEMA.id in welcome.known_schemas
        self._failures = 0
        self._tally.welcomes += 1

    def _acknowledged(self, ack: wire.Ack) -> None:
        durable = list(ack.also)
        for seq in self._spool:
            if seq > ack.up_to:
                break
            durable.append(seq)
        for seq in durable:
            if (spooled := self._spool.pop(seq, None)) is not None:
                self._forget(spooled)

    def _forget(self, spooled: Spooled) -> None:
        self.acked.add(spooled.seq)
        self._tally.batches_acked += 1
        self._tally.points_acked += self._points_per_batch
        self._tally.delivery_s.append(self._heard_at - spooled.taken_at)
        if spooled.sent_at:
            self._tally.ack_s.append(self._heard_at - spooled.sent_at)
            self._in_flight -= 1

    def _nacked(self, nack: wire.Nack) -> None:
        spooled = self._spool.get(nack.seq)
        self._tally.nacks[wire.Nack.Code.Name(nack.code)] += 1
        if spooled is None or not spooled.sent_at:
            return
        self._in_flight -= 1
        self._base, spooled.sent_at = None, 0.0
        if nack.code == wire.Nack.RETRY:
            self._later(f"retry {nack.seq}", nack.retry_after_ms / 1000, lambda: self._retry(nack.seq))
            return
        del self._spool[nack.seq]
        self.refused.add(nack.seq)
        self._tally.batches_refused += 1

    def _retry(self, seq: int) -> None:
        if seq in self._spool and seq not in self._unsent:
            heapq.heappush(self._unsent, seq)
            self._pump()

    def _all_unsent(self) -> None:
        """Nothing in the spool is on this call, nor the schema."""
        self._schema_sent, self._base, self._in_flight = False, None, 0
        self._unsent = list(self._spool)
        for spooled in self._spool.values():
            spooled.sent_at = 0.0

    def _later(self, what: str, after_s: float, do: Callable[[], None]) -> None:
        self._timers[what] = asyncio.get_running_loop().call_later(after_s, do)
