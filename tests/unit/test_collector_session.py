"""One stream's state: what hostile messages do to it, and when nothing more is read."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from fleetwatch_collector.accounts import Account, Accounts
from fleetwatch_collector.arrivals import Rows
from fleetwatch_collector.batcher import pause_s
from fleetwatch_collector.errors import CallRefused, Refused, Why
from fleetwatch_collector.events import MOST_PER_HOST_AND_MINUTE, Events
from fleetwatch_collector.identity import How, Identity, identify
from fleetwatch_collector.intake import Intake
from fleetwatch_collector.interceptors import Doorkeeper
from fleetwatch_collector.layout import Plans
from fleetwatch_collector.limits import Allowance, Budget
from fleetwatch_collector.lines import LinePieces
from fleetwatch_collector.metrics import CallMetrics, Tally
from fleetwatch_collector.outbox import MOST_NACKS
from fleetwatch_collector.presence import Presence
from fleetwatch_collector.quarantine import Quarantine
from fleetwatch_collector.schemas import read_schema
from fleetwatch_collector.session import Parts
from fleetwatch_collector.sessions import Sessions
from fleetwatch_collector.settings import CollectorSettings, address, is_loopback
from fleetwatch_proto.settings import ConfigError
from fleetwatch_proto.v1 import ingest_pb2 as wire
from fleetwatch_storage.errors import RejectedRow
from fleetwatch_storage.metadata.database import open_database, sqlite_url
from fleetwatch_storage.metadata.hosts import HostDirectory
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from tests.support.stream_client import batch, now_ms, schema, series

MEM = schema()


class Bench:
    """A session without a server; `rows` are what was decoded."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.settings = CollectorSettings(**settings)  # type: ignore[arg-type]
        self.rows: list[Rows] = []
        self.intake = Intake(self.rows.extend)
        self.tally = Tally()
        directory = HostDirectory(open_database(sqlite_url(folder)))
        self.presence = Presence(directory, Events(self.tally), 100)
        accounts = Accounts(self.settings, {})
        self.parts = Parts(
            settings=self.settings,
            plans=Plans(),
            intake=self.intake,
            budget=Budget(self.settings.byte_budget),
            presence=self.presence,
            tally=self.tally,
            own_clock_suspect=lambda: False,
        )
        hello = wire.Hello(spool_id="s", boot_id="b", first_unacked=1, next_seq=1, wall_ms=now_ms())
        identity = Identity("agent-1", "web1", How.LOOPBACK, "127.0.0.1")
        self.sessions = Sessions(accounts, 600_000)
        self.session = self.sessions.open(identity, hello, self.parts, Quiet(), now_ms(), 0.0)

    def take(self, now_s: float = 0.0, **message: object) -> None:
        self.session.take(wire.AgentMessage(**message).SerializeToString(), now_ms(), now_s)  # type: ignore[arg-type]

    def answers(self) -> list[wire.CollectorMessage]:
        return [wire.CollectorMessage.FromString(raw) for raw in self.session.messages()]


class Quiet:
    """A call that nobody listens to."""

    writing = False

    def wake(self) -> None:
        pass

    def end(self, refused: CallRefused) -> None:
        pass


async def test_mutated_messages_only_ever_end_in_a_refusal(tmp_path: Path) -> None:
    bench = Bench(tmp_path, points_per_s=1e12, points_burst=10**12)
    rng = random.Random(7)
    bench.take(schema=MEM)
    rows = np.ones((3, 2))
    right = [
        wire.AgentMessage(batch=batch(1, MEM, rows, encoding=encoding)).SerializeToString()
        for encoding in ("raw", "bitmap", "zlib")
    ]
    right += [
        wire.AgentMessage(schema=schema(series("disk", ("used",), path="/"))).SerializeToString(),
        wire.AgentMessage(stats=wire.Stats(lost=[wire.LostRange(from_seq=1, to_seq=9)])).SerializeToString(),
        wire.AgentMessage(goodbye=wire.Goodbye(expected_back_s=5)).SerializeToString(),
    ]
    ends: Counter[str] = Counter()

    for _ in range(4_000):
        raw = bytearray(rng.choice(right))
        for _ in range(rng.randint(1, 4)):
            raw[rng.randrange(len(raw))] = rng.getrandbits(8)
        try:
            bench.session.take(bytes(raw), now_ms(), 0.0)
            bench.intake.turn()
        except CallRefused as refused:
            ends[refused.why] += 1
        for answer in bench.answers():
            ends[answer.WhichOneof("message") or ""] += 1
        for one in bench.rows:
            for arrival in one.arrivals:
                bench.session.settle(arrival)
        bench.rows.clear()

    assert set(ends) <= {Why.INVALID, "welcome", "nack", "need_schema"}
    assert ends["nack"] > 100
    assert bench.parts.budget.used == 0


async def test_nothing_is_read_while_the_window_is_full(tmp_path: Path) -> None:
    bench = Bench(tmp_path, window_batches=2)
    bench.take(schema=MEM)
    bench.take(batch=batch(1, MEM))
    before = bench.session.must_wait()
    bench.take(batch=batch(2, MEM))
    full = bench.session.must_wait()

    waiting = asyncio.create_task(bench.session.wait())
    await asyncio.sleep(0)
    bench.intake.turn()
    for arrival in bench.rows[0].arrivals:
        bench.session.settle(arrival)
    await asyncio.wait_for(waiting, 1)

    assert (before, full, bench.session.must_wait()) == (False, True, False)


async def test_nothing_is_read_from_an_agent_that_does_not_read_its_refusals(tmp_path: Path) -> None:
    bench = Bench(tmp_path, points_per_s=1e9, points_burst=10**9)
    bench.take(schema=MEM)
    bad = batch(1, MEM)
    bad.offset_ms[0] = 5

    for _ in range(MOST_NACKS):
        bench.take(batch=bad)
    full = bench.session.must_wait()
    bench.answers()

    assert (full, bench.session.must_wait()) == (True, False)


async def test_small_messages_cost_something_too(tmp_path: Path) -> None:
    bench = Bench(tmp_path, points_per_s=10.0, points_burst=100)

    for _ in range(11):
        bench.take(stats=wire.Stats())

    assert bench.session.must_wait()


async def test_the_rate_is_remembered_over_streams(tmp_path: Path) -> None:
    settings = CollectorSettings()
    accounts = Accounts(settings, {})
    account = accounts.find_or_make("agent-1", 0.0)
    account.points.spend(20_000, 0.0)
    account.idle_since_s = 0.0

    accounts.forget_idle(60.0)
    same = accounts.find_or_make("agent-1", 1.0)
    accounts.forget_idle(7200.0)
    other = accounts.find_or_make("agent-1", 7200.0)

    assert same.points.wait_s(1.0) == pytest.approx(9.0)
    assert other.points.wait_s(7200.0) == 0


def test_series_of_the_first_schema_are_free_and_later_ones_are_not() -> None:
    settings = CollectorSettings(new_series_per_minute=60)
    plans, account = Plans(), Account("agent-1", settings, 0.0)

    def plan_of(prefix: str, count: int) -> object:
        made = schema(*(series("net", ("rx",), interface=f"{prefix}{n}") for n in range(count)))
        return plans.find_or_make(made.id, made.SerializeToString(), lambda: read_schema(made, settings))

    account.admit(plan_of("a", 500), 0.0)  # type: ignore[arg-type]
    account.admit(plan_of("b", 90), 0.0)  # type: ignore[arg-type]
    with pytest.raises(Refused) as refused:
        account.admit(plan_of("c", 1), 0.0)  # type: ignore[arg-type]
    account.admit(plan_of("a", 500), 0.0)  # type: ignore[arg-type]
    account.admit(plan_of("c", 1), 31.0)  # type: ignore[arg-type]

    assert refused.value.code == wire.Nack.RETRY
    assert refused.value.retry_after_ms == 30_001


def test_an_allowance_may_be_overdrawn_once_and_is_then_waited_for() -> None:
    allowance = Allowance(rate_per_s=10, burst=20, now_s=0)

    allowance.spend(50, 0)

    assert allowance.wait_s(0) == 3.0
    assert allowance.wait_s(2) == 1.0
    assert allowance.wait_s(100) == 0
    assert allowance.level == 20


async def test_readers_wait_for_the_budget_first_come_first_served() -> None:
    budget, order = Budget(10), []
    budget.take(10)

    async def read(name: str) -> None:
        await budget.room()
        order.append(name)
        budget.take(10)

    tasks = [asyncio.create_task(read(name)) for name in ("first", "second")]
    await asyncio.sleep(0)
    budget.give_back(10)
    await asyncio.wait_for(tasks[0], 1)
    waiting = tasks[1].done()
    budget.give_back(10)
    await asyncio.wait_for(tasks[1], 1)

    assert order == ["first", "second"]
    assert not waiting


def test_a_host_with_too_many_events_loses_its_own_only() -> None:
    tally = Tally()
    events = Events(tally)

    for _ in range(MOST_PER_HOST_AND_MINUTE + 5):
        events.add(1000, "noisy", "points_lost", "x\x1b")
    events.add(1000, "calm", "reboot", "")
    events.add(61_000, "noisy", "reboot", "")

    kinds = Counter((event.host, event.kind) for event in events.take())
    assert kinds == {("noisy", "points_lost"): MOST_PER_HOST_AND_MINUTE, ("calm", "reboot"): 1, ("noisy", "reboot"): 1}
    assert tally.events_left_out == 5


LOCAL, REMOTE = "ipv4:127.0.0.1:5", "ipv4:10.0.0.9:5"
CLAIMS = [("fleetwatch-agent-id", "agent-1"), ("fleetwatch-host", "web1")]


@pytest.mark.parametrize("peer", [LOCAL, "ipv6:%5B::1%5D:5", "ipv6:[::1]:5", "ipv6:[::ffff:127.0.0.1]:5"])
def test_callers_on_this_machine_say_who_they_are(peer: str) -> None:
    identity = identify(peer, CLAIMS, None)

    assert (identity.agent_id, identity.host, identity.how) == ("agent-1", "web1", How.LOOPBACK)


@pytest.mark.parametrize(
    ("peer", "metadata", "token"),
    [
        (REMOTE, CLAIMS, None),
        ("unix:/run/x", CLAIMS, None),
        (LOCAL, CLAIMS, "secret"),
        (REMOTE, [*CLAIMS, ("authorization", "Bearer Secret")], "secret"),
        (REMOTE, [*CLAIMS, ("authorization", "secret")], "secret"),
        (REMOTE, [*CLAIMS, ("authorization", "Bearer ")], "secret"),
        (LOCAL, [*CLAIMS, ("fleetwatch-host", "web2")], None),
        (LOCAL, [("fleetwatch-host", "../../etc")], None),
        (LOCAL, [("fleetwatch-host", "a\nb")], None),
    ],
)
def test_everybody_else_is_refused(peer: str, metadata: list[tuple[str, str | bytes]], token: str | None) -> None:
    with pytest.raises(CallRefused):
        identify(peer, metadata, token)


def test_the_right_token_is_taken_from_anywhere() -> None:
    identity = identify(REMOTE, [*CLAIMS, ("authorization", "Bearer secret")], "secret")

    assert (identity.how, identity.address) == (How.TOKEN, "10.0.0.9")


@pytest.mark.parametrize("wrong", ["7400", "localhost", "127.0.0.1:", ":7400", "127.0.0.1:99999", "127.0.0.1:x"])
def test_an_address_that_is_none_is_refused_in_words(wrong: str) -> None:
    with pytest.raises(ConfigError, match="write HOST:PORT"):
        CollectorSettings(grpc=wrong)


def test_addresses_are_read_and_loopback_is_known() -> None:
    assert address("[::1]:7400") == ("::1", 7400)
    assert [is_loopback(host) for host in ("127.0.0.9", "::1", "localhost", "0.0.0.0", "10.0.0.1", "db")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "settings", [{"flush_interval": 0}, {"window_bytes": 10}, {"byte_budget": 10}, {"max_message": -1}]
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        CollectorSettings(**settings)  # type: ignore[arg-type]


def test_the_quarantine_keeps_the_newest_rows_within_its_size(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "new folder", 4_000)

    for number in range(200):
        quarantine.keep([RejectedRow("mem", f"mem x={number}", "no room")], number)

    files = sorted((tmp_path / "new folder").iterdir())
    assert [file.name for file in files] == ["quarantine.jsonl", "quarantine.older.jsonl"]
    assert sum(file.stat().st_size for file in files) <= 4_000
    assert "mem x=199" in files[0].read_text()
    assert files[0].stat().st_mode & 0o077 == 0


def test_a_quarantine_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    Quarantine(tmp_path / "file" / "folder", 4_000).keep([RejectedRow("mem", "mem x=1", "no")], 0)

    assert (tmp_path / "file").read_text() == ""


def test_chunks_are_cut_into_whole_lines() -> None:
    pieces = LinePieces(longest=10)

    texts = [pieces.add(b"a\nb"), pieces.add(b"c"), pieces.add(b"\nd\n"), pieces.add(b"x" * 8), pieces.add(b"y" * 30)]
    texts += [pieces.add(b"z" * 30 + b"\nend"), pieces.end(), pieces.end()]

    assert texts == [b"a\n", b"", b"bc\nd\n", b"", b"", b"xxxxxxxxyyy\n", b"end", b""]


def test_pauses_jitter_fully_grow_to_a_limit_and_honour_what_the_store_asks() -> None:
    rng = random.Random(3)

    first = [pause_s(0, rng, 30.0, None) for _ in range(200)]
    late = [pause_s(20, rng, 30.0, None) for _ in range(200)]
    asked = [pause_s(0, rng, 30.0, 90.0), pause_s(0, rng, 30.0, 1e9)]

    assert 0 <= min(first) < 0.1 < 0.4 < max(first) <= 0.5
    assert 0 <= min(late) < 3 < 27 < max(late) <= 30
    assert asked == [90.0, 3600.0]


def test_calls_from_one_address_are_bounded_but_for_this_machine() -> None:
    door = Doorkeeper(CallMetrics(CollectorRegistry()), None, calls_per_address=2)

    for address_ in ("10.0.0.9", "10.0.0.9", "127.0.0.1", "127.0.0.1", "127.0.0.1"):
        door.count_in(address_)
    with pytest.raises(CallRefused, match="no more are taken"):
        door.count_in("10.0.0.9")
    door.count_out("10.0.0.9")
    door.count_in("10.0.0.9")


def test_accounts_are_bounded_and_the_idle_make_room() -> None:
    accounts = Accounts(CollectorSettings(max_hosts=2), {})
    first, second = accounts.find_or_make("a", 0.0), accounts.find_or_make("b", 0.0)
    first.idle_since_s = None

    accounts.find_or_make("c", 1.0).idle_since_s = None
    with pytest.raises(CallRefused, match="raise max_hosts"):
        accounts.find_or_make("d", 1.0)

    assert accounts.find_or_make("a", 1.0) is first
    assert second.idle_since_s is not None


def test_the_same_refusal_of_the_same_address_is_logged_once_a_minute() -> None:
    door = Doorkeeper(CallMetrics(CollectorRegistry()), None, calls_per_address=2)
    refused = CallRefused(Why.UNAUTHENTICATED, "who are you")

    with capture_logs() as lines:
        words = [door.ending(refused, address_) for address_ in ("10.0.0.9", "10.0.0.9", "10.0.0.8")]

    assert words == ["unauthenticated"] * 3
    assert [line["log_level"] for line in lines] == ["warning", "debug", "warning"]
