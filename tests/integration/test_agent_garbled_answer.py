"""An answer that is damaged on its way: the agent leaves the stream and is back on another, with everything."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from fleetwatch_proto import PROTOCOL
from fleetwatch_proto.v1 import ingest_pb2 as wire

from tests.support.conditions import wait_until
from tests.support.parts import DeterministicAgent


class Garbler:
    """Takes streams; answers the first batch of the first one with bytes that are no message, and is silent then."""

    def __init__(self) -> None:
        self.streams = 0
        self.acked: set[int] = set()
        self.over = threading.Event()
        self._server = grpc.server(ThreadPoolExecutor(8))
        handler = grpc.stream_stream_rpc_method_handler(self._stream, wire.AgentMessage.FromString)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("fleetwatch.v1.Ingest", {"Stream": handler}),)
        )
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def stop(self) -> None:
        self.over.set()
        self._server.stop(0).wait()

    def _stream(self, messages: Iterator[wire.AgentMessage], _: grpc.ServicerContext) -> Iterator[bytes]:
        self.streams += 1
        first = self.streams == 1
        for message in messages:
            if message.HasField("hello"):
                welcome = wire.Welcome(protocol=PROTOCOL, window_batches=8)
                yield wire.CollectorMessage(welcome=welcome).SerializeToString()
            elif message.HasField("batch") and first:
                yield b"\xff\xff\xff"
                self.over.wait(60)
            elif message.HasField("batch"):
                self.acked.add(message.batch.seq)
                yield wire.CollectorMessage(ack=wire.Ack(also=[message.batch.seq])).SerializeToString()


@pytest.fixture
def garbler() -> Iterator[Garbler]:
    made = Garbler()
    yield made
    made.stop()


def test_an_answer_that_is_no_message_is_survived(tmp_path: Path, garbler: Garbler) -> None:
    with DeterministicAgent("a", f"127.0.0.1:{garbler.port}", tmp_path, ack_timeout=3600) as agent:
        wait_until(lambda: garbler.streams == 2, within_s=30, what="a second stream")
        agent.sample_no_more()
        wait_until(lambda: agent.drained, within_s=30, what="everything acknowledged")

    assert garbler.acked == set(range(1, max(garbler.acked) + 1))
