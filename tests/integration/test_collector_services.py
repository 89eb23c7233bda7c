"""Identity, queries, live watching, imports, health and reflection over real gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import prometheus_client
import pytest
from fleetwatch_collector import server
from fleetwatch_collector.service import Collector
from fleetwatch_collector.settings import CollectorSettings
from fleetwatch_proto.settings import ConfigError
from fleetwatch_proto.v1 import import_pb2, import_pb2_grpc, query_pb2, query_pb2_grpc
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.hosts import Host
from fleetwatch_storage.messages import frame_from_message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.support.conditions import wait_until_async
from tests.support.list_store import away
from tests.support.running_collector import Running, running
from tests.support.stream_client import StreamEnded, batch, now_ms, schema, series

MEM = schema()


@pytest.fixture
async def collector(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as part:
        yield part


@pytest.fixture
async def channel(collector: Running) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{collector.collector.port}") as open_channel:
        yield open_channel


def _secret(folder: Path, text: str = "0123456789abcdef") -> Path:
    file = folder / "token"
    file.write_text(text)
    file.chmod(0o600)
    return file


# identity


async def test_with_a_token_every_caller_must_show_it(tmp_path: Path) -> None:
    async with running(tmp_path, token_file=_secret(tmp_path)) as collector:
        right = collector.client(token="0123456789abcdef")
        wrong = collector.client("agent-2", "web2", token="0123456789abcdeF")
        without = collector.client("agent-3", "web3")

        await right.connect()
        with pytest.raises(StreamEnded, match=r"UNAUTHENTICATED.*token is missing or wrong"):
            await wrong.connect()
        with pytest.raises(StreamEnded, match="UNAUTHENTICATED"):
            await without.connect()


async def test_all_four_kinds_of_calls_ask_for_identity_and_only_health_does_not(tmp_path: Path) -> None:
    async with (
        running(tmp_path, token_file=_secret(tmp_path)) as collector,
        grpc.aio.insecure_channel(f"127.0.0.1:{collector.collector.port}") as channel,
    ):
        queries, imports = query_pb2_grpc.QueryStub(channel), import_pb2_grpc.ImportStub(channel)
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        calls: list[Any] = [
            queries.Read(query_pb2.QueryRequest()),
            queries.ListHosts(query_pb2.HostsRequest()),
            imports.Write(iter([import_pb2.WriteChunk(lines=b"x y=1\n")])),
            reflection.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")])),
        ]
        codes = [await call.code() for call in calls]
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())

    assert codes == [grpc.StatusCode.UNAUTHENTICATED] * 4
    assert health.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize(
    ("agent", "host"), [("", "web1"), ("a", ""), ("a b", "web1"), ("a", "web 1"), ("a", "x" * 129)]
)
async def test_an_agent_needs_a_usable_id_and_host(collector: Running, agent: str, host: str) -> None:
    with pytest.raises(StreamEnded, match=r"UNAUTHENTICATED|INVALID_ARGUMENT"):
        await collector.client(agent, host).connect()


def test_other_machines_may_only_reach_it_with_a_token(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="set token_file"):
        CollectorSettings(grpc="0.0.0.0:7400")

    assert CollectorSettings(grpc="0.0.0.0:7400", token_file=tmp_path / "token").grpc == "0.0.0.0:7400"


async def test_a_taken_port_is_said_in_words(collector: Running, tmp_path: Path) -> None:
    second = Collector(
        CollectorSettings(grpc=f"127.0.0.1:{collector.collector.port}", data_dir=tmp_path),
        collector.store,
        collector.directory,
    )

    with pytest.raises(ConfigError, match="the port is taken"):
        await second.start()


# health, reflection, metrics


async def test_reflection_lists_every_service_and_each_is_served(collector: Running, channel: grpc.aio.Channel) -> None:
    request = reflection_pb2.ServerReflectionRequest(list_services="")

    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request]))
    answer = await anext(aiter(call))

    names = {service.name for service in answer.list_services_response.service}
    assert names >= {*server.SERVICES, "grpc.health.v1.Health"}


async def test_health_says_when_the_collector_goes_away(collector: Running, channel: grpc.aio.Channel) -> None:
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
    first = await watch.read()

    stopping = asyncio.create_task(collector.collector.stop(3))
    second = await watch.read()
    await stopping

    assert first.status == health_pb2.HealthCheckResponse.SERVING
    assert second.status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_calls_are_counted_by_method_and_ending(collector: Running, channel: grpc.aio.Channel) -> None:
    queries = query_pb2_grpc.QueryStub(channel)

    await queries.StoreHealth(query_pb2.HealthRequest())
    with pytest.raises(grpc.aio.AioRpcError):
        await queries.Read(query_pb2.QueryRequest(measurement="mem"))

    text = prometheus_client.generate_latest(collector.collector.registry).decode()
    ended = 'fleetwatch_collector_calls_total{method="/fleetwatch.v1.Query/%s",status="%s"} 1.0'
    assert ended % ("StoreHealth", "ok") in text
    assert ended % ("Read", "invalid") in text


async def test_vitals_are_the_fields_of_the_catalogue(collector: Running) -> None:
    from fleetwatch_proto.catalog import BY_NAME

    assert set(collector.collector.vitals()) == {field.name for field in BY_NAME["fleetwatch_collector"].fields}


# live


async def test_watchers_see_frames_of_their_hosts_before_they_are_durable(collector: Running) -> None:
    first, second = collector.client("agent-1", "web1"), collector.client("agent-2", "web2")
    of = schema(series("mem", ("used",)), series("swap", ("used",)))
    collector.store.open.clear()
    everything = collector.collector.live.watch()
    one = collector.collector.live.watch(frozenset({"web2"}), frozenset({"swap"}))

    for agent in (first, second):
        await agent.begin(of)
        await agent.send(batch=batch(1, of, [[1.0, 2.0]]))
    seen = [await asyncio.wait_for(anext(one), 5)]
    hosts: set[str] = set()
    while hosts != {"web1", "web2"}:
        hosts |= {host for frame in await asyncio.wait_for(anext(everything), 5) for host in frame.hosts}
    collector.store.open.set()

    assert [(frame.measurement, tuple(frame.hosts), len(frame)) for frame in seen[0]] == [("swap", ("web2",), 1)]
    assert not collector.store.frames or collector.store.writes


async def test_a_slow_watcher_misses_frames_and_delays_nobody(tmp_path: Path) -> None:
    async with running(tmp_path, watch_queue=3) as collector:
        agent = collector.client()
        slow = collector.collector.live.watch()
        await agent.begin(MEM)
        for seq in range(1, 9):
            await agent.send(batch=batch(seq, MEM, [[float(seq), 0.0]], t0_ms=now_ms() - 100_000 + seq))
            await agent.acked(seq)

        got = [await anext(slow) for _ in range(3)]

    assert [frame.fields["used"][0] for frames in got for frame in frames] == [6.0, 7.0, 8.0]
    assert collector.collector.vitals()["live_skipped"] == 5


async def test_a_watcher_that_nobody_holds_any_more_is_forgotten(collector: Running) -> None:
    watcher = collector.collector.live.watch()
    held = len(collector.collector.live._open())

    del watcher

    assert (held, len(collector.collector.live._open())) == (1, 0)


async def test_fast_watching_asks_the_agent_for_each_row_and_lets_it_fall_back(collector: Running) -> None:
    agent = collector.client()
    await agent.connect(interval_ms=10_000)

    watcher = collector.collector.live.watch(frozenset({"web1"}), fast=True)
    fast = (await agent.next("set_interval")).set_interval
    await watcher.aclose()
    back = (await agent.next("set_interval")).set_interval

    assert (fast.interval_ms, fast.ship_each_row) == (1000, True)
    assert fast.for_s >= 10
    assert back.for_s == 1


async def test_plain_watching_asks_nothing_of_the_agent(collector: Running) -> None:
    agent = collector.client()
    await agent.connect()

    watcher = collector.collector.live.watch(frozenset({"web1"}))

    with pytest.raises(TimeoutError):
        await agent.next("set_interval", within_s=1.2)
    assert not watcher.closed


async def test_watch_streams_frames_to_other_processes(collector: Running, channel: grpc.aio.Channel) -> None:
    agent = collector.client()
    call = query_pb2_grpc.QueryStub(channel).Watch(query_pb2.WatchRequest(measurements=["mem"]))
    await wait_until_async(lambda: collector.collector.live._open(), what="the watcher")

    await agent.begin(MEM)
    await agent.send(batch=batch(1, MEM, [[4.0, 5.0]]))
    frame = frame_from_message(await call.read())
    call.cancel()

    assert (frame.measurement, frame.hosts, frame.fields["free"].tolist()) == ("mem", ("web1",), [5.0])
    await wait_until_async(lambda: not collector.collector.live._open(), what="the watcher gone")


# queries


async def test_the_store_is_read_through_the_collector(collector: Running, channel: grpc.aio.Channel) -> None:
    agent = collector.client()
    queries = query_pb2_grpc.QueryStub(channel)
    collector.store.known_hosts = [Host("web1", agent_id="agent-1")]
    await agent.begin(MEM)
    await agent.send(batch=batch(1, MEM, [[4.0, 5.0]]))
    await agent.acked(1)
    request = query_pb2.QueryRequest(measurement="mem", fields=["free"], start_ms=0, end_ms=2**60)

    whole = frame_from_message(await queries.Read(request))
    pieces = [frame_from_message(piece) async for piece in queries.ReadStream(request)]
    latest = [message.measurement async for message in queries.Latest(query_pb2.LatestRequest())]
    keys = [(key.measurement, key.host) async for key in queries.ListSeries(query_pb2.SeriesRequest())]
    hosts = [host.name async for host in queries.ListHosts(query_pb2.HostsRequest())]
    health = await queries.StoreHealth(query_pb2.HealthRequest())

    assert whole.fields["free"].tolist() == [5.0]
    assert len(pieces) == 1
    assert latest == ["mem"]
    assert keys == [("mem", "web1")]
    assert hosts == ["web1"]
    assert (health.ready, health.engine) == (True, "list")


async def test_large_answers_go_in_pieces_and_are_refused_in_one(collector: Running, channel: grpc.aio.Channel) -> None:
    rows = 400_000
    codes = np.zeros(rows, np.int32)
    frame = Frame("mem", np.arange(rows), codes, ("web1",), codes, ((),), {"used": np.ones(rows)})
    collector.store.frames.append(frame)
    queries = query_pb2_grpc.QueryStub(channel)
    request = query_pb2.QueryRequest(measurement="mem", fields=["used"], end_ms=2**60)

    with pytest.raises(grpc.aio.AioRpcError, match="use ReadStream"):
        await queries.Read(request)
    pieces = [piece async for piece in queries.ReadStream(request)]

    assert len(pieces) > 5
    assert max(piece.ByteSize() for piece in pieces) < 1.2 * 1024 * 1024
    assert sum(len(frame_from_message(piece)) for piece in pieces) == rows


async def test_wrong_questions_and_an_absent_store_are_answered_in_words(
    collector: Running, channel: grpc.aio.Channel
) -> None:
    queries = query_pb2_grpc.QueryStub(channel)

    with pytest.raises(grpc.aio.AioRpcError) as nothing:
        await queries.Read(query_pb2.QueryRequest(measurement="mem"))
    collector.store.away = away()
    with pytest.raises(grpc.aio.AioRpcError) as gone:
        await queries.Read(query_pb2.QueryRequest(measurement="mem", fields=["used"]))

    assert nothing.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "at least one field" in str(nothing.value.details())
    assert gone.value.code() is grpc.StatusCode.UNAVAILABLE


# imports


async def _write(channel: grpc.aio.Channel, *chunks: bytes, precision: str = "") -> import_pb2.WriteReply:
    messages = [import_pb2.WriteChunk(lines=chunk, precision=precision) for chunk in chunks]
    metadata = (("fleetwatch-host", "web1"),)
    return await import_pb2_grpc.ImportStub(channel).Write(iter(messages), metadata=metadata)


async def test_good_lines_are_stored_and_bad_ones_named_by_number(
    collector: Running, channel: grpc.aio.Channel
) -> None:
    text = b"shop,till=1 sales=3 1700000000000\n???\nshop sales=oops\nshop,host=web9 sales=4 1700000000000\n"

    reply = await _write(channel, text[:25], text[25:60], text[60:], precision="ms")

    values = collector.store.values()
    assert values == {
        ("shop", "web1", (("till", "1"),), 1_700_000_000_000): {"sales": 3.0},
        ("shop", "web9", (), 1_700_000_000_000): {"sales": 4.0},
    }
    assert (reply.lines, reply.points, reply.rejected_lines) == (2, 2, 2)
    assert [line.number for line in reply.rejected] == [2, 3]
    assert all(line.reason for line in reply.rejected)


async def test_the_reply_comes_only_when_the_lines_are_durable(collector: Running, channel: grpc.aio.Channel) -> None:
    collector.store.open.clear()

    writing = asyncio.create_task(_write(channel, b"shop sales=3\n"))
    await wait_until_async(lambda: collector.store.attempts == 1, what="a write that hangs")
    early = writing.done()
    collector.store.open.set()
    reply = await writing

    assert not early
    assert reply.lines == 1


async def test_lines_the_store_refuses_are_named_by_number(collector: Running, channel: grpc.aio.Channel) -> None:
    collector.store.rejects = "swap", "field type conflict"

    reply = await _write(channel, b"shop sales=3 1000\nswap x=1 2000\nshop sales=4 3000\n", precision="ms")

    assert (reply.lines, reply.rejected_lines) == (2, 1)
    assert [(line.number, line.reason) for line in reply.rejected] == [(2, "field type conflict")]


async def test_a_hundred_thousand_tag_values_are_refused_clearly(tmp_path: Path) -> None:
    async with running(tmp_path, import_series_per_minute=500) as collector:
        lines = b"".join(b"shop,visitor=%d sales=1\n" % number for number in range(100_000))
        chunks = [lines[at : at + 500_000] for at in range(0, len(lines), 500_000)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{collector.collector.port}") as channel:
            reply = await _write(channel, *chunks)

    assert reply.lines + reply.rejected_lines == 100_000
    assert 500 <= reply.lines < 1_500
    assert len(reply.rejected) == 1000
    assert reply.rejected[0].number > 500
    assert "new series" in reply.rejected[0].reason


async def test_bad_hosts_and_far_future_lines_are_refused(collector: Running, channel: grpc.aio.Channel) -> None:
    future = (now_ms() + 86_400_000) * 1_000_000

    reply = await _write(channel, b"shop,host=a\\ b sales=1\nshop sales=2 %d\nshop sales=3\n" % future)

    assert reply.lines == 1
    assert [line.number for line in reply.rejected] == [1, 2]
    assert "host name" in reply.rejected[0].reason
    assert "future" in reply.rejected[1].reason


async def test_a_line_that_is_too_long_is_one_bad_line(collector: Running, channel: grpc.aio.Channel) -> None:
    long = b"shop sales=" + b"1" * 300_000

    reply = await _write(channel, b"shop a=1\n" + long[:200_000], long[200_000:], b"\nshop b=2\n")

    assert (reply.lines, reply.rejected_lines) == (2, 1)
    assert reply.rejected[0].number == 2


async def test_an_unknown_precision_is_refused(collector: Running, channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="precision is one of"):
        await _write(channel, b"shop a=1\n", precision="days")


async def test_a_writer_must_say_its_host(collector: Running, channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="must say its host"):
        await import_pb2_grpc.ImportStub(channel).Write(iter([import_pb2.WriteChunk(lines=b"shop a=1\n")]))


# fairness


async def _flood(collector: Running) -> tuple[int, list[float]]:
    """One agent sends 6,000 rows at once while another one sends eight batches, each after the last one's ack.

    Rows of the first that were stored by then, and the second one's ack times.
    """
    flood, calm = collector.client("agent-1", "web1"), collector.client("agent-2", "web2")
    await flood.begin(MEM)
    await calm.begin(MEM)
    rows, start, loop = np.ones((100, 2)), now_ms() - 10_000_000, asyncio.get_running_loop()

    async def send_all() -> None:
        for seq in range(1, 61):
            await flood.send(batch=batch(seq, MEM, rows, t0_ms=start + seq * 100_000))

    flooding = asyncio.create_task(send_all())
    delays = []
    for seq in range(1, 9):
        sent = loop.time()
        await calm.send(batch=batch(seq, MEM))
        await calm.acked(seq)
        delays.append(loop.time() - sent)
    during = len({key for key in collector.store.values() if key[1] == "web1"})
    await flooding
    await flood.acked(60, within_s=20)
    return during, delays


async def test_a_flooding_agent_is_slowed_down_and_delays_nobody_and_loses_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, points_per_s=2_000, points_burst=2_000) as collector:
        during, delays = await _flood(collector)

    assert max(delays) < 1.0
    assert during < 4_000
    assert len({key for key in collector.store.values() if key[1] == "web1"}) == 6_000
    assert b"throttled_total 0.0" not in prometheus_client.generate_latest(collector.collector.registry)


async def test_without_the_rate_limit_the_flood_goes_straight_through(tmp_path: Path) -> None:
    """The negative control of the test above."""
    async with running(tmp_path, points_per_s=1e9, points_burst=10**9) as collector:
        during, _ = await _flood(collector)

    assert during > 4_000
