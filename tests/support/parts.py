"""The product's own processes, as a user starts them: on free ports of 127.0.0.1, with data folders of their own."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.deterministic_agent import DRAINED, SPOOL_KEY, STARTED
from tests.support.oracle import Ledger, read_ledger
from tests.support.processes import Process, free_port

FLEETWATCH = str(Path(sys.executable).with_name("fleetwatch"))

Settings = Mapping[str, object]
"""Settings by name, handed over as FLEETWATCH_* environment variables."""


class Collector(Process):
    """`fleetwatch collector`, on the embedded store unless `settings` say otherwise; ready when its health check is."""

    def __init__(
        self, folder: Path, settings: Settings | None = None, *, port: int = 0, program: tuple[str, ...] = ()
    ) -> None:
        self.port = port or free_port()
        self.data_dir = folder / "data"
        command = [*(program or (FLEETWATCH, "collector")), "--data-dir", str(self.data_dir), "--grpc", self.address]
        super().__init__("collector", command, folder, environment=environment(settings), ready=self._serves)

    @property
    def address(self) -> str:
        """Where agents connect."""
        return f"127.0.0.1:{self.port}"

    def _serves(self) -> bool:
        return serves(self.address)


class DeterministicAgent(Process):
    """A real agent fed by a formula (`deterministic_agent`); `options` are its command line's, by name.

    The ledger lies in `folder`, the spool in `state_dir` or beside it.
    """

    def __init__(
        self, host: str, collector: str, folder: Path, *, state_dir: Path | None = None, **options: object
    ) -> None:
        self.host, self.ledger_file = host, folder / f"{host}.ledger"
        self.state_dir = state_dir or folder / f"{host}.state"
        self._until = folder / f"{host}.until"
        values: dict[str, object] = {
            "host": host,
            "collector": collector,
            "ledger": self.ledger_file,
            "until": self._until,
            "state_dir": self.state_dir,
            **options,
        }
        texts = [text for name, value in values.items() for text in (f"--{name.replace('_', '-')}", str(value))]
        super().__init__(host, [sys.executable, "-m", "tests.support.deterministic_agent", *texts], folder)

    def ledger(self) -> Ledger:
        """What it has issued and what its spool has accepted, up to now."""
        return read_ledger(self.ledger_file, self.host, SPOOL_KEY)

    def sample_no_more(self) -> None:
        """The rows so far are all there will be."""
        self._until.touch()

    @property
    def drained(self) -> bool:
        """Whether it has said, since its last start, that everything is sampled and acknowledged."""
        return self.log.rpartition(STARTED)[2].count(f"{DRAINED}\n") > 0


def environment(settings: Settings | None) -> dict[str, str]:
    """Settings as environment variables."""
    return {f"FLEETWATCH_{name.upper()}": str(value) for name, value in (settings or {}).items()}


def serves(address: str) -> bool:
    """Whether a gRPC server answers its health check there."""
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=1.0)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
