"""The parts as processes of their own, with a token: collector, alerting, dashboard and an agent on one machine."""

from __future__ import annotations

import json
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.conditions import wait_until
from tests.support.processes import Process, free_port
from tests.support.up import FLEETWATCH, fleetwatch

HOST = socket.gethostname()


@dataclass(frozen=True)
class Parts:
    """The processes and where they are reached."""

    collector: Process
    others: tuple[Process, ...]
    grpc: str
    http: int
    machine: int
    token: Path

    def ask(self, *words: str) -> str:
        """What a command of this fleet prints."""
        done = fleetwatch(*words, "--collector", self.grpc, "--token-file", str(self.token))
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    folder = tmp_path_factory.mktemp("apart")
    token = folder / "token"
    token.write_text("a shared secret\n")
    token.chmod(0o600)
    grpc, http, machine = free_port(), free_port(), free_port()
    data, address = ("--data-dir", str(folder / "data")), f"127.0.0.1:{grpc}"
    reach = ("--collector", address, "--collector-token-file", str(token))

    def part(name: str, *options: str, ready: str) -> Process:
        found = Process(name, [FLEETWATCH, *options], folder, ready=lambda: ready in found.log, ready_within_s=60.0)
        return found

    collector = part(
        "collector", "collector", *data, "--grpc", address, "--token-file", str(token),
        "--machine-http", f"127.0.0.1:{machine}", ready="takes agents",
    )  # fmt: skip
    others = (
        part("alerting", "alerting", *data, *reach, ready="the alert manager evaluates"),
        part("dashboard", "dashboard", *data, *reach, "--http", f"127.0.0.1:{http}", ready="the page is at"),
        part(
            "agent", "agent", "run", "--collector", address, "--token-file", str(token),
            "--state-dir", str(folder / "agent"), "--interval", "1s", ready="connected",
        ),
    )  # fmt: skip
    try:
        collector.start()
        for one in others:
            one.start()
        yield Parts(collector, others, address, http, machine, token)
    finally:
        for one in (*others, collector):
            one.close()


def answer(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_dashboard_shows_what_the_agent_sent_through_the_collector(parts: Parts) -> None:
    def latest() -> dict[str, float]:
        hosts = json.loads(answer(parts.http, "/api/v1/hosts")[1])["hosts"]
        return dict(hosts[0]["latest"]) if hosts else {}

    values = wait_until(latest, within_s=30, every_s=0.2, what="values of the host")

    assert "cpu.usage_active" in values
    assert answer(parts.http, "/readyz")[0] == 200


def test_a_part_without_pages_has_endpoints_for_machines(parts: Parts) -> None:
    assert answer(parts.machine, "/healthz") == (200, "ok\n")
    assert answer(parts.machine, "/readyz") == (200, "ready\n")
    assert "fleetwatch_collector_agents 1.0" in answer(parts.machine, "/metrics")[1]


def test_every_part_stores_its_own_measurements(parts: Parts) -> None:
    for metric in ("fleetwatch_collector.agents", "fleetwatch_store.writable", "fleetwatch_alerting.rules"):
        rows = wait_until(
            lambda metric=metric: parts.ask("query", metric, "--step", "raw", "--format", "csv").splitlines()[1:],
            within_s=40, every_s=0.5, what=metric,
        )  # fmt: skip
        assert rows[0].split(",")[1] == HOST


def test_a_wrong_token_is_said_in_words(parts: Parts, tmp_path: Path) -> None:
    wrong = tmp_path / "token"
    wrong.write_text("another secret\n")
    wrong.chmod(0o600)

    done = fleetwatch("hosts", "--collector", parts.grpc, "--token-file", str(wrong))

    assert done.returncode == 1
    assert "token" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_part_stops_cleanly_on_a_signal(parts: Parts) -> None:
    codes = {one.name: one.stop() for one in (*reversed(parts.others), parts.collector)}

    assert codes == {"agent": 0, "dashboard": 0, "alerting": 0, "collector": 0}
    assert signal.SIGTERM.name in parts.collector.log
    assert not any("Traceback" in one.log for one in (*parts.others, parts.collector))
