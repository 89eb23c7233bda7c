"""A TCP proxy that does to connections what bad networks do: delay, reset, half-open, partition, loss, corrupted bytes.

Every chance comes from a seed. A fault is switched on for all connections at once with `fault = ...` and off with None;
connections made while a partition is on hang, as behind a firewall that drops packets.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Awaitable
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What is done to the bytes."""

    DELAY = "delay"  # every chunk comes `seconds` later
    TRICKLE = "trickle"  # `bytes_per_s` each way
    RESET = "reset"  # now and then a connection is reset in the middle of what it carries
    HALF_OPEN = "half_open"  # the server's bytes are swallowed, the client's get through
    PARTITION = "partition"  # nothing gets through either way, nothing is closed
    CORRUPT = "corrupt"  # now and then one bit of what the client sends is turned over, see `SPARED_BYTES`


SPARED_BYTES = 4096
"""At the start of a connection nothing is corrupted: only TLS protects who a caller is and what it is answered."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind with its strength; `chance` is per chunk."""

    kind: Kind
    chance: float = 0.05
    seconds: float = 0.5
    bytes_per_s: float = 20_000.0


class FaultProxy:
    """Listens on `port` of 127.0.0.1 and passes every connection on to `target_port`."""

    def __init__(self, target_port: int, *, seed: int = 1) -> None:
        self.port = 0
        self._fault: Fault | None = None
        self._no_partition = asyncio.Event()
        self._no_partition.set()
        self.done: dict[Kind, int] = dict.fromkeys(Kind, 0)  # how many chunks each fault has hit
        self._target_port, self._rng = target_port, random.Random(seed)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def fault(self) -> Fault | None:
        """What is done at present."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault | None) -> None:
        self._fault = fault
        if fault is not None and fault.kind is Kind.PARTITION:
            self._no_partition.clear()
        else:
            self._no_partition.set()

    async def start(self) -> None:
        """Listens."""
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Resets what is open and listens no more."""
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def cut(self) -> None:
        """Resets every connection now."""
        for writer in list(self._writers):
            _reset(writer)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):  # streams complain of a cancelled handler
                await self._carry(reader, writer)
        finally:
            self._connections.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._no_partition.is_set():
            await self._hit(Kind.PARTITION, self._no_partition.wait())
        there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers.add(back)
        ways = [
            asyncio.create_task(self._pass_on(reader, back, to_server=True)),
            asyncio.create_task(self._pass_on(there, writer, to_server=False)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._writers.discard(back)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            back.close()

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, to_server: bool) -> None:
        passed = 0
        while chunk := await source.read(16_384):
            may_corrupt = to_server and passed >= SPARED_BYTES
            passed += len(chunk)
            chunk = await self._suffer(chunk, sink, to_server=to_server, may_corrupt=may_corrupt)
            sink.write(chunk)
            await sink.drain()

    async def _suffer(self, chunk: bytes, sink: asyncio.StreamWriter, *, to_server: bool, may_corrupt: bool) -> bytes:
        """What is left of a chunk after the fault that is on."""
        fault = self.fault
        if fault is None:
            return chunk
        match fault.kind:
            case Kind.DELAY:
                await self._hit(Kind.DELAY, asyncio.sleep(fault.seconds))
            case Kind.TRICKLE:
                await self._hit(Kind.TRICKLE, asyncio.sleep(len(chunk) / fault.bytes_per_s))
            case Kind.PARTITION:
                await self._hit(Kind.PARTITION, self._no_partition.wait())
            case Kind.HALF_OPEN if not to_server:
                self.done[Kind.HALF_OPEN] += 1
                return b""
            case Kind.RESET if self._rng.random() < fault.chance:
                self.done[Kind.RESET] += 1
                _reset(sink)
                raise ConnectionResetError("fault proxy")
            case Kind.CORRUPT if may_corrupt and self._rng.random() < fault.chance:
                self.done[Kind.CORRUPT] += 1
                return _one_bit_turned(chunk, self._rng)
        return chunk

    async def _hit(self, kind: Kind, what: Awaitable[object]) -> None:
        self.done[kind] += 1
        await what


def _one_bit_turned(chunk: bytes, rng: random.Random) -> bytes:
    turned = bytearray(chunk)
    turned[rng.randrange(len(turned))] ^= 1 << rng.randrange(8)
    return bytes(turned)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Closes with RST instead of FIN: linger on, with no time."""
    connection = writer.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
