"""One agent's stream: what it sent, what it is told, and how much more may be read from it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fleetwatch_proto import PROTOCOL, VERSION
from fleetwatch_proto.checksum import header_crc32
from fleetwatch_proto.v1.ingest_pb2 import (
    AgentMessage,
    Batch,
    Drain,
    Goodbye,
    Hello,
    LostRange,
    Nack,
    Schema,
    SetInterval,
    Stats,
    Welcome,
)
from fleetwatch_storage.frames import Numbers
from google.protobuf.message import DecodeError

from fleetwatch_collector.accounts import MESSAGE_POINTS, Account
from fleetwatch_collector.arrivals import Arrival
from fleetwatch_collector.batches import LARGEST_SEQ, check_batch
from fleetwatch_collector.completeness import Counts, Spool
from fleetwatch_collector.errors import CallRefused, Refused, Why
from fleetwatch_collector.identity import Identity
from fleetwatch_collector.intake import Intake
from fleetwatch_collector.layout import Plan, Plans
from fleetwatch_collector.limits import Budget
from fleetwatch_collector.metrics import Tally
from fleetwatch_collector.outbox import Outbox
from fleetwatch_collector.presence import Presence
from fleetwatch_collector.schemas import read_schema
from fleetwatch_collector.sequences import Acknowledged
from fleetwatch_collector.settings import CollectorSettings

_MOST_REFUSED_SCHEMAS = 64
_MOST_BASES = 8
_POISON_AFTER = 3
_MOST_DAMAGED = 64
_SUSPECT_CLOCK_RETRY_MS = 60_000
_SILENT_S = 120.0
_TELL_OF_RIVAL_S = 600.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What all sessions share."""

    settings: CollectorSettings
    plans: Plans
    intake: Intake
    budget: Budget
    presence: Presence
    tally: Tally
    own_clock_suspect: Callable[[], bool]


class Session:
    """The state of one stream, from its Hello to its end. Event loop's thread only."""

    __slots__ = (
        "__weakref__", "_acknowledged", "_bases", "_clock_steps", "_damaged", "_durable", "_in_flight",
        "_in_flight_bytes", "_needed", "_parts", "_refused_schemas", "_resume", "_rival",
        "_tell_of_rival_at_s", "account", "boot_id", "clock_offset_ms", "counts", "gone", "heard_s",
        "identity", "interval_ms", "outbox", "spool", "spool_id",
    )  # fmt: skip

    def __init__(
        self, identity: Identity, hello: Hello, account: Account, spool: Spool, parts: Parts, wake: Callable[[], None]
    ) -> None:
        self.identity, self.account, self.spool = identity, account, spool
        self.spool_id, self.boot_id = hello.spool_id, hello.boot_id
        self.interval_ms = hello.interval_ms
        self.clock_offset_ms = 0.0
        self.counts = Counts()
        self.outbox = Outbox(wake)
        self.heard_s = 0.0
        self.gone = False
        self._rival = ""
        self._tell_of_rival_at_s = 0.0
        self._parts = parts
        self._acknowledged = Acknowledged(hello.first_unacked or hello.next_seq)
        self._in_flight = 0
        self._in_flight_bytes = 0
        self._bases: dict[int, tuple[int, Numbers]] = {}
        self._damaged: Counter[int] = Counter()
        self._refused_schemas: dict[int, Refused] = {}
        self._needed: set[int] = set()
        self._clock_steps = 0
        self._durable = True
        self._resume: asyncio.Future[None] | None = None

    # what the stream sends

    def take(self, raw: bytes, now_ms: int, now_s: float) -> None:
        """One message as it came.

        Raises:
            CallRefused: it is not a message of this protocol, or it may not come now.
        """
        self._parts.tally.bytes += len(raw)
        try:
            message = AgentMessage.FromString(raw)
        except DecodeError as error:
            raise CallRefused(Why.INVALID, f"a message of {len(raw)} bytes is not of this protocol: {error}") from error
        self.heard_s = now_s
        self._parts.presence.heard(self)
        if self._rival:
            self._tell_of_rival(now_ms, now_s)
        kind = message.WhichOneof("message")
        if kind == "batch":
            self._take_batch(message.batch, len(raw), now_ms, now_s)
            return
        self.account.points.spend(MESSAGE_POINTS, now_s)
        if len(raw) > self._parts.settings.max_message:
            raise CallRefused(
                Why.EXHAUSTED, f"a {kind} of {len(raw)} bytes; at most {self._parts.settings.max_message}"
            )
        if kind == "schema":
            self._take_schema(message.schema, raw, now_s)
        elif kind == "stats":
            self._take_stats(message.stats, now_ms)
        elif kind == "goodbye":
            self._take_goodbye(message.goodbye, now_ms)
        elif kind == "hello":
            raise CallRefused(Why.INVALID, "a second Hello on one stream")

    def _take_batch(self, batch: Batch, raw_size: int, now_ms: int, now_s: float) -> None:
        if batch.header_crc32 and batch.header_crc32 != header_crc32(batch):
            raise CallRefused(Why.INVALID, "a batch was damaged on its way: its header is not what was sent")
        limit = self._parts.settings.max_message
        points = MESSAGE_POINTS
        try:
            if raw_size > limit:
                raise Refused(Nack.TOO_BIG, f"the message has {raw_size} bytes; at most {limit} are taken")
            plan = self._plan(batch.schema_id)
            arrival = check_batch(batch, self, plan, self._parts.settings, now_ms)
            if arrival.in_future and self._parts.own_clock_suspect():
                detail = "the clocks of most agents are far ahead of the collector's: its own is suspected, send later"
                raise Refused(Nack.RETRY, detail, retry_after_ms=_SUSPECT_CLOCK_RETRY_MS)
            points = max(points, len(arrival.offset_ms) * plan.layout.columns)
            self._count_in(arrival)
            self._parts.intake.add(arrival)
        except Refused as refused:
            self._nack(batch.seq, refused)
        finally:
            self.account.points.spend(points, now_s)

    def _plan(self, schema_id: int) -> Plan:
        plan = self.account.plans.get(schema_id)
        if plan is not None:
            return plan
        if refused := self._refused_schemas.get(schema_id):
            raise refused
        if schema_id not in self._needed and len(self._needed) < _MOST_REFUSED_SCHEMAS:
            self._needed.add(schema_id)
            self.outbox.need_schema(schema_id)
        raise Refused(Nack.RETRY, f"schema {schema_id:016x} is not known: send it first", retry_after_ms=100)

    def _take_schema(self, schema: Schema, raw: bytes, now_s: float) -> None:
        self._needed.discard(schema.id)
        try:
            plan = self._parts.plans.find_or_make(schema.id, raw, lambda: read_schema(schema, self._parts.settings))
            self.account.points.spend(plan.layout.columns, now_s)
            self.account.admit(plan, now_s)
            self._refused_schemas.pop(schema.id, None)
        except Refused as refused:
            self._refuse_schema(schema.id, refused)

    def _refuse_schema(self, schema_id: int, refused: Refused) -> None:
        if refused.code == Nack.RETRY:
            self._refused_schemas.pop(schema_id, None)
            return
        if len(self._refused_schemas) >= _MOST_REFUSED_SCHEMAS:
            del self._refused_schemas[next(iter(self._refused_schemas))]
        self._refused_schemas[schema_id] = refused
        self._parts.presence.schema_refused(self, refused.detail)

    def _take_stats(self, stats: Stats, now_ms: int) -> None:
        self.take_lost(stats.lost, now_ms)
        self._parts.presence.stats(
            self, stats, steps_before=self._clock_steps, durable_before=self._durable, now_ms=now_ms
        )
        self._clock_steps, self._durable = stats.clock_steps, stats.durable

    def _take_goodbye(self, goodbye: Goodbye, now_ms: int) -> None:
        self.account.said_goodbye = True
        self._parts.presence.goodbye(self, goodbye, now_ms)

    def take_lost(self, ranges: Iterable[LostRange], now_ms: int) -> None:
        """Ranges of batches that will never come."""
        for lost in ranges:
            if not 1 <= lost.from_seq <= lost.to_seq <= LARGEST_SEQ:
                continue
            self._acknowledged.add_range(lost.from_seq, lost.to_seq)
            if self.spool.lost(lost.from_seq, lost.to_seq, self.counts):
                self._parts.presence.points_lost(self, lost, now_ms)

    # what becomes of its batches: the Source that later stages see

    @property
    def host(self) -> str:
        """The name the host is stored under."""
        return self.identity.host

    def base(self, schema_id: int, seq: int) -> Numbers | None:
        """The last row of batch `seq`, when that was the last one decoded of this schema."""
        kept = self._bases.get(schema_id)
        return kept[1] if kept is not None and kept[0] == seq else None

    def keep_base(self, schema_id: int, seq: int, row: Numbers) -> None:
        """Remembers the last row of the last batch of a schema."""
        self._bases.pop(schema_id, None)
        self._bases[schema_id] = (seq, row)
        if len(self._bases) > _MOST_BASES:
            del self._bases[next(iter(self._bases))]

    def refuse(self, arrival: Arrival, refused: Refused) -> None:
        """The batch cannot be decoded."""
        self._count_out(arrival)
        self._nack(arrival.seq, refused)

    def settle(self, arrival: Arrival) -> None:
        """The batch is durable."""
        self._count_out(arrival)
        before = self.counts.duplicates
        self.spool.taken(arrival.seq, self.counts)
        self._parts.tally.duplicates += self.counts.duplicates - before
        self._acknowledged.add(arrival.seq)

    def tell(self) -> None:
        """Acknowledges what was settled."""
        self._parts.presence.heard(self)
        if not self.gone:
            self.outbox.ack_due()

    def _nack(self, seq: int, refused: Refused) -> None:
        if refused.code == Nack.POISON and self._may_be_damage(seq):
            refused = Refused(Nack.RETRY, refused.detail)
        if refused.code != Nack.RETRY:
            self._parts.tally.rejected_batches += 1
            if 1 <= seq <= LARGEST_SEQ:
                self._acknowledged.add_range(seq, seq)
        nack = Nack(seq=seq, code=refused.code, retry_after_ms=refused.retry_after_ms, detail=refused.detail)
        if not self.gone:
            self.outbox.nack(nack)

    def _may_be_damage(self, seq: int) -> bool:
        """Damage on the way looks like poison; that is believed when the same batch came so several times."""
        self._damaged[seq] += 1
        believed = self._damaged[seq] >= _POISON_AFTER
        if believed or len(self._damaged) > _MOST_DAMAGED:
            del self._damaged[seq]
        return not believed

    # what it is told

    def greet(self, hello: Hello, now_ms: int) -> None:
        """Answers the Hello and takes over what it says of the past."""
        self.take_lost(hello.lost, now_ms)
        self.spool.announced(hello.first_unacked, hello.next_seq, self.counts)
        self.outbox.welcome(
            Welcome(
                collector_version=VERSION,
                protocol=PROTOCOL,
                wall_ms=now_ms,
                window_batches=self._parts.settings.window_batches,
                host=self.host,
                known_schemas=list(self.account.plans),
            )
        )

    def messages(self) -> list[bytes]:
        """What is to be sent now."""
        messages = self.outbox.take(self._acknowledged)
        if self._resume is not None:
            self._go_on()
        return messages

    def watch(self, interval_ms: int, for_s: int) -> None:
        """Asks for fast rows, shipped as they are read, for a while."""
        interval_ms = min(interval_ms, self.interval_ms or interval_ms)
        self.outbox.interval(SetInterval(interval_ms=interval_ms, ship_each_row=True, for_s=for_s))

    def drain(self, reconnect_after_ms: int) -> None:
        """Asks the agent to connect again."""
        self.outbox.drain(Drain(reconnect_after_ms=reconnect_after_ms))

    # how much more may be read

    def is_silent(self, now_s: float) -> bool:
        """Whether nothing came for so long that the other side is likely gone."""
        return now_s - self.heard_s > _SILENT_S

    def has_rival(self, boot_id: str) -> None:
        """Another boot of this agent wanted in.

        Two are live once this one is heard after that. A host that was reset is not: its old stream only looks alive
        until the missing keepalive is noticed.
        """
        self._rival = boot_id

    def _tell_of_rival(self, now_ms: int, now_s: float) -> None:
        if now_s >= self._tell_of_rival_at_s:
            self._parts.presence.cloned(self, self._rival, now_ms)
            self._tell_of_rival_at_s = now_s + _TELL_OF_RIVAL_S
        self._rival = ""

    def _count_in(self, arrival: Arrival) -> None:
        self._in_flight += 1
        self._in_flight_bytes += arrival.size
        self._parts.budget.take(arrival.size)

    def _count_out(self, arrival: Arrival) -> None:
        self._in_flight -= 1
        self._in_flight_bytes -= arrival.size
        self._parts.budget.give_back(arrival.size)
        self._go_on()

    def _go_on(self) -> None:
        if self._resume is not None and not self._resume.done() and not self._full:
            self._resume.set_result(None)

    @property
    def _full(self) -> bool:
        """Whether this agent has used up its window, or does not read what it is told."""
        settings = self._parts.settings
        return (
            self._in_flight >= settings.window_batches
            or self._in_flight_bytes >= settings.window_bytes
            or self.outbox.full
        )

    def must_wait(self) -> bool:
        """Whether nothing may be read now: this agent's window or rate, or everybody's budget."""
        return self._full or self._parts.budget.full or self.account.points.level < 0

    async def wait(self) -> None:
        """Waits until more may be read, or for what is known of that now."""
        if (delay_s := self.account.points.wait_s(time.monotonic())) > 0:
            self._parts.tally.throttled += 1
            self._parts.presence.throttled(self)
            await asyncio.sleep(delay_s)
        while self._full:
            self._resume = asyncio.get_running_loop().create_future()
            await self._resume
            self._resume = None
        await self._parts.budget.room()
