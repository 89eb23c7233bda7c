"""The remote store on a real collector: writes through Import, errors in the seam's words, live frames."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import grpc
import numpy as np
import pytest
from fleetwatch_collector.service import Collector
from fleetwatch_collector.settings import CollectorSettings
from fleetwatch_proto.settings import ConfigError
from fleetwatch_storage.errors import QueryFailed, StoreUnavailable, WriteRejected
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.metadata.hosts import HostDirectory
from fleetwatch_storage.query import Query
from fleetwatch_storage.remote import RemoteLive, RemoteOptions, RemoteStore, remote_options
from fleetwatch_storage.settings import RemoteSettings
from fleetwatch_storage.store import Health

from tests.support.conditions import wait_until, wait_until_async
from tests.support.processes import free_port
from tests.support.served_store import served
from tests.support.store_rows import Row, frame, rows_of
from tests.support.stores import ReferenceStore, directory

NOW = int(time.time()) * 1000


@pytest.fixture
def hosts(tmp_path: Path) -> HostDirectory:
    return directory(tmp_path, {"web": {"env": "prod"}})


@pytest.fixture
def behind(hosts: HostDirectory) -> ReferenceStore:
    return ReferenceStore(hosts)


@pytest.fixture
def store(tmp_path: Path, behind: ReferenceStore, hosts: HostDirectory) -> Iterator[RemoteStore]:
    with (
        served(tmp_path, behind, hosts) as collector,
        closing(RemoteStore(f"127.0.0.1:{collector.port}", RemoteOptions(host="me", within_s=10))) as remote,
    ):
        yield remote


def ask(measurement: str = "m", *fields: str) -> Query:
    return Query(measurement, fields or ("value",), NOW - 3_600_000, NOW + 3_600_000)


def test_written_rows_are_stored_exactly(store: RemoteStore) -> None:
    rows = [Row(f"h{i:02d}", NOW - i, {"value": i / 7, "x": math.pi * 10.0**-i}, {"t": "a,b=c d"}) for i in range(50)]
    top = [Row("h", NOW, {"name": 'a "b"', "user": "ü", "pid": 5}, {"rank": "1"})]

    store.write([frame("m", rows), frame("process_top", top)])

    assert rows_of(store.read(ask("m", "value", "x"))) == rows_of(frame("m", sorted(rows, key=lambda row: row.host)))
    assert rows_of(store.read(ask("process_top", "name", "user", "pid"))) == rows_of(frame("process_top", top))


def test_writing_nothing_asks_nobody() -> None:
    with closing(RemoteStore("127.0.0.1:1")) as nowhere:
        nowhere.write([])
        nowhere.write([frame("m", [])])


def test_refused_rows_are_named_and_the_rest_is_stored(store: RemoteStore) -> None:
    store.write([frame("m", [Row("h", NOW, {"value": 1})])])
    mixed = [Row("h", NOW + 1, {"value": 2.0}), Row("future", NOW + 7 * 86_400_000, {"value": 3.0})]

    with pytest.raises(WriteRejected) as refused:
        store.write([frame("m", mixed)])

    assert refused.value.count == 1
    assert refused.value.rows[0].measurement == "m"
    assert "host=future" in refused.value.rows[0].line
    assert "future" in refused.value.rows[0].reason
    assert len(store.read(ask())) == 2


def test_large_writes_and_large_answers_pass_in_pieces(store: RemoteStore) -> None:
    count = 200_000
    rows = Frame(
        "m",
        np.arange(count) + NOW - count,
        np.repeat(np.arange(4, dtype=np.int32), count // 4),
        ("a", "b", "c", "d"),
        np.zeros(count, np.int32),
        ((),),
        {"value": np.random.default_rng(1).random(count)},
    )
    store.write([rows])

    answer = store.read(Query("m", ("value",), NOW - count, NOW))

    assert np.array_equal(answer.fields["value"], rows.fields["value"])


def test_a_wrong_question_is_not_asked_again(
    store: RemoteStore, behind: ReferenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(query: Query) -> Frame:
        raise QueryFailed(f"no {query.measurement} today")

    monkeypatch.setattr(behind, "read", refuse)

    with pytest.raises(QueryFailed, match="no m today"):
        store.read(ask())


def test_a_store_that_is_away_behind_the_collector_is_away(
    store: RemoteStore, behind: ReferenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> Frame:
        raise StoreUnavailable("the disk is full", reason="full")

    monkeypatch.setattr(behind, "read", away)
    monkeypatch.setattr(behind, "health", lambda: Health(True, False, "reference", "the disk is full"))

    with pytest.raises(StoreUnavailable, match="the disk is full"):
        store.read(ask())
    assert store.health() == Health(True, False, "reference", "the disk is full")


def test_nobody_there_is_said(tmp_path: Path) -> None:
    with closing(RemoteStore(f"127.0.0.1:{free_port()}", RemoteOptions(within_s=2))) as store:
        for call in (
            store.hosts,
            store.latest,
            store.series,
            lambda: store.read(ask()),
            lambda: store.write([frame("m", [Row("h", 1, {"value": 1})])]),
        ):
            with pytest.raises(StoreUnavailable, match="cannot be asked"):
                call()

        assert not store.health().ready


def test_a_collector_that_comes_back_is_used_again(
    tmp_path: Path, behind: ReferenceStore, hosts: HostDirectory
) -> None:
    with served(tmp_path, behind, hosts) as collector:
        port = collector.port
        store = RemoteStore(f"127.0.0.1:{port}", RemoteOptions(within_s=5))
        assert store.health().ready
    assert not store.health().ready

    with served(tmp_path, behind, hosts, port=port), closing(store):
        assert wait_until(lambda: store.health().ready, within_s=20)


@pytest.mark.parametrize(("shown", "taken"), [("right", True), ("wrong", False), ("", False)])
def test_the_shared_token_is_shown(
    tmp_path: Path, behind: ReferenceStore, hosts: HostDirectory, shown: str, taken: bool
) -> None:
    secret = tmp_path / "token"
    secret.touch(0o600)
    secret.write_text("right")
    with (
        served(tmp_path, behind, hosts, token_file=secret) as collector,
        closing(RemoteStore(f"127.0.0.1:{collector.port}", RemoteOptions(token=shown))) as store,
    ):
        if taken:
            assert [host.name for host in store.hosts()] == ["web"]
            return
        with pytest.raises(StoreUnavailable, match="token") as held:
            store.hosts()
        assert held.value.reason == "auth"


def test_options_come_from_the_settings(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.touch(0o600)
    secret.write_text("word\n")

    options = remote_options(RemoteSettings(collector_token_file=secret))

    assert ("authorization", "Bearer word") in options.metadata()
    with pytest.raises(ConfigError, match="certificate"):
        remote_options(RemoteSettings(collector_ca_file=tmp_path / "missing"))


async def test_live_frames_arrive_and_come_back_after_the_collector_went_away(
    tmp_path: Path, behind: ReferenceStore, hosts: HostDirectory
) -> None:
    collector = await started(tmp_path, behind, hosts, 0)
    port = collector.port
    live = RemoteLive(f"127.0.0.1:{port}")
    seen: asyncio.Queue[list[Frame]] = asyncio.Queue()

    async def watch() -> None:
        async for frames in live.watch(frozenset({"web"}), frozenset({"cpu"})):
            seen.put_nowait(frames)

    watching = asyncio.create_task(watch())
    assert await published(collector, seen)
    await collector.stop(1.0)
    again = await started(tmp_path, behind, hosts, port)

    assert await published(again, seen)

    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    await live.close()
    await again.stop(1.0)


async def started(folder: Path, store: ReferenceStore, hosts: HostDirectory, port: int) -> Collector:
    collector = Collector(CollectorSettings(grpc=f"127.0.0.1:{port}", data_dir=folder), store, hosts)
    await collector.start()
    return collector


async def published(collector: Collector, seen: asyncio.Queue[list[Frame]]) -> bool:
    """Whether frames offered to the hub's watchers arrive."""
    offered = frame("cpu", [Row("web", NOW, {"value": 1.0})])

    def arrives() -> bool:
        for watcher in list(collector.live._watchers):
            watcher.offer([offered])
        return not seen.empty()

    await wait_until_async(arrives, within_s=20)
    (arrived,) = seen.get_nowait()
    while not seen.empty():
        seen.get_nowait()
    return rows_of(arrived) == rows_of(offered)


async def test_a_watcher_that_leaves_ends_the_call(
    tmp_path: Path, behind: ReferenceStore, hosts: HostDirectory
) -> None:
    collector = await started(tmp_path, behind, hosts, 0)
    live = RemoteLive(f"127.0.0.1:{collector.port}")
    watching = live.watch()
    first = asyncio.create_task(anext(watching))
    await wait_until_async(lambda: len(collector.live._watchers))

    first.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await first
    await watching.aclose()

    await wait_until_async(lambda: all(watcher.closed for watcher in collector.live._watchers))
    await live.close()
    await collector.stop(1.0)


def test_a_status_nobody_knows_is_held() -> None:
    class Odd(grpc.RpcError):
        pass

    store = RemoteStore("127.0.0.1:1")
    with closing(store), pytest.raises(StoreUnavailable), store._translated(QueryFailed):
        raise Odd("strange")
