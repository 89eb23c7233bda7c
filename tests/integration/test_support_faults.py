"""The fault proxy does what it says, and nothing when it is told nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.support.conditions import wait_until_async
from tests.support.faults import SPARED_BYTES, Fault, FaultProxy, Kind


@dataclass
class Line:
    """An echo server behind a proxy, and one connection through both."""

    proxy: FaultProxy
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    received: bytearray

    async def echo(self, data: bytes, within_s: float = 5.0) -> bytes:
        self.writer.write(data)
        return await asyncio.wait_for(self.reader.readexactly(len(data)), within_s)


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    received = bytearray()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionResetError):
            while data := await reader.read(4096):
                received.extend(data)
                writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = FaultProxy(server.sockets[0].getsockname()[1])
    await proxy.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    yield Line(proxy, reader, writer, received)
    writer.close()
    await proxy.stop()
    server.close()


async def test_without_a_fault_bytes_pass_unchanged(line: Line) -> None:
    assert await line.echo(bytes(range(256)) * 100) == bytes(range(256)) * 100
    assert not any(line.proxy.done.values())


async def test_delay_holds_every_chunk_back(line: Line) -> None:
    line.proxy.fault = Fault(Kind.DELAY, seconds=0.2)
    before = asyncio.get_running_loop().time()

    await line.echo(b"slow")

    assert asyncio.get_running_loop().time() - before >= 0.4


async def test_a_partition_lets_nothing_through_and_closes_nothing(line: Line) -> None:
    line.proxy.fault = Fault(Kind.PARTITION)

    with pytest.raises(TimeoutError):
        await line.echo(b"lost?", within_s=0.3)
    line.proxy.fault = None

    assert await asyncio.wait_for(line.reader.readexactly(5), 5) == b"lost?"


async def test_half_open_reaches_the_server_and_never_comes_back(line: Line) -> None:
    line.proxy.fault = Fault(Kind.HALF_OPEN)

    with pytest.raises(TimeoutError):
        await line.echo(b"there", within_s=0.3)

    assert line.received == b"there"


async def test_reset_ends_the_connection_with_an_error(line: Line) -> None:
    line.proxy.fault = Fault(Kind.RESET, chance=1.0)

    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await line.echo(b"gone")

    assert line.proxy.done[Kind.RESET] == 1


async def test_corruption_turns_bits_and_keeps_the_length(line: Line) -> None:
    line.proxy.fault = Fault(Kind.CORRUPT, chance=1.0)
    beginning = await line.echo(bytes(SPARED_BYTES))

    answer = await line.echo(bytes(100))

    assert beginning == bytes(SPARED_BYTES)
    assert sum(byte.bit_count() for byte in answer) == 1


async def test_cut_resets_what_is_open_and_takes_new_connections(line: Line) -> None:
    await line.echo(b"open")
    line.proxy.cut()

    await wait_until_async(lambda: line.reader.exception() is not None, what="the client's connection gone")
    reader, writer = await asyncio.open_connection("127.0.0.1", line.proxy.port)
    writer.write(b"again")

    assert await asyncio.wait_for(reader.readexactly(5), 5) == b"again"
    writer.close()
