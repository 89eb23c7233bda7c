"""What the agent costs: `python -m tests.benchmarks.bench_agent [seconds]`.

The real process sends to a real gRPC server, with 300 sleeping processes on the host: rows of 1 s gathered for 10 s,
rows of 1 s sent one by one, the default of 10 s, and without the pass over processes. CPU time is the scheduler's own
count of nanoseconds over all threads, RSS the kernel's, bytes those of the Batch messages. node_exporter runs beside it
where it is installed, scraped once a second. Last, what a reading costs in a tight loop, which a busy machine disturbs
least: there the caches are warm, so it is the lower bound of the above.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fleetwatch_agent import agent as wiring
from fleetwatch_agent import vitals as health
from fleetwatch_agent.clocks import host_clocks
from fleetwatch_agent.readers import Named
from fleetwatch_agent.readers.source import Files
from fleetwatch_agent.settings import AgentSettings
from fleetwatch_agent.spool import Figures
from fleetwatch_agent.vitals import Vitals
from fleetwatch_proto.v1 import ingest_pb2 as pb

from tests.support.agent_collector import FakeCollector
from tests.support.conditions import wait_until

PROCESSES = 300
WARM_UP_S = 4.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What one way of running costs; `ms` of processor time per sample."""

    name: str
    ms: float
    rss_mb: float
    private_mb: float
    points: int
    bytes_per_point: float
    target: str


@contextmanager
def crowd() -> Iterator[None]:
    """300 processes that sleep."""
    sleeping = [subprocess.Popen(["sleep", "100000"]) for _ in range(PROCESSES)]
    try:
        yield
    finally:
        for one in sleeping:
            one.kill()
        for one in sleeping:
            one.wait()


def cpu_ms(pid: int) -> float:
    """Processor time of all threads of a process."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e6


def memory_mb(pid: int) -> tuple[float, float]:
    """Resident and private memory."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:] if line.endswith("kB")}
    return sizes["Rss"] / 1024, (sizes["Private_Dirty"] + sizes["Private_Clean"]) / 1024


def measure(name: str, target: str, seconds: float, *arguments: str, watch: bool = False, config: str = "") -> Cost:
    """Runs one agent for a while; batches that the window cuts count by what they hold."""
    collector, folder = FakeCollector(), Path(tempfile.mkdtemp(prefix="fleetwatch-bench-"))
    (folder / "agent.toml").write_text(config)
    command = [sys.executable, "-m", "fleetwatch_agent", "run", "--collector", collector.address]
    command += ["--state-dir", str(folder / "state"), "--config", str(folder / "agent.toml"), "--log-level", "warning"]
    process = subprocess.Popen([*command, *arguments])
    try:
        wait_until(lambda: collector.stored)
        if watch:
            collector.last.say(set_interval=pb.SetInterval(interval_ms=1000, ship_each_row=True, for_s=3600))
        time.sleep(WARM_UP_S)
        before_ms, before = cpu_ms(process.pid), len(collector.stored)
        time.sleep(seconds)
        spent_ms, (rss, private) = cpu_ms(process.pid) - before_ms, memory_mb(process.pid)
        taken = list(collector.stored.values())[before:]
    finally:
        process.terminate()
        process.wait()
        collector.stop()
        shutil.rmtree(folder)
    interval_s = 10.0 if not watch and "1s" not in arguments else 1.0
    width = len(next(iter(collector.stored.values()))[1][0])
    points = sum(width * len(rows) for _, rows in taken)
    # Process tables are names, not points; what they weigh is told apart below.
    weight = sum(batch.ByteSize() - batch.processes.ByteSize() for batch, _ in taken)
    per_point = weight / points if points else float("nan")
    return Cost(name, spent_ms / (seconds / interval_s), rss, private, width, per_point, target)


def node_exporter(seconds: float) -> Cost | None:
    """The peer, where it is installed."""
    program = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")
    if program is None:
        return None
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen([program, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}/metrics"
        wait_until(lambda: _answers(url))
        for _ in range(3):
            page = _scrape(url)
        before_ms = cpu_ms(process.pid)
        for _ in range(int(seconds)):
            page = _scrape(url)
            time.sleep(1.0)
        spent_ms, (rss, private) = cpu_ms(process.pid) - before_ms, memory_mb(process.pid)
    finally:
        process.terminate()
        process.wait()
    points = sum(1 for line in page.splitlines() if not line.startswith(b"#"))
    return Cost(
        "node_exporter, one scrape a second", spent_ms / int(seconds), rss, private, points, len(page) / points, ""
    )


def _scrape(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return bytes(answer.read())


def _answers(url: str) -> bool:
    try:
        return bool(_scrape(url))
    except OSError:
        return False


def tight(rounds: int = 300) -> list[tuple[str, float]]:
    """Microseconds of processor time per reading, caches warm."""
    files, clocks, vitals = Files(), host_clocks(), Vitals()
    readers = wiring.machine_readers(AgentSettings(), files, clocks)
    readers.append(Named("agent", health.make(vitals, files, lambda: Figures("", 1, 0, 0, 0, True)), slow=False))
    found = []
    for one in readers:
        count = rounds // 10 if one.slow else rounds
        one.read()
        start = time.process_time_ns()
        for _ in range(count):
            files.next_tick()
            one.read()
        found.append((one.name, (time.process_time_ns() - start) / count / 1000))
    return found


def main() -> None:
    """Prints the table."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    quiet = 'readers_off = ["processes"]\n'
    with crowd():
        costs = [
            measure("1 s, rows gathered for 10 s", "<= 1 ms, <= 1.6 B", seconds, "--interval", "1s"),
            measure("1 s, without processes", "", seconds, "--interval", "1s", config=quiet),
            measure("1 s, every row at once", "<= 3 ms, <= 3 B", seconds, watch=True),
            measure("1 s, every row, without processes", "", seconds, watch=True, config=quiet),
            measure("10 s, the default", "", max(seconds, 30.0)),
        ]
        peer = node_exporter(seconds)
        loop = tight()
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    sys.stdout.write(f"{PROCESSES} more processes, {os.cpu_count()} processors, load {load}, {seconds:.0f} s each\n\n")
    header = f"{'':<36} {'ms/sample':>9} {'RSS MB':>7} {'private':>7} {'points':>6} {'B/point':>7}  target\n"
    sys.stdout.write(header)
    for one in [*costs, *([peer] if peer else [])]:
        numbers = (
            f"{one.ms:>9.2f} {one.rss_mb:>7.1f} {one.private_mb:>7.1f} {one.points:>6} {one.bytes_per_point:>7.2f}"
        )
        sys.stdout.write(f"{one.name:<36} {numbers}  {one.target}\n")
    sys.stdout.write("\nreader, warm: microseconds per reading\n")
    sys.stdout.write("".join(f"  {name:<12} {us:>8.1f}\n" for name, us in loop))


if __name__ == "__main__":
    main()
