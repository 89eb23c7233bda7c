"""The agent as a process: start, stop, kill, a second one beside it, and what it really opens."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fleetwatch_proto.v1 import ingest_pb2 as pb

from tests.support.agent_collector import FakeCollector
from tests.support.conditions import wait_until


class Agent:
    """A running agent process."""

    def __init__(self, state: Path, *arguments: str) -> None:
        self.state = state
        command = [sys.executable, "-m", "fleetwatch_agent", "run", "--state-dir", str(state), *arguments]
        self.log = state.parent / "agent.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(12)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def collector() -> Iterator[FakeCollector]:
    made = FakeCollector()
    yield made
    made.stop()


@pytest.fixture
def agents() -> Iterator[list[Agent]]:
    started: list[Agent] = []
    yield started
    for one in started:
        one.kill()


def batches(collector: FakeCollector) -> list[pb.Batch]:
    return [batch for stream in collector.streams for batch in stream.of("batch")]


def test_the_first_sample_arrives_soon_and_sigterm_says_goodbye(
    tmp_path: Path, collector: FakeCollector, agents: list[Agent]
) -> None:
    started = time.monotonic()
    agents.append(Agent(tmp_path / "state", "--collector", collector.address, "--host", "web-1", "--tag", "env=test"))
    wait_until(lambda: batches(collector))
    first_s = time.monotonic() - started

    stopped = time.monotonic()
    status = agents[0].stop()

    assert first_s < 6, "a second of measuring, and the start of Python on a busy machine"
    assert status == 0
    assert time.monotonic() - stopped < 10
    wait_until(lambda: collector.last.of("goodbye"))
    assert collector.last.of("goodbye")[0].reason == pb.Goodbye.STOP
    assert collector.last.metadata["fleetwatch-host"] == "web-1"
    assert "event=connected" in agents[0].log.read_text()


def test_the_first_sample_has_rates_and_processes(
    tmp_path: Path, collector: FakeCollector, agents: list[Agent]
) -> None:
    agents.append(Agent(tmp_path / "state", "--collector", collector.address))
    wait_until(lambda: collector.stored)

    batch, (row,) = next(iter(collector.stored.values()))
    schema = collector.last.of("schema")[0]
    named = [(one.measurement, name) for one in schema.series for name in one.fields]
    values = dict(zip(named, row, strict=True))

    assert values["cpu", "usage_idle"] >= 0
    assert values["diskio", "io_util"] >= 0 if ("diskio", "io_util") in values else True
    assert len(batch.processes.pid) > 0


def test_kills_lose_no_batch_and_no_number_is_used_twice(
    tmp_path: Path, collector: FakeCollector, agents: list[Agent]
) -> None:
    seen: dict[tuple[str, int], bytes] = {}
    for _ in range(4):
        agent = Agent(tmp_path / "state", "--collector", collector.address, "--interval", "1s")
        agents.append(agent)
        before = len(collector.stored)
        wait_until(lambda before=before: len(collector.stored) > before)  # type: ignore[misc]
        agent.kill()
        for stream in collector.streams:
            spool = stream.of("hello")[0].spool_id
            for batch in stream.of("batch"):
                key = spool, batch.seq
                content = batch.crc32.to_bytes(4, "little") + batch.t0_ms.to_bytes(8, "little")
                assert seen.setdefault(key, content) == content

    seqs = sorted(collector.seqs())
    assert len({spool for spool, _ in seen}) == 1
    assert seqs == list(range(1, len(seqs) + 1))


def test_samples_of_an_outage_arrive_afterwards(tmp_path: Path, agents: list[Agent]) -> None:
    first = FakeCollector()
    port = first.port
    agents.append(Agent(tmp_path / "state", "--collector", first.address, "--interval", "1s"))
    wait_until(lambda: first.stored)
    before = first.seqs()
    first.stop()
    time.sleep(2.5)  # the outage itself has to last

    second = FakeCollector(port)
    wait_until(lambda: second.stored, within_s=30)
    agents[0].stop()
    wait_until(lambda: second.last.of("goodbye"))
    rows = sorted(
        batch.t0_ms + offset
        for one in (first, second)
        for batch, _ in one.stored.values()
        for offset in batch.offset_ms
    )
    second.stop()

    gaps = [two - one for one, two in pairwise(rows)]
    assert before
    assert max(gaps) < 2500, "no sample is missing"


def test_a_watched_host_sends_every_row_at_once(tmp_path: Path, collector: FakeCollector, agents: list[Agent]) -> None:
    agents.append(Agent(tmp_path / "state", "--collector", collector.address))
    wait_until(lambda: batches(collector))
    collector.last.say(set_interval=pb.SetInterval(interval_ms=1000, ship_each_row=True, for_s=30))

    wait_until(lambda: len(batches(collector)) >= 4, within_s=8)

    assert all(len(batch.offset_ms) == 1 for batch in batches(collector))


def test_a_second_agent_on_the_same_state_is_refused_with_2(
    tmp_path: Path, collector: FakeCollector, agents: list[Agent]
) -> None:
    agents.append(Agent(tmp_path / "state", "--collector", collector.address))
    wait_until(lambda: collector.streams)

    second = Agent(tmp_path / "state", "--collector", collector.address)

    assert second.process.wait(10) == 2
    assert "another agent is running" in second.log.read_text()


def test_a_newer_spool_is_refused_with_2_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    db = sqlite3.connect(tmp_path / "state" / "spool.db")
    db.execute("PRAGMA user_version = 9")
    db.close()
    content = (tmp_path / "state" / "spool.db").read_bytes()

    agent = Agent(tmp_path / "state", "--collector", "127.0.0.1:1")

    assert agent.process.wait(10) == 2
    assert "newer agent" in agent.log.read_text()
    assert (tmp_path / "state" / "spool.db").read_bytes() == content


WATCHED = """
import json, sys, threading, time
opened, ran = set(), []
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        opened.add(arguments[0] if isinstance(arguments[0], str) else arguments[0].decode())
    elif event == "os.scandir" or event == "os.listdir":
        opened.add(str(arguments[0]))
    elif event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pty.spawn"):
        ran.append(event)
    elif event == "socket.bind":
        ran.append(event + repr(arguments[1]))
import fleetwatch_agent.agent, fleetwatch_agent.sender, fleetwatch_proto.catalog, encodings.idna
from fleetwatch_agent.settings import AgentSettings
from pathlib import Path
sys.addaudithook(hook)
settings = AgentSettings(collector=(sys.argv[1],), state_dir=Path(sys.argv[2]), interval=1.0)
from fleetwatch_agent import agent, sampler
run = sampler.Sampler.run
def stopping(self):
    threading.Timer(4, self.stop).start()
    run(self)
sampler.Sampler.run = stopping
agent.run(settings)
print(json.dumps([sorted(opened), ran]))
"""


def test_the_agent_opens_what_explain_says_runs_no_command_and_listens_nowhere(
    tmp_path: Path, collector: FakeCollector
) -> None:
    command = [sys.executable, "-c", WATCHED, collector.address, str(tmp_path / "state")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    opened, ran = json.loads(done.stdout.splitlines()[-1])
    explained = subprocess.run(
        [sys.executable, "-m", "fleetwatch_agent", "explain"], capture_output=True, text=True, check=True
    ).stdout

    unexplained = [path for path in opened if not _explained(path, explained, tmp_path)]

    assert any(path.startswith("/proc/") for path in opened), "the hook sees files"
    assert ran == []
    assert unexplained == []


def _explained(path: str, explained: str, state: Path) -> bool:
    """Whether a path is named in the text, its numbers written as <pid> or *."""
    if path.startswith((str(state), *sys.path[1:])) or path == "/dev/null":
        return True
    forms: list[Any] = [path, re.sub(r"^/proc/\d+", "/proc/<pid>", path), re.sub(r"\d+", "*", path)]
    parent = os.path.dirname(path)
    forms += [re.sub(r"/[^/]+/(flags|speed)$", "/*/flags", path), parent if parent.count("/") > 2 else path]
    if path.startswith("/sys/fs/cgroup"):
        return "/sys/fs/cgroup" in explained
    if path.startswith(("/sys/class/hwmon", "/sys/class/thermal", "/sys/class/power_supply", "/sys/class/drm")):
        return "/".join(path.split("/")[:4]) in explained
    return any(form.rstrip("/") in explained for form in forms)
