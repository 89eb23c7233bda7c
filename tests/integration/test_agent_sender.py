"""The sender against a real gRPC server that does what collectors may do."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fleetwatch_agent.clocks import host_clocks
from fleetwatch_agent.samples import Series
from fleetwatch_agent.sender import Contact, Introduction, Sender
from fleetwatch_agent.sender.session import Session
from fleetwatch_agent.shape import message
from fleetwatch_agent.spool import Limits, Spool
from fleetwatch_agent.stamps import Stamps
from fleetwatch_agent.vitals import Vitals
from fleetwatch_proto.v1 import ingest_pb2 as pb

from tests.support.agent_collector import FakeCollector, Stream, acknowledge, silence
from tests.support.agent_samples import IN_MEMORY, WIDTH, sample
from tests.support.conditions import wait_until

SCHEMA = message((Series("m", (), tuple(f"f{n}" for n in range(WIDTH))),))
OTHER = message((Series("other", (), tuple(f"f{n}" for n in range(WIDTH))),))


@dataclass
class Line:
    """A spool and its sender."""

    folder: Path
    paces: list[tuple[int, bool, int]] = field(default_factory=list)
    vitals: Vitals = field(default_factory=Vitals)
    issued: int = 0

    def __post_init__(self) -> None:
        self.open()

    def open(self, size: int = 1 << 26) -> None:
        self.spool = Spool(self.folder, Limits(size), 1 << 20)
        for schema in (SCHEMA, OTHER):
            self.spool.put_schema(schema.id, schema.SerializeToString())
            self.append(schema=schema)

    def append(self, count: int = 1, ship: bool = True, schema: pb.Schema = SCHEMA, processes: bytes = b"") -> None:
        for _ in range(count):
            self.issued += 1
            one = sample(self.issued, schema.id, processes=processes)
            self.spool.append(one, ship, Stamps().used(one.t_ms))

    def start(self, *addresses: str, **contact: Any) -> None:
        clocks = host_clocks()
        told: dict[str, Any] = {"token": "", "connect_timeout_s": 2.0, "ack_timeout_s": 30.0} | contact
        who = Introduction("boot", pb.Facts(os="test"), (("env", "test"),), 10_000)

        def new_session() -> Session:
            return Session(self.spool, clocks, self.vitals, lambda *pace: self.paces.append(pace))

        self.sender = Sender(Contact(addresses, "agent-1", "web-1", **told), who, self.spool, clocks, new_session)
        self.spool.on_change = self.sender.wake
        self.sender.start()

    def empty(self) -> bool:
        return self.spool.after(0, 1) == []

    def numbers(self, collector: FakeCollector) -> list[int]:
        """Numbers of the samples that the collector holds."""
        return sorted(round(row[0]) for _, rows in collector.stored.values() for row in rows)


@pytest.fixture
def collector() -> Iterator[FakeCollector]:
    made = FakeCollector()
    yield made
    made.stop()


@pytest.fixture
def line() -> Iterator[Line]:
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        made = Line(Path(folder))
        yield made
        if hasattr(made, "sender"):
            made.sender.stop(pb.Goodbye.STOP)
        made.spool.close()


def test_what_is_spooled_arrives_and_is_forgotten_when_acknowledged(line: Line, collector: FakeCollector) -> None:
    line.append(20)
    line.start(collector.address)
    wait_until(line.empty)
    line.append(3)

    wait_until(line.empty)

    assert line.numbers(collector) == list(range(1, 26))
    hello = collector.last.of("hello")[0]
    assert (hello.first_unacked, hello.next_seq, hello.boot_id, hello.interval_ms) == (1, 23, "boot", 10_000)
    assert [(tag.key, tag.value) for tag in hello.tags] == [("env", "test")]
    assert hello.facts.address == "127.0.0.1"


def test_the_call_carries_who_the_agent_is(line: Line, collector: FakeCollector) -> None:
    line.start(collector.address, token="s3cret")
    wait_until(line.empty)

    metadata = collector.last.metadata
    assert metadata["fleetwatch-agent-id"] == "agent-1"
    assert metadata["fleetwatch-host"] == "web-1"
    assert metadata["authorization"] == "Bearer s3cret"
    assert len(metadata["fleetwatch-correlation"]) == 32


def test_nothing_is_forgotten_without_an_acknowledgement(line: Line, collector: FakeCollector) -> None:
    collector.on_batch = silence
    line.append(3)
    line.start(collector.address)
    wait_until(lambda: len(collector.stored) == 5)

    assert len(line.spool.after(0, 100)) == 5


def test_no_more_than_the_window_is_in_flight(line: Line, collector: FakeCollector) -> None:
    collector.on_batch = silence
    line.append(30)
    line.start(collector.address)
    wait_until(lambda: collector.received == 8)
    collector.last.say(ack=pb.Ack(also=sorted(collector.seqs())[:3]))

    wait_until(lambda: collector.received == 11)

    assert len(line.spool.after(0, 100)) == 29


def test_a_cumulative_acknowledgement_forgets_everything_up_to_it(line: Line, collector: FakeCollector) -> None:
    collector.on_batch = lambda stream, batch: stream.say(ack=pb.Ack(up_to=5)) if collector.received == 8 else None
    line.append(6)
    line.start(collector.address)

    wait_until(lambda: line.spool.after(0, 100) == [6, 7, 8])


def test_rows_travel_as_what_changed_and_gathered_ones_as_columns(line: Line, collector: FakeCollector) -> None:
    line.start(collector.address)
    wait_until(line.empty)
    for _ in range(3):
        line.append()
        wait_until(line.empty)
    line.append(9, ship=False)
    line.append(processes=pb.ProcessTable(pid=[1], name=["init"]).SerializeToString())
    wait_until(line.empty)

    batches = collector.last.of("batch")
    singles = [one for one in batches if len(one.offset_ms) == 1 and one.schema_id == SCHEMA.id]
    assert [one.encoding for one in singles] == [pb.COLUMNS_ZLIB] + 3 * [pb.BITMAP_F64]
    assert [one.base_seq for one in singles] == [0, *(one.seq for one in singles[:-1])]
    assert (batches[-1].encoding, len(batches[-1].offset_ms)) == (pb.COLUMNS_ZLIB, 10)
    assert list(batches[-1].processes.name) == ["init"]
    assert line.numbers(collector) == list(range(1, line.issued + 1))


def test_a_batch_to_be_retried_is_sent_again_later(line: Line, collector: FakeCollector) -> None:
    refused: list[int] = []

    def once_more(stream: Stream, batch: pb.Batch) -> None:
        if len(refused) < 4:
            refused.append(batch.seq)
            stream.say(nack=pb.Nack(seq=batch.seq, code=pb.Nack.RETRY, retry_after_ms=100))
        else:
            acknowledge(stream, batch)

    collector.on_batch = once_more
    line.append(4)
    line.start(collector.address)

    wait_until(line.empty)

    assert line.numbers(collector) == list(range(1, 7))
    assert line.spool.figures().lost_points == 0


@pytest.mark.parametrize("code", ["POISON", "TOO_BIG", "EXPIRED", "FORBIDDEN"])
def test_a_batch_refused_for_good_is_set_aside_counted_and_reported(
    line: Line, collector: FakeCollector, code: str
) -> None:
    def refuse_second(stream: Stream, batch: pb.Batch) -> None:
        if batch.seq == 2:
            stream.say(nack=pb.Nack(seq=2, code=code, detail="because"))  # type: ignore[arg-type]
        else:
            acknowledge(stream, batch)

    collector.on_batch = refuse_second
    line.append(5)
    line.start(collector.address)
    wait_until(line.empty)
    wait_until(lambda: [one for stats in collector.last.of("stats") for one in stats.lost])

    (lost,) = [one for stats in collector.last.of("stats") for one in stats.lost]
    assert (lost.from_seq, lost.to_seq, lost.points, lost.reason) == (2, 2, WIDTH, code.lower())
    line.append()
    wait_until(lambda: line.spool.lost(10) == [], within_s=15)
    assert line.spool.figures().lost_points == WIDTH


def test_a_schema_is_sent_before_its_first_batch_and_again_when_asked_for(line: Line, collector: FakeCollector) -> None:
    forgetful = {"left": 1}

    def forget(stream: Stream, batch: pb.Batch) -> None:
        if forgetful["left"] and batch.schema_id == SCHEMA.id:
            forgetful["left"] -= 1
            stream.say(need_schema=pb.NeedSchema(schema_id=SCHEMA.id))
        else:
            acknowledge(stream, batch)

    collector.on_batch = forget
    line.append(2)
    line.start(collector.address)

    wait_until(line.empty)

    kinds = [one.WhichOneof("message") for one in collector.last.messages]
    sent = [one.id for one in collector.last.of("schema")]
    assert kinds[1] == "schema"
    assert sent.count(SCHEMA.id) == 2
    assert line.numbers(collector) == list(range(1, 5))


def test_a_schema_that_the_collector_knows_is_not_sent(line: Line, collector: FakeCollector) -> None:
    collector.known_schemas = [SCHEMA.id, OTHER.id]
    collector.decodes = False
    line.start(collector.address)

    wait_until(line.empty)

    assert collector.last.of("schema") == []


def test_a_wish_for_another_pace_reaches_the_sampler(line: Line, collector: FakeCollector) -> None:
    line.start(collector.address)
    wait_until(line.empty)
    collector.last.say(set_interval=pb.SetInterval(interval_ms=1000, ship_each_row=True, for_s=60))

    wait_until(lambda: line.paces)

    assert line.paces == [(1000, True, 60)]


def test_a_draining_collector_is_left_for_the_next_when_all_is_answered(line: Line, collector: FakeCollector) -> None:
    other, held = FakeCollector(), []
    for one in (collector, other):
        one.on_batch = lambda stream, batch: held.append(stream)
    line.start(collector.address, other.address)
    wait_until(lambda: len(held) == 2)
    first, second = (collector, other) if collector.streams else (other, collector)
    second.on_batch = acknowledge

    first.last.say(drain=pb.Drain(reconnect_after_ms=10))
    first.last.say(ack=pb.Ack(up_to=2))
    wait_until(lambda: second.streams)
    line.append(3)

    wait_until(line.empty)
    assert line.numbers(second) == [3, 4, 5]
    other.stop()


def test_a_draining_collector_that_answers_no_more_is_left_all_the_same(line: Line, collector: FakeCollector) -> None:
    collector.on_batch = silence
    line.start(collector.address)
    wait_until(lambda: collector.received == 2)
    collector.on_batch = acknowledge

    collector.last.say(drain=pb.Drain(reconnect_after_ms=10))

    wait_until(line.empty)
    assert len(collector.streams) == 2


def test_a_collector_that_goes_away_and_comes_back_gets_everything(line: Line) -> None:
    first = FakeCollector()
    port = first.port
    line.start(first.address)
    wait_until(line.empty)
    first.stop()
    line.append(50)

    second = FakeCollector(port)
    wait_until(line.empty, within_s=40)
    second.stop()

    assert line.numbers(second) == list(range(3, 53))
    backfill = [batch.backfill for batch in second.last.of("batch")]
    assert backfill.count(True) == 20
    assert not any(backfill[:3])


def test_the_next_address_is_tried_when_one_does_not_answer(line: Line, collector: FakeCollector) -> None:
    line.start("127.0.0.1:1", collector.address, connect_timeout_s=0.5)

    wait_until(line.empty, within_s=30)

    assert line.numbers(collector) == [1, 2]


def test_a_collector_that_hangs_is_left_for_another(line: Line, collector: FakeCollector) -> None:
    hung = FakeCollector()
    hung.on_batch = silence
    line.start(hung.address, hung.address, ack_timeout_s=0.6)
    wait_until(lambda: len(hung.streams) >= 2)
    hung.on_batch = acknowledge

    wait_until(line.empty, within_s=30)

    assert line.numbers(hung) == [1, 2]
    hung.stop()


def test_a_collector_that_never_welcomes_is_left(line: Line, collector: FakeCollector) -> None:
    collector.welcomes = False
    line.start(collector.address, connect_timeout_s=0.3)
    wait_until(lambda: len(collector.streams) >= 2)
    collector.welcomes = True

    wait_until(line.empty, within_s=30)

    assert collector.received == 2


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [str(getattr(one, "why", "")) for one in caplog.records if "not connected" in one.getMessage()]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FakeCollector(token="right"), "refuses the token"),
        (lambda: FakeCollector(protocol=0), "older than this agent"),
    ],
)
def test_a_collector_that_cannot_be_used_is_named_once_and_samples_are_kept(
    line: Line, caplog: pytest.LogCaptureFixture, make: Callable[[], FakeCollector], words: str
) -> None:
    refusing = make()
    line.start(refusing.address, token="wrong")
    wait_until(lambda: warnings(caplog))
    line.append(5)
    attempts = len(refusing.streams)
    wait_until(lambda: len(refusing.streams) > attempts or refusing.token)

    assert [words in why for why in warnings(caplog)] == [True]
    assert "wrong" not in caplog.text
    assert len(line.spool.after(0, 100)) == 7
    refusing.stop()


def test_an_unreachable_collector_is_said_once_in_words(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    line.start("127.0.0.1:1", connect_timeout_s=0.2)

    wait_until(lambda: warnings(caplog))

    assert "is a collector listening there?" in warnings(caplog)[0]
    assert len(line.spool.after(0, 10)) == 2


def test_a_stop_sends_what_waits_and_says_goodbye(line: Line, collector: FakeCollector) -> None:
    line.start(collector.address)
    wait_until(line.empty)
    line.append(3, ship=False)
    line.spool.flush()

    line.sender.stop(pb.Goodbye.REBOOT, 600)

    wait_until(lambda: collector.last.of("goodbye"))
    goodbye = collector.last.of("goodbye")[0]
    assert (goodbye.reason, goodbye.expected_back_s) == (pb.Goodbye.REBOOT, 600)
    assert line.numbers(collector) == [1, 2, 3, 4, 5]


def test_a_spool_that_changes_its_identity_gets_a_new_stream(line: Line, collector: FakeCollector) -> None:
    line.start(collector.address)
    wait_until(line.empty)
    before = line.spool.spool_id
    line.spool._now._db.execute("DROP TABLE open_rows")  # damage: the next append makes a new file

    line.append(2, ship=False)
    line.append()

    wait_until(lambda: len(collector.streams) == 2)
    wait_until(line.empty)
    hellos = [stream.of("hello")[0].spool_id for stream in collector.streams]
    assert hellos[0] == before != hellos[1]
    assert line.numbers(collector)[-3:] == [3, 4, 5]


def test_ranges_lost_before_the_stream_are_in_the_hello(line: Line, collector: FakeCollector) -> None:
    line.spool.bury(line.spool.spool_id, 1, "poison", "")
    line.start(collector.address)
    wait_until(line.empty)

    (lost,) = collector.last.of("hello")[0].lost
    assert (lost.from_seq, lost.points) == (1, WIDTH)
    wait_until(lambda: line.spool.lost(10) == [])


def test_the_offset_to_the_collector_s_clock_is_measured(line: Line, collector: FakeCollector) -> None:
    line.start(collector.address)
    wait_until(line.empty)

    assert abs(line.vitals.clock_offset_ms) < 2000
