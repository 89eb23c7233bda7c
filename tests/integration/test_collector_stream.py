"""Ingest over real gRPC: what is taken, what is refused in which words, and when it is acknowledged."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import numpy as np
import pytest
from fleetwatch_collector import acknowledging
from fleetwatch_proto import PROTOCOL
from fleetwatch_proto.checksum import header_crc32
from fleetwatch_proto.v1 import ingest_pb2 as wire

from tests.support.conditions import wait_until_async
from tests.support.list_store import ListStore, away
from tests.support.running_collector import Running, running
from tests.support.stream_client import StreamEnded, batch, checksum, now_ms, schema, series, table

MEM = schema()
Codes = wire.Nack


@pytest.fixture
async def collector(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as part:
        yield part


@pytest.mark.parametrize("encoding", ["raw", "bitmap", "zlib"])
async def test_rows_are_stored_under_the_host_of_the_session_and_acknowledged(
    collector: Running, encoding: str
) -> None:
    agent = collector.client()
    of = schema(series("disk", ("used", "free"), path="/"), series("disk", ("used", "free"), path="/srv"), series())
    rows = np.arange(18.0).reshape(3, 6)
    sent = batch(1, of, rows, encoding=encoding)

    await agent.begin(of)
    await agent.send(batch=sent)
    ack = await agent.acked(1)

    assert list(ack.also) == []
    values = collector.store.values()
    assert values["disk", "web1", (("path", "/srv"),), sent.t0_ms + 1000] == {"used": 8.0, "free": 9.0}
    assert values["mem", "web1", (), sent.t0_ms + 2000] == {"used": 16.0, "free": 17.0}
    assert len(values) == 9


async def test_bitmap_batches_follow_each_other_on_a_stream(collector: Running) -> None:
    agent = collector.client()
    first, second, third = np.array([[1.0, 2.0]]), np.array([[1.0, 3.0], [1.0, 4.0]]), np.array([[9.0, 4.0]])
    start = now_ms() - 60_000

    await agent.begin(MEM)
    await agent.send(batch=batch(1, MEM, first, encoding="bitmap", t0_ms=start))
    await agent.send(batch=batch(2, MEM, second, encoding="bitmap", base=(1, first[-1]), t0_ms=start + 10_000))
    await agent.acked(2)
    await agent.send(batch=batch(3, MEM, third, encoding="bitmap", base=(2, second[-1]), t0_ms=start + 20_000))
    await agent.acked(3)

    stored = [row["used"] * 10 + row["free"] for _, row in sorted(collector.store.values().items())]
    assert stored == [12.0, 13.0, 14.0, 94.0]


async def test_nothing_is_acknowledged_before_the_commit_returns(collector: Running) -> None:
    agent = collector.client()
    collector.store.open.clear()

    await agent.begin(MEM)
    await agent.send(batch=batch(1, MEM))
    await wait_until_async(lambda: collector.store.attempts == 1, what="a write that hangs")

    with pytest.raises(TimeoutError):
        await agent.acked(1, within_s=0.3)
    collector.store.open.set()


async def test_an_early_acknowledgement_would_be_noticed(collector: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of the test above: with the seam switched, the acknowledgement does come."""

    async def too_early(commit: Callable[[], Awaitable[None]], _lag_s: float, acknowledge: Callable[[], None]) -> None:
        acknowledge()
        await commit()

    monkeypatch.setattr(acknowledging, "acknowledge_after_commit", too_early)
    agent = collector.client()
    collector.store.open.clear()

    await agent.begin(MEM)
    await agent.send(batch=batch(1, MEM))
    ack = await agent.acked(1, within_s=2)
    collector.store.open.set()

    assert ack.up_to == 1


async def test_the_commit_lag_of_the_store_is_waited_for(tmp_path: Path) -> None:
    store = ListStore()
    store.commit_lag_s = 0.6

    async with running(tmp_path, store) as collector:
        agent = collector.client()
        await agent.begin(MEM)
        await agent.send(batch=batch(1, MEM))
        await wait_until_async(lambda: store.writes == 1, what="a write")
        with pytest.raises(TimeoutError):
            await agent.acked(1, within_s=0.3)

    assert store.writes == 1


async def test_acknowledgements_are_cumulative_and_sparse(collector: Running) -> None:
    agent = collector.client()
    await agent.begin(MEM, first_unacked=1, next_seq=6)

    await agent.send(batch=batch(5, MEM))
    sparse = (await agent.next("ack")).ack
    await agent.send(batch=batch(1, MEM))
    await agent.send(batch=batch(2, MEM))
    cumulative = await agent.acked(2)
    await agent.send(
        stats=wire.Stats(durable=True, lost=[wire.LostRange(from_seq=3, to_seq=4, points=8, reason="overflow")])
    )
    await agent.send(batch=batch(6, MEM))
    past_the_lost = await agent.acked(6)

    assert (sparse.up_to, list(sparse.also)) == (0, [5])
    assert (cumulative.up_to, list(cumulative.also)) == (2, [])
    assert past_the_lost.up_to == 6


async def test_an_unknown_schema_is_asked_for_and_the_batch_again(collector: Running) -> None:
    agent = collector.client()
    await agent.connect()

    await agent.send(batch=batch(1, MEM))
    needed = (await agent.next("need_schema")).need_schema
    nack = await agent.nack()
    await agent.send(schema=MEM)
    await agent.send(batch=batch(1, MEM))
    await agent.acked(1)

    assert needed.schema_id == MEM.id
    assert nack.code == Codes.RETRY


async def test_a_known_schema_need_not_be_sent_again(collector: Running) -> None:
    agent = collector.client()
    await agent.begin(MEM)
    await agent.send(batch=batch(1, MEM))
    await agent.acked(1)

    welcome = await agent.connect(first_unacked=2, next_seq=2)
    await agent.send(batch=batch(2, MEM))
    await agent.acked(2)

    assert list(welcome.known_schemas) == [MEM.id]


def _cut(sent: wire.Batch) -> None:
    sent.values = sent.values[:-3]


def _wrong_sum(sent: wire.Batch) -> None:
    sent.crc32 = 1


def _no_rows(sent: wire.Batch) -> None:
    del sent.offset_ms[:]


def _falling(sent: wire.Batch) -> None:
    sent.offset_ms[:] = [0, 5, 5]


def _no_encoding(sent: wire.Batch) -> None:
    sent.encoding = wire.ENCODING_UNSPECIFIED


def _garbage_zlib(sent: wire.Batch) -> None:
    sent.encoding, sent.values = wire.COLUMNS_ZLIB, b"garbage"


def _lopsided_table(sent: wire.Batch) -> None:
    sent.processes.CopyFrom(wire.ProcessTable(pid=[1, 2], name=["a"]))


def _seq_zero(sent: wire.Batch) -> None:
    sent.seq = 0


def _far_time(sent: wire.Batch) -> None:
    sent.t0_ms = 2**62


@pytest.mark.parametrize(
    "spoil",
    [_cut, _wrong_sum, _no_rows, _falling, _no_encoding, _garbage_zlib, _lopsided_table, _seq_zero, _far_time],
)
async def test_a_batch_that_contradicts_itself_is_poison_and_the_stream_goes_on(
    collector: Running, spoil: Callable[[wire.Batch], None]
) -> None:
    agent = collector.client()
    bad = batch(1, MEM)
    spoil(bad)

    await agent.begin(MEM)
    nacks = []
    for _ in range(3):
        await agent.send(batch=bad)
        nacks.append(await agent.nack())
    await agent.send(batch=batch(2, MEM))
    await agent.acked(2 if bad.seq else 0)

    assert [(nack.seq, nack.code) for nack in nacks] == [
        (bad.seq, Codes.RETRY),
        (bad.seq, Codes.RETRY),
        (bad.seq, Codes.POISON),
    ]
    assert nacks[-1].detail
    await wait_until_async(lambda: len(collector.store.values()) == 1, what="only the good batch stored")
    assert collector.collector.vitals()["rejected_batches"] == 1


async def test_a_relative_batch_whose_base_is_unknown_is_wanted_whole(collector: Running) -> None:
    agent = collector.client()
    rows = np.array([[1.0, 2.0]])

    await agent.begin(MEM)
    await agent.send(batch=batch(7, MEM, rows, encoding="bitmap", base=(6, np.zeros(2))))
    nack = await agent.nack()
    await agent.send(batch=batch(7, MEM, rows, encoding="bitmap"))
    ack = (await agent.next("ack")).ack

    assert (nack.code, nack.seq) == (Codes.RETRY, 7)
    assert 7 in ack.also


async def test_a_relative_batch_with_a_wrong_checksum_is_wanted_whole(collector: Running) -> None:
    agent = collector.client()
    await agent.begin(MEM)
    await agent.send(batch=batch(1, MEM, [[1.0, 2.0]], encoding="bitmap"))
    await agent.acked(1)

    await agent.send(batch=batch(2, MEM, [[5.0, 9.0]], encoding="bitmap", base=(1, np.array([5.0, 2.0]))))
    nack = await agent.nack()

    assert (nack.code, nack.seq) == (Codes.RETRY, 2)


async def test_an_expired_batch_is_refused_as_expired(collector: Running) -> None:
    agent = collector.client()

    await agent.begin(MEM)
    await agent.send(batch=batch(1, MEM, t0_ms=now_ms() - 31 * 86_400_000))
    nack = await agent.nack()

    assert nack.code == Codes.EXPIRED


async def test_a_batch_that_inflates_beyond_the_limit_is_too_big(tmp_path: Path) -> None:
    async with running(tmp_path, max_inflated=1024) as collector:
        agent = collector.client()
        await agent.begin(MEM)
        await agent.send(batch=batch(1, MEM, np.ones((100, 2)), encoding="zlib"))
        nack = await agent.nack()

    assert nack.code == Codes.TOO_BIG
    assert "1024" in nack.detail


async def test_a_message_over_the_limit_is_refused_by_name_and_the_stream_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path, max_message=4096) as collector:
        agent = collector.client()
        await agent.begin(MEM)
        big = batch(1, MEM)
        big.values = bytes(8000)
        await agent.send(batch=big)
        nack = await agent.nack()
        await agent.send(batch=batch(2, MEM))
        await agent.acked(2)

    assert (nack.seq, nack.code) == (1, Codes.TOO_BIG)


async def test_a_message_of_many_times_the_limit_ends_the_stream_only(tmp_path: Path) -> None:
    async with running(tmp_path, max_message=4096) as collector:
        agent, other = collector.client(), collector.client("agent-2", "web2")
        await other.begin(MEM)
        await agent.begin(MEM)
        big = batch(1, MEM)
        big.values = bytes(1_000_000)
        await agent.send(batch=big)
        code, _ = await agent.refusal()
        await other.send(batch=batch(1, MEM))
        await other.acked(1)

    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_compressed_bomb_is_not_inflated(tmp_path: Path) -> None:
    async with running(tmp_path, max_message=4096) as collector:
        agent = collector.client()
        agent.channel = grpc.aio.insecure_channel(
            f"127.0.0.1:{collector.collector.port}", compression=grpc.Compression.Gzip
        )
        with pytest.raises(StreamEnded):
            await agent.connect(agent_version="x" * 2_000_000)
        code, _ = await agent.refusal()

    assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL)


async def test_a_batch_or_schema_that_was_damaged_on_its_way_ends_the_stream_and_costs_nothing(
    collector: Running,
) -> None:
    whole = batch(1, MEM)
    whole.header_crc32 = header_crc32(whole)
    moved = wire.Batch.FromString(whole.SerializeToString())
    moved.t0_ms += 1 << 20
    renamed = wire.Schema(id=MEM.id, series=[series("men")])

    for messages in ([{"schema": MEM}, {"batch": moved}], [{"schema": renamed}]):
        agent = collector.client()
        await agent.connect()
        for message in messages:
            await agent.send(**message)
        code, words = await agent.refusal()
        await agent.close()
        assert code is grpc.StatusCode.INVALID_ARGUMENT, words
    agent = collector.client()
    await agent.begin(MEM, first_unacked=1, next_seq=2)
    await agent.send(batch=whole)
    await agent.acked(1)

    assert len(collector.store.values()) == 1


async def test_losses_from_before_the_first_contact_are_told(collector: Running) -> None:
    agent = collector.client()
    lost = wire.LostRange(from_seq=1, to_seq=64, points=75_900, reason="overflow")

    await agent.begin(MEM, first_unacked=65, next_seq=66, lost=[lost])
    await agent.send(batch=batch(65, MEM))
    await agent.acked(65)

    await wait_until_async(lambda: "points_lost" in collector.events("web1"), what="the event")

    def lost_batches() -> int:
        known = collector.directory.get("web1")
        return 0 if known is None else known.completeness.lost

    await wait_until_async(lambda: lost_batches() == 64, what="64 batches lost")


@pytest.mark.parametrize(
    ("lie", "code"),
    [
        (schema(series(), series()), Codes.RETRY),  # poison is believed when it came three times
        (schema(series("mem", ("used", "used"))), Codes.FORBIDDEN),
        (schema(series("mem", ("used",), host="other")), Codes.FORBIDDEN),
        (schema(series("process_top", ("name", "pid"), rank="1")), Codes.FORBIDDEN),
        (schema(series("m" * 129)), Codes.FORBIDDEN),
        (schema(series("mem", ("a\nb",))), Codes.FORBIDDEN),
        (schema(*(series("net", ("rx",), interface=f"eth{n}") for n in range(6))), Codes.FORBIDDEN),
        (schema(series("mem", tuple(f"f{n}" for n in range(9)))), Codes.FORBIDDEN),
        (schema(*(series(f"m{n}", ("x",)) for n in range(5))), Codes.FORBIDDEN),
    ],
)
async def test_a_schema_that_lies_or_is_over_a_limit_refuses_its_batches_in_words(
    tmp_path: Path, lie: wire.Schema, code: int
) -> None:
    async with running(tmp_path, max_series=5, max_fields=8, max_measurements=4) as collector:
        agent = collector.client()
        await agent.begin(lie)
        await agent.send(batch=batch(1, lie))
        nack = await agent.nack()

    assert (nack.seq, nack.code) == (1, code)
    assert nack.detail
    assert not collector.store.frames


async def test_a_field_may_be_in_one_schema_and_not_in_the_next(collector: Running) -> None:
    agent = collector.client()
    wide, narrow = schema(series("mem", ("used", "free", "slab"))), schema(series("mem", ("free",)))
    start = now_ms() - 10_000

    await agent.begin(wide)
    await agent.send(batch=batch(1, wide, [[1.0, 2.0, 3.0]], t0_ms=start))
    await agent.send(schema=narrow)
    await agent.send(batch=batch(2, narrow, [[7.0]], t0_ms=start + 1000))
    await agent.acked(2)

    values = collector.store.values()
    assert values["mem", "web1", (), start] == {"used": 1.0, "free": 2.0, "slab": 3.0}
    assert values["mem", "web1", (), start + 1000] == {"free": 7.0}


async def test_nan_and_infinities_are_left_out_and_counted(collector: Running) -> None:
    agent = collector.client()
    start = now_ms() - 10_000
    rows = [[np.nan, 2.0], [np.inf, -np.inf]]

    await agent.begin(MEM)
    await agent.send(batch=batch(1, MEM, rows, t0_ms=start))
    await agent.acked(1)

    assert collector.store.values() == {("mem", "web1", (), start): {"free": 2.0}}
    assert b"dropped_values_total 3.0" in _metrics(collector)
    assert collector.collector.vitals()["points"] == 1


def _metrics(collector: Running) -> bytes:
    import prometheus_client

    return prometheus_client.generate_latest(collector.collector.registry)


async def test_new_series_beyond_the_rate_wait_and_nothing_is_lost(tmp_path: Path) -> None:
    async with running(tmp_path, new_series_per_minute=600) as collector:
        agent = collector.client()
        first = schema(*(series("net", ("rx",), interface=f"a{n}") for n in range(50)))
        many = schema(*(series("net", ("rx",), interface=f"b{n}") for n in range(605)))
        more = schema(*(series("net", ("rx",), interface=f"c{n}") for n in range(2)))
        await agent.begin(first)
        await agent.send(schema=many)
        await agent.send(schema=more)
        await agent.send(batch=batch(1, more))
        nack = await agent.nack()

        async def taken() -> bool:
            await agent.send(schema=more)
            await agent.send(batch=batch(1, more))
            await wait_until_async(lambda: agent.inbox, what="an answer")
            return agent.inbox.pop().WhichOneof("message") == "ack"

        await wait_until_async(taken, what="the schema taken")

    assert nack.code == Codes.RETRY
    assert ("net", "web1", (("interface", "c0"),)) in {key[:3] for key in collector.store.values()}


async def test_the_process_table_becomes_ranked_rows(collector: Running) -> None:
    agent = collector.client()
    sent = batch(1, MEM)
    sent.processes.CopyFrom(table(("quiet", 1.0), ("busy", 90.0), ("evil\x1b[2J", 5.0)))

    await agent.begin(MEM)
    await agent.send(batch=sent)
    await agent.acked(1)

    values = collector.store.values()
    ranked = [values["process_top", "web1", (("rank", str(rank)),), sent.t0_ms] for rank in (1, 2, 3)]
    assert [row["cpu_percent"] for row in ranked] == [90.0, 5.0, 1.0]
    assert [row["name"] for row in ranked] == ["busy", "evil\N{REPLACEMENT CHARACTER}[2J", "quiet"]
    assert ranked[0]["started"] == 1_700_000_000.0


async def test_the_payload_cannot_claim_another_host(collector: Running) -> None:
    agent = collector.client("agent-1", "web1")

    welcome = await agent.connect(tags=[wire.Tag(key="env", value="prod")])
    await agent.send(schema=schema(series("mem", ("used",), hostname="victim")))
    await agent.send(batch=batch(1, schema(series("mem", ("used",), hostname="victim"))))
    await agent.acked(1)

    assert welcome.host == "web1"
    assert collector.store.hosts_written() == {"web1"}
    known = collector.directory.get("web1")
    assert known is not None
    assert (known.agent_id, dict(known.tags), known.connected) == ("agent-1", {"env": "prod"}, True)


async def test_a_newer_protocol_is_refused_in_words_and_an_older_one_served(collector: Running) -> None:
    newer, older = collector.client(), collector.client("agent-2", "web2")

    with pytest.raises(StreamEnded, match="upgrade the collector"):
        await newer.connect(protocol=PROTOCOL + 1)
    welcome = await older.connect(protocol=0)

    assert (await newer.refusal())[0] is grpc.StatusCode.FAILED_PRECONDITION
    assert welcome.protocol == PROTOCOL


async def test_a_stream_must_begin_with_a_hello(tmp_path: Path) -> None:
    async with running(tmp_path, hello_timeout=0.2) as collector:
        early, silent = collector.client(), collector.client("agent-2", "web2")
        with pytest.raises(StreamEnded, match="must be a Hello"):
            await early.open()
            await early.send(batch=batch(1, MEM))
            await early.next("welcome")
        await silent.open()
        code, words = await silent.refusal()

    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert words == "no Hello came"


async def test_bytes_that_are_no_message_end_the_stream_in_words(collector: Running) -> None:
    agent = collector.client()
    call = agent.channel.stream_stream("/fleetwatch.v1.Ingest/Stream")(metadata=agent.metadata)

    await call.write(wire.AgentMessage(hello=agent.hello()).SerializeToString())
    await call.read()
    await call.write(b"\xff\xff\xff")

    assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "not of this protocol" in await call.details()


async def test_the_same_boot_again_replaces_the_old_stream(collector: Running) -> None:
    old, new = collector.client(), collector.client()
    await old.begin(MEM)

    await new.begin(MEM)
    code, words = await old.refusal()
    await new.send(batch=batch(1, MEM))
    await new.acked(1)

    assert code is grpc.StatusCode.ABORTED
    assert "newer stream" in words
    assert collector.collector.vitals()["agents"] == 1


async def test_another_boot_is_refused_and_recorded_once_both_are_heard(collector: Running) -> None:
    first, clone = collector.client(), collector.client()
    await first.begin(MEM)

    with pytest.raises(StreamEnded, match="cloned machine"):
        await clone.connect(boot_id="boot-2")
    before = collector.events("web1")
    await first.send(batch=batch(1, MEM))
    await first.acked(1)

    assert "cloned_machine" not in before
    await wait_until_async(lambda: "cloned_machine" in collector.events("web1"), what="the event")


async def test_after_the_first_stream_ended_another_boot_is_a_reboot(collector: Running) -> None:
    agent = collector.client()
    await agent.connect(facts=wire.Facts(boot_time_ms=1_000_000_000_000))
    await agent.send(goodbye=wire.Goodbye(reason=wire.Goodbye.REBOOT, expected_back_s=300))
    await wait_until_async(lambda: (collector.directory.get("web1") or 0).goodbye_until_ms > now_ms(), what="goodbye")  # type: ignore[union-attr]
    agent.call.cancel()
    await wait_until_async(lambda: collector.collector.vitals()["agents"] == 0, what="the stream gone")

    await agent.connect(boot_id="boot-2", facts=wire.Facts(boot_time_ms=1_000_000_600_000))

    await wait_until_async(lambda: "reboot" in collector.events("web1"), what="the event")
    known = collector.directory.get("web1")
    assert known is not None
    assert known.goodbye_until_ms == 0
    assert {"agent_started", "agent_stopped"} <= set(collector.events("web1"))


async def test_one_host_name_belongs_to_one_live_agent(collector: Running) -> None:
    first, second = collector.client("agent-1", "web1"), collector.client("agent-2", "web1")
    await first.connect()

    with pytest.raises(StreamEnded, match="is live as agent agent-1"):
        await second.connect()


async def test_a_wrong_host_clock_is_measured_and_recorded(collector: Running) -> None:
    agent = collector.client()

    await agent.connect(wall_ms=now_ms() + 30_000)

    known = collector.directory.get("web1")
    assert known is not None
    assert 29_000 < known.clock_offset_ms < 31_000
    await wait_until_async(lambda: "clock_skew" in collector.events("web1"), what="the event")


async def test_samples_of_the_far_future_go_to_the_quarantine_and_the_rest_is_stored(
    collector: Running, tmp_path: Path
) -> None:
    agent = collector.client()
    watcher = collector.collector.live.watch()
    start = now_ms()

    await agent.begin(MEM)
    await agent.send(batch=batch(1, MEM, [[1.0, 2.0], [3.0, 4.0]], t0_ms=start, step_ms=3_600_000))
    await agent.acked(1)

    assert collector.store.values() == {("mem", "web1", (), start): {"used": 1.0, "free": 2.0}}
    text = (tmp_path / "quarantine.jsonl").read_text()
    assert "mem,host=web1" in text
    assert "later than the collector's clock" in text
    assert collector.collector.vitals()["quarantined_lines"] == 1
    assert [len(frame) for frame in await anext(watcher)] == [1]
    await wait_until_async(lambda: "quarantine" in collector.events("web1"), what="the event")


async def test_when_most_agents_are_ahead_the_collector_suspects_its_own_clock(collector: Running) -> None:
    agents = [collector.client(f"agent-{n}", f"web{n}") for n in range(3)]
    for agent in agents:
        await agent.begin(MEM, wall_ms=now_ms() + 3_600_000)

    await agents[0].send(batch=batch(1, MEM, t0_ms=now_ms() + 3_600_000))
    nack = await agents[0].nack()

    assert nack.code == Codes.RETRY
    assert not collector.store.frames


async def test_a_checksum_is_of_the_decoded_rows(collector: Running) -> None:
    sent = batch(1, MEM, [[1.0, 2.0]], encoding="zlib")

    assert sent.crc32 == checksum([[1.0, 2.0]])


async def test_the_store_going_away_holds_everything_and_nothing_is_lost(collector: Running) -> None:
    agent = collector.client()
    collector.store.away = away()
    start = now_ms() - 60_000

    await agent.begin(MEM)
    for seq in range(1, 11):
        await agent.send(batch=batch(seq, MEM, t0_ms=start + seq * 1000))
    await wait_until_async(lambda: collector.store.attempts >= 3, what="some attempts")
    assert collector.collector.vitals()["pending_bytes"] > 0
    with pytest.raises(TimeoutError):
        await agent.acked(1, within_s=0.2)
    collector.store.away = None
    await agent.acked(10)

    assert len(collector.store.values()) == 10
    assert collector.collector.vitals()["retries"] >= 3
    assert collector.collector.vitals()["pending_bytes"] == 0


async def test_an_unforeseen_error_of_the_store_loses_nothing_either(collector: Running) -> None:
    agent = collector.client()
    collector.store.away = RuntimeError("nobody thought of this")

    await agent.begin(MEM)
    await agent.send(batch=batch(1, MEM))
    await wait_until_async(lambda: collector.store.attempts >= 2, what="some attempts")
    collector.store.away = None
    await agent.acked(1)

    assert len(collector.store.values()) == 1


async def _pending_while_the_store_hangs(collector: Running) -> float:
    """Bytes that are held for eight agents that send all they may; then the store goes on and all is acknowledged."""
    collector.store.open.clear()
    agents = [collector.client(f"agent-{n}", f"web{n}") for n in range(8)]
    for agent in agents:
        await agent.begin(MEM)
        for seq in range(1, 60):
            await agent.send(batch=batch(seq, MEM, np.ones((60, 2)), t0_ms=now_ms() - 100_000 + seq))
    await wait_until_async(lambda: collector.store.attempts >= 1, what="a write that hangs")
    readings: list[float] = []

    def steady() -> bool:
        readings.append(collector.collector.vitals()["pending_bytes"])
        return readings[-5:] == readings[-1:] * 5

    await wait_until_async(steady, every_s=0.1, what="nothing more is read")
    collector.store.open.set()
    for agent in agents:
        await agent.acked(59, within_s=20)
    return readings[-1]


SMALL = {"max_inflated": 8_000, "window_bytes": 8_000, "max_message": 100_000}


async def test_when_the_budget_is_used_up_nothing_more_is_read(tmp_path: Path) -> None:
    async with running(tmp_path, byte_budget=20_000, **SMALL) as collector:
        pending = await _pending_while_the_store_hangs(collector)

    assert 10_000 < pending < 20_000 + 8 * 1600
    assert len(collector.store.hosts_written()) == 8


async def test_with_a_large_budget_more_is_read(tmp_path: Path) -> None:
    """The negative control of the test above."""
    async with running(tmp_path, byte_budget=10**9, **SMALL) as collector:
        pending = await _pending_while_the_store_hangs(collector)

    assert pending > 20_000 + 8 * 1600


async def test_rows_the_store_refuses_are_set_aside_and_the_rest_acknowledged(
    collector: Running, tmp_path: Path
) -> None:
    agent = collector.client()
    of = schema(series("mem", ("used",)), series("swap", ("used",)))
    collector.store.rejects = "swap", "field type conflict"

    await agent.begin(of)
    await agent.send(batch=batch(1, of))
    await agent.acked(1)

    assert "field type conflict" in (tmp_path / "quarantine.jsonl").read_text()
    assert collector.collector.vitals()["quarantined_lines"] == 1
    await wait_until_async(lambda: "quarantine" in collector.events(), what="the event")


async def test_completeness_counts_what_came_twice_late_and_never(collector: Running) -> None:
    agent = collector.client()
    lost = wire.LostRange(from_seq=2, to_seq=3, points=4, reason="overflow")

    await agent.begin(MEM, first_unacked=1, next_seq=8, lost=[lost])
    for seq in (1, 7, 4, 7, 5, 6):
        await agent.send(batch=batch(seq, MEM))
    await agent.acked(7)

    def counts() -> tuple[int, ...]:
        known = collector.directory.get("web1")
        assert known is not None
        one = known.completeness
        return one.expected, one.received, one.duplicates, one.late, one.lost

    await wait_until_async(lambda: counts() == (7, 5, 1, 3, 2), what=f"counts, now {counts()}")
    await wait_until_async(lambda: "points_lost" in collector.events("web1"), what="the event")


async def test_completeness_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as collector:
        agent = collector.client()
        await agent.begin(MEM, next_seq=1)
        for seq in (1, 2, 3):
            await agent.send(batch=batch(seq, MEM))
        await agent.acked(3)

    async with running(tmp_path) as collector:
        agent = collector.client()
        await agent.begin(MEM, first_unacked=4, next_seq=6)
        await agent.send(batch=batch(3, MEM))
        await agent.send(batch=batch(4, MEM))
        await agent.acked(4)

        def counts() -> tuple[int, ...]:
            known = collector.directory.get("web1")
            assert known is not None
            return known.completeness.expected, known.completeness.received, known.completeness.duplicates

        await wait_until_async(lambda: counts() == (5, 4, 1), what="counts that go on")


async def test_stopping_tells_the_agents_and_acknowledges_what_was_read(tmp_path: Path) -> None:
    async with running(tmp_path, flush_interval=30.0) as collector:
        agent = collector.client()
        await agent.begin(MEM)
        await agent.send(batch=batch(1, MEM))
        await wait_until_async(lambda: collector.collector.vitals()["pending_bytes"] > 0, what="the batch read")

        stopping = asyncio.create_task(collector.collector.stop(3))
        drain = await agent.next("drain")
        ack = await agent.acked(1)
        await stopping

    assert drain.drain.reconnect_after_ms > 0
    assert ack.up_to == 1
    assert len(collector.store.values()) == 1
    known = collector.directory.get("web1")
    assert known is not None
    assert not known.connected


async def test_stopping_keeps_to_its_time_when_the_store_hangs_and_acknowledges_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as collector:
        agent = collector.client()
        collector.store.open.clear()
        await agent.begin(MEM)
        await agent.send(batch=batch(1, MEM))
        await wait_until_async(lambda: collector.store.attempts == 1, what="a write that hangs")

        loop = asyncio.get_running_loop()
        started = loop.time()
        await collector.collector.stop(2)
        took = loop.time() - started
        collector.store.open.set()

    assert took < 4
    assert not [message for message in agent.inbox if message.WhichOneof("message") == "ack"]


@pytest.mark.parametrize("broken", ["intake.decode_arrivals", "batcher.frames_of"])
async def test_an_error_of_ours_is_answered_with_a_request_to_send_again(
    collector: Running, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    agent = collector.client()
    module, name = broken.split(".")

    def fail(_: object) -> None:
        raise ZeroDivisionError

    await agent.begin(MEM)
    with monkeypatch.context() as patch:
        patch.setattr(importlib.import_module(f"fleetwatch_collector.{module}"), name, fail)
        await agent.send(batch=batch(1, MEM))
        nack = await agent.nack()
    held = collector.collector.vitals()["pending_bytes"]
    await agent.send(batch=batch(1, MEM))
    await agent.acked(1)

    assert (nack.code, nack.seq, held) == (Codes.RETRY, 1, 0)


async def test_hosts_beyond_the_limit_are_refused_in_words_and_known_ones_are_not(tmp_path: Path) -> None:
    async with running(tmp_path, max_hosts=2) as collector:
        first, second, third = (collector.client(f"agent-{n}", f"web{n}") for n in range(3))
        await first.connect()
        await second.connect()

        with pytest.raises(StreamEnded, match="raise max_hosts"):
            await third.connect()
        await first.connect()
