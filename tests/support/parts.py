"""The product's own processes, as a user starts them: on free ports of 127.0.0.1, with data folders of their own."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import httpx
from fleetwatch_storage.remote import RemoteStore, remote_options
from fleetwatch_storage.settings import RemoteSettings
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.deterministic_agent import DRAINED, SPOOL_KEY, STARTED
from tests.support.oracle import Ledger, read_ledger
from tests.support.processes import Process, free_port, listens

FLEETWATCH = str(Path(sys.executable).with_name("fleetwatch"))

Settings = Mapping[str, object]
"""Settings by name, handed over as FLEETWATCH_* environment variables."""


class Collector(Process):
    """`fleetwatch collector`, on the embedded store unless `settings` say otherwise; ready when its health check is."""

    def __init__(
        self,
        folder: Path,
        settings: Settings | None = None,
        *,
        data_dir: Path | None = None,
        program: tuple[str, ...] = (),
    ) -> None:
        self.port = free_port()
        self.data_dir = data_dir or folder / "data"
        command = [*(program or (FLEETWATCH, "collector")), "--data-dir", str(self.data_dir), "--grpc", self.address]
        super().__init__("collector", command, folder, environment=environment(settings), ready=self._serves)

    @property
    def address(self) -> str:
        """Where agents connect."""
        return f"127.0.0.1:{self.port}"

    def _serves(self) -> bool:
        return serves(self.address)


class Agent(Process):
    """The product's agent on this host; ready when a collector has welcomed it, unless it is `patient`."""

    def __init__(
        self,
        collector: str,
        folder: Path,
        *options: str,
        host: str = "line-1",
        interval: str = "1s",
        patient: bool = False,
    ) -> None:
        self.host, self.state_dir = host, folder / f"{host}.state"
        words = ["--collector", collector, "--state-dir", str(self.state_dir), "--host", host, "--interval", interval]
        program = [sys.executable, "-m", "fleetwatch_agent", "run", *words, *options]
        self._welcomes_wanted = 0
        super().__init__(f"agent-{host}", program, folder, ready=lambda: patient or self._welcomed())

    def launch(self) -> None:
        """Starts it; only what it says from now on counts as ready."""
        self._welcomes_wanted = self.welcomes + 1
        super().launch()

    @property
    def welcomes(self) -> int:
        """How often a collector has welcomed it, over all its starts."""
        return self.log.count("event=connected")

    def _welcomed(self) -> bool:
        return self.welcomes >= self._welcomes_wanted


class Dashboard(Process):
    """`fleetwatch dashboard` that reads through a collector."""

    def __init__(self, folder: Path, collector: str) -> None:
        self.port = free_port()
        words = ["--data-dir", str(folder / "data"), "--http", f"127.0.0.1:{self.port}", "--collector", collector]
        command = [FLEETWATCH, "dashboard", "--store", "remote", *words]
        super().__init__("dashboard", command, folder, ready=lambda: listens(self.port))

    def get(self, path: str, **parameters: str) -> Any:
        """What the HTTP API answers to a GET."""
        answer = httpx.get(f"http://127.0.0.1:{self.port}{path}", params=parameters, timeout=10.0)
        answer.raise_for_status()
        return answer.json()


class Alerting(Process):
    """`fleetwatch alerting` on a rule file, reading through a collector; receivers on loopback are allowed."""

    def __init__(self, folder: Path, collector: str, rules: str, **environment_of_rules: str) -> None:
        file = folder / "rules.yaml"
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(rules)
        words = ["--data-dir", str(folder / "data"), "--rules", str(file), "--collector", collector]
        settings = environment({"egress_allow": "127.0.0.0/8"}) | environment_of_rules
        command = [FLEETWATCH, "alerting", "--store", "remote", *words]
        super().__init__("alerting", command, folder, environment=settings)


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
        texts = [text for name, value in values.items() for text in _option(name, value)]
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


def _option(name: str, value: object) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag] if value else []
    return [flag, str(value)]


@contextlib.contextmanager
def remote(collector: str) -> Iterator[RemoteStore]:
    """The store of a running collector."""
    store = RemoteStore(collector, remote_options(RemoteSettings(collector=collector)))
    try:
        yield store
    finally:
        store.close()


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
