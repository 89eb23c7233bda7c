"""The live WebSocket over a real server: what arrives, what does not, slow and hostile clients."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fleetwatch_dashboard.api import live
from fleetwatch_dashboard.server import DashboardServer
from fleetwatch_dashboard.settings import DashboardSettings
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support import fleet
from tests.support.conditions import wait_until_async
from tests.support.dashboard import NOW_MS, Bench, bench
from tests.support.store_rows import Row, frame

CPU = {"cpu": {"fields": ["usage_active"], "tags": {"cpu": "cpu-total"}}}


class Served:
    """A bench behind a real server."""

    def __init__(self, rig: Bench, server: DashboardServer) -> None:
        self.rig = rig
        self.server = server
        self.url = f"ws://127.0.0.1:{server.port}/api/v1/live"

    @asynccontextmanager
    async def watching(self, **wanted: Any) -> AsyncIterator[ClientConnection]:
        """A client that has said what it wants and is being served."""
        before = len(self.rig.live.asked)
        async with connect(self.url, compression=None) as socket:
            await socket.send(json.dumps(wanted))
            await wait_until_async(lambda: len(self.rig.live.asked) > before)
            assert (await message(socket))["type"] == "heartbeat"
            yield socket

    def push(self, *measurements: str) -> None:
        frames = fleet.next_tick(self.rig.store, NOW_MS)
        self.rig.live.push([frame for frame in frames if not measurements or frame.measurement in measurements])


async def message(socket: ClientConnection, kind: str = "") -> dict[str, Any]:
    """The next message, of a kind when given."""
    while True:
        found: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), 10))
        if kind in ("", found["type"]):
            return found


@asynccontextmanager
async def serve(folder: Path, settings: DashboardSettings | None = None, **options: Any) -> AsyncIterator[Served]:
    chosen = settings or DashboardSettings()
    with bench(folder, fleet.made_hosts(3), settings=chosen, **options) as rig:
        server = DashboardServer(rig.app, DashboardSettings(http="127.0.0.1:0"))
        await server.start()
        try:
            yield Served(rig, server)
        finally:
            await server.stop()


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serve(tmp_path) as found:
        yield found


async def test_a_watcher_gets_the_fields_and_series_it_asked_for(served: Served) -> None:
    async with served.watching(hosts=["web-3"], select=CPU, fast=True) as socket:
        served.push()
        found = await message(socket, "frames")

    (only,) = found["frames"]
    assert served.rig.live.asked == [(frozenset({"web-3"}), frozenset({"cpu"}), True)]
    assert list(only["fields"]) == ["usage_active"]
    assert [only["hosts"][code] for code in only["host"]] == ["web-3"]
    assert {only["tagsets"][code]["cpu"] for code in only["tagset"]} == {"cpu-total"}
    assert found["t"] == NOW_MS / 1000


async def test_a_watcher_of_everything_gets_text_too(served: Served) -> None:
    async with served.watching() as socket:
        served.push("process_top", "mem")
        frames = (await message(socket, "frames"))["frames"]

    names = {one["measurement"]: one["fields"] for one in frames}
    assert set(names) == {"process_top", "mem"}
    assert "ffmpeg" in names["process_top"]["name"]


async def test_missing_values_are_null(served: Served) -> None:
    async with served.watching(select=CPU) as socket:
        last = served.rig.store.latest(["cpu"])[0]
        empty = {name: np.full(len(values), np.nan) for name, values in last.fields.items()}
        served.rig.live.push([replace(last, fields=empty)])
        found = await message(socket, "frames")

    assert set(found["frames"][0]["fields"]["usage_active"]) == {None}


async def test_a_client_that_comes_back_gets_what_it_missed(served: Served) -> None:
    async with served.watching(hosts=["web-3"], select=CPU, since=NOW_MS / 1000 - 60) as socket:
        found = await message(socket, "frames")

    times = found["frames"][0]["t"]
    assert min(times) > NOW_MS - 60_000
    assert len(times) == 5


async def test_a_client_may_change_what_it_wants(served: Served) -> None:
    async with served.watching(select={"mem": {}}) as socket:
        await socket.send(json.dumps({"select": {"swap": {}}}))
        await wait_until_async(lambda: served.rig.live.asked[-1][1] == frozenset({"swap"}))
        await wait_until_async(lambda: len(served.rig.live.watchers) == 1)
        served.push("mem", "swap")
        found = await message(socket, "frames")

    assert [one["measurement"] for one in found["frames"]] == ["swap"]


async def test_a_client_with_nothing_to_hear_gets_a_heartbeat(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "HEARTBEAT_S", 0.05)

    async with served.watching(select=CPU) as socket:
        assert (await message(socket))["type"] == "heartbeat"


async def test_a_slow_client_loses_the_oldest_frames_and_is_told_how_many() -> None:
    outbox = live.Outbox()

    for number in range(live.PENDING + 3):
        outbox.put([{"n": number}])

    assert await outbox.take(1) == {"type": "skipped", "count": 3}
    assert await outbox.take(1) == {"type": "frames", "frames": [{"n": 3}]}
    assert len(outbox.messages) == live.PENDING - 1


async def test_a_client_that_does_not_read_stops_nobody_else(served: Served) -> None:
    async with served.watching() as stuck, served.watching(select=CPU) as quick:
        stuck.transport.pause_reading()
        heavy = frame("note", [Row("web-3", NOW_MS, {"text": "x" * 500_000})])
        for _ in range(3 * live.PENDING):
            served.rig.live.push([heavy])
            await asyncio.sleep(0)
        served.push("cpu")
        await message(quick, "frames")
        stuck.transport.resume_reading()
        told = await message(stuck, "skipped")

    assert told["count"] > 0


async def test_a_watch_ends_with_its_client(served: Served) -> None:
    async with served.watching(select=CPU):
        assert len(served.rig.live.watchers) == 1

    await wait_until_async(lambda: not served.rig.live.watchers)


@pytest.mark.parametrize("word", ["hello", "[]", '{"hosts": "web-3"}', '{"since": -1}', '{"colour": 1}', "{" * 5000])
async def test_what_is_no_subscription_is_refused_in_words(served: Served, word: str) -> None:
    async with connect(served.url) as socket:
        await socket.send(word)
        found = await message(socket, "error")
        with pytest.raises(ConnectionClosed) as closed:
            await message(socket)

    assert found["detail"].startswith("not a subscription")
    assert closed.value.rcvd is not None and closed.value.rcvd.code == live.REFUSED


async def test_a_message_that_is_far_too_long_ends_the_connection(served: Served) -> None:
    async with connect(served.url) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await socket.send("x" * 200_000)
            await message(socket, "frames")

    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009


async def test_a_page_from_elsewhere_may_not_listen(served: Served) -> None:
    with pytest.raises(Exception, match="403"):
        async with connect(served.url, origin="https://evil.example"):
            pass

    async with connect(served.url, origin=served.url.replace("ws:", "http:").removesuffix("/api/v1/live")):  # type: ignore[arg-type]
        pass


async def test_another_name_for_us_may_not_listen(served: Served) -> None:
    with pytest.raises(Exception, match="400"):
        async with connect(served.url, additional_headers={"Host": "evil.example"}):
            pass


async def test_more_watchers_than_allowed_are_told_to_come_later(tmp_path: Path) -> None:
    async with serve(tmp_path, DashboardSettings(live_watchers=1)) as served:
        async with served.watching(select=CPU):
            async with connect(served.url) as second:
                with pytest.raises(ConnectionClosed) as closed:
                    await second.recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == live.TRY_LATER
        await wait_until_async(lambda: not served.rig.live.watchers)

        async with served.watching(select=CPU):
            pass


async def test_without_a_live_source_a_client_is_told_to_poll(tmp_path: Path) -> None:
    async with serve(tmp_path, live=False) as served, connect(served.url) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()

    assert closed.value.rcvd is not None and closed.value.rcvd.code == live.TRY_LATER


async def test_a_source_that_breaks_lets_its_watchers_come_back(served: Served) -> None:
    async with served.watching(select=CPU) as socket:
        served.rig.live.push([None])  # type: ignore[list-item]  # what no source should hand out
        with pytest.raises(ConnectionClosed) as closed:
            await message(socket, "frames")

    assert closed.value.rcvd is not None and closed.value.rcvd.code == live.TRY_LATER


async def test_a_client_that_says_nothing_is_let_go(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "FIRST_WORD_S", 0.1)

    async with connect(served.url) as socket:
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(socket.recv(), 10)


async def test_the_server_stops_within_seconds_while_clients_watch(tmp_path: Path) -> None:
    async with serve(tmp_path) as served, served.watching(select=CPU) as socket:
        began = asyncio.get_running_loop().time()

        await served.server.stop()
        with pytest.raises(ConnectionClosed):
            await message(socket, "frames")

        assert asyncio.get_running_loop().time() - began < 8


async def test_pages_and_the_api_are_served_with_compression(served: Served) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.server.port}") as client:
        page = await client.get("/", headers={"accept": "text/html"})

    assert page.status_code == 200
    assert page.headers["content-encoding"] == "gzip"
    assert "server" not in page.headers
