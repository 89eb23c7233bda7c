"""An agent's side of one Ingest stream, step by step: for tests that say exactly what is sent and when."""

from __future__ import annotations

import asyncio
import contextlib
import time
import zlib
from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
from fleetwatch_proto import PROTOCOL
from fleetwatch_proto.schema import schema_id
from fleetwatch_proto.v1 import ingest_pb2 as wire
from fleetwatch_proto.v1 import ingest_pb2_grpc

from tests.support.encoding import encode


def series(measurement: str = "mem", fields: Sequence[str] = ("used", "free"), **tags: str) -> wire.Series:
    """One series of a schema."""
    pairs = [wire.Tag(key=key, value=value) for key, value in sorted(tags.items())]
    return wire.Series(measurement=measurement, tags=pairs, fields=fields)


def schema(*members: wire.Series) -> wire.Schema:
    """A schema with its true id; one series of two columns unless told otherwise."""
    chosen = list(members or (series(),))
    return wire.Schema(id=schema_id(chosen), series=chosen)


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


def batch(
    seq: int,
    of: wire.Schema,
    rows: Any = None,
    *,
    encoding: str = "raw",
    base: tuple[int, Any] | None = None,
    t0_ms: int | None = None,
    step_ms: int = 1000,
) -> wire.Batch:
    """A batch of `rows` (rows, columns); by default one row of ones."""
    columns = sum(len(one.fields) for one in of.series)
    values = np.ones((1, columns)) if rows is None else np.atleast_2d(np.asarray(rows, np.float64))
    start = now_ms() - (len(values) - 1) * step_ms if t0_ms is None else t0_ms
    offsets = [row * step_ms for row in range(len(values))]
    made = wire.Batch(seq=seq, schema_id=of.id, t0_ms=start, offset_ms=offsets)
    encode(made, values, encoding, base)
    made.header_crc32 = 0  # an agent that gives none, so that tests may change what it says
    return made


def table(*processes: tuple[str, float], user: str = "root") -> wire.ProcessTable:
    """A process table of (name, cpu percent)."""
    count = len(processes)
    return wire.ProcessTable(
        pid=range(100, 100 + count),
        name=[name for name, _ in processes],
        user=[user] * count,
        cpu_percent=[cpu for _, cpu in processes],
        rss=[1000 * (place + 1) for place in range(count)],
        read_bytes=[1.5] * count,
        write_bytes=[2.5] * count,
        threads=[1] * count,
        started_ms=[1_700_000_000_000] * count,
    )


class StreamEnded(AssertionError):
    """The collector ended the stream; status and words."""


class StreamClient:
    """One agent with one stream at a time."""

    def __init__(self, port: int, agent: str = "agent-1", host: str = "web1", *, token: str = "") -> None:
        self.agent, self.host, self.token = agent, host, token
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)])
        self.call: Any = None
        self.inbox: list[wire.CollectorMessage] = []
        self._news = asyncio.Event()
        self._end = ""
        self._reader: asyncio.Task[None] | None = None

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Who it says it is."""
        claims = [("fleetwatch-agent-id", self.agent), ("fleetwatch-host", self.host)]
        return tuple(claims + ([("authorization", f"Bearer {self.token}")] if self.token else []))

    def hello(self, **overrides: Any) -> wire.Hello:
        """What it opens its stream with."""
        fields: dict[str, Any] = {
            "spool_id": f"spool-of-{self.agent}",
            "boot_id": "boot-1",
            "first_unacked": 1,
            "next_seq": 1,
            "agent_version": "0.1.0",
            "protocol": PROTOCOL,
            "wall_ms": now_ms(),
            "interval_ms": 10_000,
        }
        return wire.Hello(**(fields | overrides))

    async def open(self) -> None:
        """Opens a stream and says nothing."""
        if self._reader is not None:
            self._reader.cancel()
        self.call = ingest_pb2_grpc.IngestStub(self.channel).Stream(metadata=self.metadata)
        self.inbox, self._news, self._end = [], asyncio.Event(), ""
        self._reader = asyncio.create_task(self._read(self.call, self.inbox, self._news))

    async def connect(self, **overrides: Any) -> wire.Welcome:
        """Opens a stream and waits for the welcome."""
        await self.open()
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # refused: the reader has the words
            await self.send(hello=self.hello(**overrides))
        return (await self.next("welcome")).welcome

    async def send(self, **message: Any) -> None:
        """Sends one message, by the name of its kind."""
        await self.call.write(wire.AgentMessage(**message))

    async def begin(self, of: wire.Schema, **overrides: Any) -> None:
        """Connects and sends the schema."""
        await self.connect(**overrides)
        await self.send(schema=of)

    async def next(self, kind: str, within_s: float = 5.0) -> wire.CollectorMessage:
        """The next message of a kind; others are kept in `inbox`.

        Raises:
            StreamEnded: none came before the end.
            TimeoutError: none came in time.
        """
        async with asyncio.timeout(within_s):
            while True:
                for place, message in enumerate(self.inbox):
                    if message.WhichOneof("message") == kind:
                        return self.inbox.pop(place)
                if self._end:
                    raise StreamEnded(self._end)
                self._news.clear()
                await self._news.wait()

    async def _read(self, call: Any, inbox: list[wire.CollectorMessage], news: asyncio.Event) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError):
            while (message := await call.read()) is not grpc.aio.EOF:
                inbox.append(message)
                news.set()
        self._end = f"{await call.code()}: {await call.details()}"
        news.set()

    async def acked(self, up_to: int, within_s: float = 5.0) -> wire.Ack:
        """Waits for an acknowledgement that covers `up_to`."""
        while True:
            ack = (await self.next("ack", within_s)).ack
            if ack.up_to >= up_to:
                return ack

    async def nack(self, within_s: float = 5.0) -> wire.Nack:
        """The next refusal."""
        return (await self.next("nack", within_s)).nack

    async def refusal(self, within_s: float = 5.0) -> tuple[grpc.StatusCode, str]:
        """Waits for the collector to end the stream; status and words."""
        async with asyncio.timeout(within_s):
            code = await self.call.code()
            return code, await self.call.details()

    async def close(self) -> None:
        """Goes away."""
        if self.call is not None:
            self.call.cancel()
        if self._reader is not None:
            self._reader.cancel()
        await self.channel.close()


def checksum(rows: Any) -> int:
    """CRC-32 of rows as RAW_F64."""
    return zlib.crc32(np.asarray(rows, "<f8").tobytes())
