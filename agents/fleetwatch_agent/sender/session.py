"""One stream's conversation with a collector: what to say next, and what an answer means. No network in here."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from fleetwatch_proto import PROTOCOL, VERSION
from fleetwatch_proto.checksum import header_crc32
from fleetwatch_proto.v1 import ingest_pb2 as pb

from fleetwatch_agent import wire
from fleetwatch_agent.clocks import Clocks
from fleetwatch_agent.samples import Batch, Lost
from fleetwatch_agent.sender.lanes import LIVE_BATCHES, Lanes
from fleetwatch_agent.spool import Spool
from fleetwatch_agent.vitals import Vitals

_log = logging.getLogger(__name__)
_DEFAULT_WINDOW = 16
_LARGEST_WINDOW = 4096
_STATS_EVERY_S = 60.0
_LEAST_RETRY_S = 0.5
_RANGES_AT_ONCE = 1000
_MOST_BASES = 8
_REFUSED = {pb.Nack.POISON: "poison", pb.Nack.TOO_BIG: "too_big", pb.Nack.EXPIRED: "expired"}
_REFUSED[pb.Nack.FORBIDDEN] = "forbidden"


@dataclass(frozen=True, slots=True)
class Introduction:
    """What a Hello says of this agent besides its spool."""

    boot_id: str
    facts: pb.Facts
    tags: tuple[tuple[str, str], ...]
    interval_ms: int


class Session:
    """State of one stream. Not thread-safe: the sender's event loop owns it.

    `set_pace(interval_ms, each_row, for_s)` is called when the collector asks for another pace; it must be thread-safe.
    """

    def __init__(
        self,
        spool: Spool,
        clocks: Clocks,
        vitals: Vitals,
        set_pace: Callable[[int, bool, int], None],
    ) -> None:
        self._spool = spool
        self._clocks = clocks
        self._vitals = vitals
        self._set_pace = set_pace
        self.spool_id = spool.spool_id
        self.welcome: pb.Welcome | None = None
        self.drain_ms: int | None = None
        """Set when the collector is going away: how long to wait before connecting again."""
        self.acked = 0
        """Acknowledgements taken on this stream."""
        self.heard_s = clocks.seconds()
        """When the collector last said anything."""
        self.in_flight: dict[int, int] = {}
        """Schema id of each batch sent and not answered, by number."""
        self._window = 0
        self._lanes = Lanes([], lambda seq, limit: [])
        self._schemas: set[int] = set()
        self._queue: deque[pb.AgentMessage] = deque()
        self._last: dict[int, Batch] = {}
        self._told: list[int] = []
        self._told_before: int | None = None
        self._sent = 0
        self._order: dict[int, int] = {}
        self._stats_at_s = clocks.seconds() + _STATS_EVERY_S
        self._hello_wall_ms = 0

    # Saying

    def hello(self, who: Introduction) -> pb.AgentMessage:
        """The first message of the stream."""
        figures = self._spool.figures()
        self.spool_id = figures.spool_id
        self._hello_wall_ms = self._clocks.wall_ms()
        hello = pb.Hello(
            spool_id=figures.spool_id,
            boot_id=who.boot_id,
            first_unacked=next(iter(self._spool.after(0, 1)), 0),
            next_seq=figures.next_seq,
            agent_version=VERSION,
            protocol=PROTOCOL,
            facts=who.facts,
            tags=[pb.Tag(key=key, value=value) for key, value in who.tags],
            wall_ms=self._hello_wall_ms,
            boottime_ms=self._clocks.boot_ms(),
            interval_ms=who.interval_ms,
            lost=self._lost(),
        )
        return pb.AgentMessage(hello=hello)

    def next(self) -> pb.AgentMessage | None:
        """The next message, or None when there is nothing to say now; see `due_in_s`."""
        if self._queue:
            return self._queue.popleft()
        if self.welcome is None or self.stale:
            return None
        now = self._clocks.seconds()
        if now >= self._stats_at_s:
            return self._stats(now)
        if self.drain_ms is not None or len(self.in_flight) >= self._window:
            return None
        self._lanes.refresh()
        while taken := self._lanes.take(now):
            if message := self._batch(*taken):
                return message
        return None

    def due_in_s(self) -> float:
        """Seconds until `next` may have something without anything happening before."""
        due = [self._stats_at_s]
        put_off = self._lanes.next_due_s()
        if put_off is not None and len(self.in_flight) < self._window:
            due.append(put_off)
        return max(0.0, min(due) - self._clocks.seconds())

    def goodbye(self, reason: pb.Goodbye.Reason.ValueType, expected_back_s: int) -> pb.AgentMessage:
        """The last message before a planned stop."""
        return pb.AgentMessage(goodbye=pb.Goodbye(reason=reason, expected_back_s=expected_back_s))

    def end(self) -> None:
        """The stream is over: nothing is on its way any more."""
        self._spool.sending(self.spool_id, set())

    @property
    def stale(self) -> bool:
        """Whether the spool has changed its identity since the Hello, so that a new stream is needed."""
        return self._spool.spool_id != self.spool_id

    @property
    def idle(self) -> bool:
        """Whether everything that could be sent is sent and answered."""
        return not self._queue and not self.in_flight and not self._spool.after(0, 1)

    def _batch(self, seq: int, backfill: bool) -> pb.AgentMessage | None:
        """The message of a batch; its schema first when the collector may not know it. None when it is gone."""
        batch = self._spool.get(seq)
        if batch is None:
            return None
        if batch.schema_id not in self._schemas:
            data = self._spool.schema(batch.schema_id)
            if data is None:
                self._bury(seq, "corrupt", "its schema is missing")
                return None
            self._schemas.add(batch.schema_id)
            self._queue.append(self._encoded(batch, backfill))
            return pb.AgentMessage(schema=pb.Schema.FromString(data))
        return self._encoded(batch, backfill)

    def _encoded(self, batch: Batch, backfill: bool) -> pb.AgentMessage:
        message = pb.Batch(
            seq=batch.seq,
            schema_id=batch.schema_id,
            t0_ms=batch.t0_ms,
            offset_ms=batch.offsets_ms,
            crc32=batch.crc32,
            backfill=backfill,
        )
        if batch.processes:
            message.processes.ParseFromString(batch.processes)
        message.encoding, message.values, message.base_seq = self._values(batch)
        message.header_crc32 = header_crc32(message)
        if len(self._last) >= _MOST_BASES:
            self._last.clear()
        self._last[batch.schema_id] = batch
        self.in_flight[batch.seq] = batch.schema_id
        self._sent += 1
        self._order[batch.seq] = self._sent
        self._spool.sending(self.spool_id, set(self.in_flight))
        return pb.AgentMessage(batch=message)

    def _values(self, batch: Batch) -> tuple[pb.Encoding.ValueType, bytes, int]:
        """Encoding, values and base: what changed since the batch before, or what is spooled when that is less."""
        before = self._last.get(batch.schema_id)
        if batch.rows == 1 and before is not None:
            base = wire.rows_of(before.columns, before.rows)[-1]
            changed = wire.bitmap(wire.rows_of(batch.columns, 1)[0], base)
            if len(changed) < len(batch.columns):
                return pb.BITMAP_F64, changed, before.seq
        return pb.COLUMNS_ZLIB, batch.columns, 0

    def _stats(self, now: float) -> pb.AgentMessage:
        self._stats_at_s = now + _STATS_EVERY_S
        figures = self._spool.figures()
        stats = pb.Stats(
            spooled_batches=figures.batches,
            spooled_bytes=figures.bytes,
            durable=figures.durable,
            reader_errors=self._vitals.reader_errors,
            dropped_values=self._vitals.dropped_values,
            lost=self._lost(),
            clock_steps=self._vitals.clock_steps,
        )
        return pb.AgentMessage(stats=stats)

    def _lost(self) -> list[pb.LostRange]:
        """Ranges to report now. They count as told when a batch that was sent later is acknowledged."""
        if self._told:
            return []
        found = self._spool.lost(_RANGES_AT_ONCE)
        self._told = [number for number, _ in found]
        self._told_before = self._sent
        return [_lost_range(one) for _, one in found]

    # Hearing

    def receive(self, message: pb.CollectorMessage) -> None:
        """Takes an answer in."""
        self.heard_s = self._clocks.seconds()
        kind = message.WhichOneof("message")
        if kind == "ack":
            self._take_ack(message.ack)
        elif kind == "nack":
            self._take_nack(message.nack)
        elif kind == "welcome":
            self._take_welcome(message.welcome)
        elif kind == "need_schema":
            self._take_need_schema(message.need_schema.schema_id)
        elif kind == "set_interval":
            asked = message.set_interval
            self._set_pace(asked.interval_ms, asked.ship_each_row, asked.for_s)
        elif kind == "drain":
            self.drain_ms = message.drain.reconnect_after_ms

    def _take_welcome(self, welcome: pb.Welcome) -> None:
        self.welcome = welcome
        self._window = min(welcome.window_batches or _DEFAULT_WINDOW, _LARGEST_WINDOW)
        self._schemas = set(welcome.known_schemas)
        self._lanes = Lanes(self._spool.latest(LIVE_BATCHES), self._spool.after)
        middle = (self._hello_wall_ms + self._clocks.wall_ms()) / 2
        self._vitals.clock_offset_ms = float(round(middle - welcome.wall_ms))

    def _take_ack(self, ack: pb.Ack) -> None:
        self.acked += 1
        self._spool.acknowledge(self.spool_id, ack.up_to, ack.also)
        answered = [seq for seq in self.in_flight if seq <= ack.up_to]
        for seq in [*answered, *ack.also]:
            self._answered(seq)

    def _answered(self, seq: int) -> None:
        self.in_flight.pop(seq, None)
        order = self._order.pop(seq, 0)
        if self._told and self._told_before is not None and order > self._told_before:
            self._spool.forget_lost(self.spool_id, self._told)
            more = len(self._told) >= _RANGES_AT_ONCE
            self._told = []
            if more:
                self._stats_at_s = 0.0

    def _take_nack(self, nack: pb.Nack) -> None:
        schema_id = self.in_flight.pop(nack.seq, None)
        self._order.pop(nack.seq, None)
        if schema_id is None:
            return
        # What the collector did not take cannot be what the next batch is relative to.
        self._last.pop(schema_id, None)
        reason = _REFUSED.get(nack.code)
        if reason is None:
            wait_s = max(nack.retry_after_ms / 1000, _LEAST_RETRY_S)
            self._lanes.again(nack.seq, self._clocks.seconds() + wait_s)
        else:
            self._bury(nack.seq, reason, nack.detail)

    def _bury(self, seq: int, reason: str, detail: str) -> None:
        _log.error("batch refused for good", extra={"seq": seq, "reason": reason, "detail": detail})
        self._spool.bury(self.spool_id, seq, reason, detail)
        if not self._told:
            self._stats_at_s = 0.0

    def _take_need_schema(self, schema_id: int) -> None:
        """The collector does not know the schema: it is sent again, and behind it every batch that used it."""
        self._schemas.discard(schema_id)
        self._last.pop(schema_id, None)
        for seq in [seq for seq, used in self.in_flight.items() if used == schema_id]:
            del self.in_flight[seq]
            self._order.pop(seq, None)
            self._lanes.again(seq, 0.0)


def _lost_range(lost: Lost) -> pb.LostRange:
    return pb.LostRange(from_seq=lost.from_seq, to_seq=lost.to_seq, points=lost.points, reason=lost.reason)
