"""The load generator itself, against a small ingest server: what it says must be what a real agent would say."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc
import numpy as np
import pytest
from fleetwatch_proto.v1 import ingest_pb2 as wire

from tests.support.conditions import wait_until_async
from tests.support.load import Fleet, LoadSettings
from tests.support.values import HostValues, host_schema

COLUMNS = HostValues(host_schema().series).columns


@dataclass
class Taker:
    """An ingest server that decodes by itself, acknowledges everything and remembers what came."""

    window: int = 4
    answer: bool = True
    rows: dict[tuple[str, str, int], list[list[float]]] = field(default_factory=dict)
    most_in_flight: int = 0
    needs_schema: bool = False
    port: int = 0

    async def start(self) -> None:
        options = [("grpc.so_reuseport", 0)]
        self.server = grpc.aio.server(options=options)
        handler = grpc.stream_stream_rpc_method_handler(
            self.stream, wire.AgentMessage.FromString, wire.CollectorMessage.SerializeToString
        )
        service = grpc.method_handlers_generic_handler("fleetwatch.v1.Ingest", {"Stream": handler})
        self.server.add_generic_rpc_handlers((service,))
        self.port = self.server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self.server.start()

    async def stop(self) -> None:
        await self.server.stop(None)

    async def stream(
        self, calls: AsyncIterator[wire.AgentMessage], context: grpc.aio.ServicerContext[object, object]
    ) -> AsyncIterator[wire.CollectorMessage]:
        agent = dict(context.invocation_metadata() or ())["fleetwatch-agent-id"]
        spool, base, schemas = "", np.zeros(COLUMNS), set[int]()
        async for message in calls:
            match message.WhichOneof("message"):
                case "hello":
                    spool = message.hello.spool_id
                    yield wire.CollectorMessage(welcome=wire.Welcome(window_batches=self.window))
                case "schema":
                    schemas.add(message.schema.id)
                case "batch" if self.needs_schema:
                    self.needs_schema = False
                    yield wire.CollectorMessage(need_schema=wire.NeedSchema(schema_id=message.batch.schema_id))
                case "batch":
                    assert message.batch.schema_id in schemas
                    rows = decode(message.batch, base)
                    base = rows[-1]
                    self.rows.setdefault((str(agent), spool, message.batch.seq), rows.tolist())
                    if self.answer:
                        yield wire.CollectorMessage(ack=wire.Ack(up_to=message.batch.seq))


def decode(batch: wire.Batch, base: np.ndarray) -> np.ndarray:
    count = len(batch.offset_ms)
    if batch.encoding == wire.RAW_F64:
        rows = np.frombuffer(batch.values, "<f8").reshape(count, COLUMNS)
    elif batch.encoding == wire.COLUMNS_ZLIB:
        rows = np.frombuffer(zlib.decompress(batch.values), "<f8").reshape(COLUMNS, count).T
    else:
        rows, at, before = np.empty((count, COLUMNS)), 0, base
        width = (COLUMNS + 7) // 8
        for row in range(count):
            mask = np.unpackbits(np.frombuffer(batch.values, np.uint8, width, at), bitorder="little")[:COLUMNS] == 1
            changed = int(mask.sum())
            rows[row] = before
            rows[row, mask] = np.frombuffer(batch.values, "<f8", changed, at + width)
            at, before = at + width + 8 * changed, rows[row]
        assert at == len(batch.values)
    assert zlib.crc32(np.ascontiguousarray(rows, "<f8").tobytes()) == batch.crc32
    return rows


@pytest.fixture
async def taker() -> AsyncIterator[Taker]:
    server = Taker()
    await server.start()
    yield server
    await server.stop()


@pytest.mark.parametrize("encoding", ["bitmap", "raw", "zlib"])
async def test_every_batch_arrives_with_the_values_of_its_agent_spool_and_tick(taker: Taker, encoding: str) -> None:
    settings = LoadSettings(
        port=taker.port, agents=5, rows=3, batches=4, interval_s=0.02, encoding=encoding, connect_over_s=0.1
    )
    fleet = Fleet(settings)

    fleet.start()
    await fleet.all_acked(within_s=10)
    await fleet.stop()

    values = HostValues(host_schema().series)
    expected = {
        (agent.name, agent.spool_id, seq): values.at(agent.name, agent.spool_id, (seq - 1) * 3, 3).tolist()
        for agent in fleet.agents
        for seq in range(1, 5)
    }
    assert taker.rows == expected
    assert fleet.tally.points_acked == 5 * 4 * 3 * COLUMNS
    assert len(fleet.tally.ack_s) == 20


async def test_what_was_not_acknowledged_is_sent_again_after_a_reconnect(taker: Taker) -> None:
    settings = LoadSettings(port=taker.port, agents=3, batches=10, interval_s=0.01, connect_over_s=0.05, backoff_s=0.05)
    fleet = Fleet(settings)
    taker.answer = False

    fleet.start()
    await wait_until_async(lambda: len(taker.rows) == 3 * taker.window, what="full windows")
    await taker.stop()
    first, taker.answer = dict(taker.rows), True
    await taker.start()
    await fleet.all_acked(within_s=10)
    await fleet.stop()

    assert {seq for _, _, seq in first} == set(range(1, taker.window + 1))
    assert {seq for _, _, seq in taker.rows} == set(range(1, 11))
    assert fleet.tally.connects == 6


async def test_the_window_is_kept_and_a_silent_collector_is_left(taker: Taker) -> None:
    settings = LoadSettings(port=taker.port, agents=1, flood=True, batches=50, silence_s=0.5, backoff_s=0.01)
    fleet = Fleet(settings)
    taker.answer = False

    fleet.start()
    await wait_until_async(lambda: fleet.tally.connects == 2, what="a second call")
    await fleet.stop()

    assert {seq for _, _, seq in taker.rows} == {1, 2, 3, 4}
    assert fleet.tally.closed["no answer"] >= 1


async def test_a_collector_that_does_not_know_the_schema_gets_it(taker: Taker) -> None:
    taker.needs_schema = True
    fleet = Fleet(LoadSettings(port=taker.port, agents=1, flood=True, batches=20))

    fleet.start()
    await fleet.all_acked(within_s=10)
    await fleet.stop()

    assert {seq for _, _, seq in taker.rows} == set(range(1, 21))


async def test_two_hundred_agents_stream_side_by_side(taker: Taker) -> None:
    fleet = Fleet(LoadSettings(port=taker.port, agents=200, batches=3, interval_s=0.2, connect_over_s=0.5))

    fleet.start()
    await fleet.all_acked(within_s=20)
    await fleet.stop()

    assert len(taker.rows) == 600
    assert fleet.tally.ack_percentile_s(0.5) < 1
    await asyncio.sleep(0)
