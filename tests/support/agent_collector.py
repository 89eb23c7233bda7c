"""A collector for tests of the agent: a real gRPC server that decodes in plain Python and does what it is told."""

from __future__ import annotations

import queue
import threading
import time
import zlib
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
from fleetwatch_proto import PROTOCOL
from fleetwatch_proto.schema import columns, schema_id
from fleetwatch_proto.v1 import ingest_pb2 as pb
from fleetwatch_proto.v1 import ingest_pb2_grpc as rpc


class Decoder:
    """Decodes the batches of one stream as the protocol says, with nothing but the standard library."""

    def __init__(self) -> None:
        self.widths: dict[int, int] = {}
        self._last: dict[int, tuple[int, array[float]]] = {}

    def learn(self, schema: pb.Schema) -> None:
        assert schema.id == schema_id(schema.series)
        self.widths[schema.id] = columns(schema.series)

    def rows(self, batch: pb.Batch) -> list[array[float]]:
        count = len(batch.offset_ms)
        decode = {pb.RAW_F64: self._raw, pb.BITMAP_F64: self._bitmap, pb.COLUMNS_ZLIB: self._columns}[batch.encoding]
        found = decode(batch, count, self.widths[batch.schema_id])
        assert zlib.crc32(b"".join(row.tobytes() for row in found)) == batch.crc32
        self._last[batch.schema_id] = batch.seq, found[-1]
        return found

    def _raw(self, batch: pb.Batch, count: int, width: int) -> list[array[float]]:
        values = array("d", batch.values)
        assert len(values) == count * width
        return [values[n * width : (n + 1) * width] for n in range(count)]

    def _columns(self, batch: pb.Batch, count: int, width: int) -> list[array[float]]:
        values = array("d", zlib.decompress(batch.values))
        assert len(values) == count * width
        return [values[n::count] for n in range(count)]

    def _bitmap(self, batch: pb.Batch, count: int, width: int) -> list[array[float]]:
        row = array("d", bytes(8 * width))
        if batch.base_seq:
            base, row = self._last[batch.schema_id]
            assert base == batch.base_seq, "a bitmap must be relative to the batch sent before"
        data, size, found = batch.values, (width + 7) // 8, []
        for number in range(count):
            mask, data = data[:size], data[size:]
            changed = [n for n in range(width) if mask[n // 8] >> n % 8 & 1]
            assert batch.base_seq or number or len(changed) == width
            row = row[:]
            for column, value in zip(changed, array("d", data[: 8 * len(changed)]), strict=True):
                row[column] = value
            data = data[8 * len(changed) :]
            found.append(row)
        assert not data
        return found


@dataclass
class Stream:
    """One stream as the collector saw it. `say` sends a message; `close` ends it."""

    metadata: dict[str, str]
    messages: list[pb.AgentMessage] = field(default_factory=list)
    outbox: queue.Queue[pb.CollectorMessage | None] = field(default_factory=queue.Queue)
    decoder: Decoder = field(default_factory=Decoder)
    over: bool = False

    def say(self, **message: Any) -> None:
        self.outbox.put(pb.CollectorMessage(**message))

    def close(self) -> None:
        self.outbox.put(None)

    def of(self, kind: str) -> list[Any]:
        """The messages of one kind so far."""
        return [getattr(one, kind) for one in list(self.messages) if one.WhichOneof("message") == kind]


class FakeCollector(rpc.IngestServicer):
    """Listens on a free port of the loopback. `on_batch(stream, batch)` decides the answer: at first an Ack."""

    def __init__(self, port: int = 0, window: int = 8, protocol: int = PROTOCOL, token: str = "") -> None:
        self.window, self.protocol, self.token = window, protocol, token
        self.on_batch: Callable[[Stream, pb.Batch], None] = acknowledge
        self.known_schemas: list[int] = []
        self.welcomes = True
        self.decodes = True
        self.streams: list[Stream] = []
        self.stored: dict[tuple[str, int], tuple[pb.Batch, list[array[float]]]] = {}
        self.received = 0
        self.wire_bytes = 0
        self._lock = threading.Lock()
        options = (("grpc.http2.min_recv_ping_interval_without_data_ms", 5000),)
        self._server = grpc.server(ThreadPoolExecutor(32), options=options)
        rpc.add_IngestServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        assert self.port, "port is taken"
        self._server.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def last(self) -> Stream:
        return self.streams[-1]

    def stop(self) -> None:
        self._server.stop(0).wait()

    def seqs(self) -> set[int]:
        """Numbers of all stored batches."""
        return {seq for _, seq in list(self.stored)}

    def Stream(self, request_iterator: Any, context: Any) -> Iterator[pb.CollectorMessage]:
        metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        if self.token and metadata.get("authorization") != f"Bearer {self.token}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "wrong token")
        stream = Stream(metadata)
        self.streams.append(stream)
        threading.Thread(target=self._listen, args=(stream, request_iterator), daemon=True).start()
        while (message := stream.outbox.get()) is not None:
            yield message

    def _listen(self, stream: Stream, requests: Any) -> None:
        try:
            for message in requests:
                stream.messages.append(message)
                self._take(stream, message)
        except grpc.RpcError:
            pass
        finally:
            stream.over = True
            stream.close()

    def _take(self, stream: Stream, message: pb.AgentMessage) -> None:
        kind = message.WhichOneof("message")
        if kind == "hello" and self.welcomes:
            welcome = pb.Welcome(protocol=self.protocol, wall_ms=int(time.time() * 1000), window_batches=self.window)
            welcome.known_schemas.extend(self.known_schemas)
            stream.say(welcome=welcome)
        elif kind == "schema":
            stream.decoder.learn(message.schema)
        elif kind == "batch":
            self.received += 1
            self.wire_bytes += message.ByteSize()
            if self.decodes and message.batch.schema_id in stream.decoder.widths:
                rows = stream.decoder.rows(message.batch)
                with self._lock:
                    spool = stream.of("hello")[0].spool_id
                    self.stored[spool, message.batch.seq] = message.batch, rows
            self.on_batch(stream, message.batch)


def acknowledge(stream: Stream, batch: pb.Batch) -> None:
    """Stored: this one and nothing else."""
    stream.say(ack=pb.Ack(also=[batch.seq]))


def silence(stream: Stream, batch: pb.Batch) -> None:
    """No answer."""
