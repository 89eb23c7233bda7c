"""The collector as a process under simulated agents: points per CPU-second to durable, agents held, reconnecting.

Every figure is CPU time of the collector's process over points that were acknowledged, hence durable, in the same span.
"""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.benchmarks.load import LoadProcesses, Moment, summary
from tests.support.conditions import wait_until_async
from tests.support.parts import Collector
from tests.support.processes import Usage

REPORT = Path(__file__).resolve().parents[2] / "reports" / "end_to_end.md"
HEADINGS = (
    "agents", "interval", "rows", "points/s", "collector CPU", "points per CPU-second", "RSS",
    "ack p50", "ack p99", "bytes/point",
)  # fmt: skip


CONNECTED_S = 180.0
"""Ten thousand connections take this long at most, also where the machine is busy with other things."""


@dataclass(frozen=True, slots=True)
class Load:
    """One line of the table; measured for `seconds` after all agents have been connected for `settle_s`."""

    agents: int
    interval_s: float
    rows: int
    seconds: float = 30.0
    settle_s: float = 15.0

    def arguments(self, collector: Collector) -> list[str]:
        """For `tests.benchmarks.load`."""
        values = {
            "target": collector.address,
            "agents": self.agents,
            "interval": self.interval_s,
            "rows": self.rows,
            "seconds": 3600,
            "connect-over": self.agents / 1000,
        }
        return [text for name, value in values.items() for text in (f"--{name}", str(value))]


@dataclass(frozen=True, slots=True)
class Measured:
    """Between the end of settling and the end of the run."""

    load: Load
    wall_s: float
    points: int
    cpu_s: float
    end: Usage
    last: Moment

    @property
    def points_per_cpu_s(self) -> float:
        """Durable points per second of the collector's processor time."""
        return self.points / self.cpu_s

    @property
    def cpu_share(self) -> float:
        """Of one core."""
        return self.cpu_s / self.wall_s

    def row(self) -> list[str]:
        """For the table."""
        tally = self.last.tally
        return [
            f"{self.load.agents:,}",
            f"{self.load.interval_s:g} s",
            str(self.load.rows),
            f"{self.points / self.wall_s:,.0f}",
            f"{100 * self.cpu_share:.1f} %",
            f"{self.points_per_cpu_s:,.0f}",
            f"{self.end.rss_bytes / 1e6:,.0f} MB",
            f"{1000 * tally.ack_percentile_s(0.5):,.0f} ms",
            f"{1000 * tally.ack_percentile_s(0.99):,.0f} ms",
            f"{tally.bytes_sent / max(1, tally.points_sent):.2f}",
        ]


async def measure(collector: Collector, load: Load) -> Measured:
    """Runs one load to its end."""
    processes = LoadProcesses(load.arguments(collector))
    await processes.start()
    try:
        await all_connected(processes, load)
        await asyncio.sleep(load.settle_s)
        processes.signal(signal.SIGUSR1)
        before, points, started = collector.usage(), processes.now().tally.points_acked, time.monotonic()
        await asyncio.sleep(load.seconds)
        after, wall_s, moment = collector.usage(), time.monotonic() - started, processes.now()
        processes.signal(signal.SIGTERM)
        await processes.finished()
    finally:
        processes.kill()
    taken = moment.tally.points_acked - points
    return Measured(load, wall_s, taken, after.cpu_s - before.cpu_s, after, processes.now())


async def all_connected(processes: LoadProcesses, load: Load) -> None:
    """Waits until the collector has welcomed every agent on the call it has open."""
    await wait_until_async(
        lambda: processes.now().connected == load.agents, within_s=CONNECTED_S, every_s=0.5, what="all agents connected"
    )


def table(measured: list[Measured]) -> str:
    """Markdown."""
    rows = [HEADINGS, *(one.row() for one in measured)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(HEADINGS))]
    lines = [" | ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
    rule = "-|-".join("-" * width for width in widths)
    return "\n".join(f"| {line} |" for line in [lines[0], rule, *lines[1:]])


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_points_per_cpu_second_at_100_1000_and_10000_agents(tmp_path: Path) -> None:
    loads = [Load(100, 1.0, 10), Load(1000, 10.0, 1), Load(1000, 1.0, 10), Load(10_000, 10.0, 1), Load(10_000, 1.0, 10)]
    measured = []

    for place, load in enumerate(loads):
        with Collector(tmp_path / str(place)) as collector:
            measured.append(await measure(collector, load))

    report = table(measured)
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(report + "\n")
    print(f"\n{report}")
    at = {(one.load.agents, one.load.rows): one for one in measured}
    assert at[1000, 10].points_per_cpu_s >= 500_000
    assert at[10_000, 1].end.rss_bytes <= 600e6
    assert all(one.last.connected == one.load.agents for one in measured)


@pytest.mark.long
@pytest.mark.timeout(1200)
async def test_ten_thousand_agents_come_back_after_a_restart(tmp_path: Path) -> None:
    load = Load(10_000, 10.0, 1)

    with Collector(tmp_path) as collector:
        processes = LoadProcesses(load.arguments(collector))
        await processes.start()
        try:
            await all_connected(processes, load)
            welcomes = processes.now().tally.welcomes
            await asyncio.to_thread(collector.restart)
            restarted = time.monotonic()
            await wait_until_async(
                lambda: processes.now().tally.welcomes >= welcomes + load.agents, within_s=CONNECTED_S, what="all back"
            )
            await all_connected(processes, load)
            back_s, cpu_s = time.monotonic() - restarted, collector.usage().cpu_s
            await wait_until_async(lambda: processes.now().unacked < 1000, within_s=120, what="the backlog gone")
            figures = summary(processes.now(), load.agents, processes.now().at_s)
        finally:
            processes.kill()

    print(f"\n10,000 agents connected again after {back_s:.1f} s, {cpu_s:.1f} s of the collector's processor time")
    print(f"why calls ended: {figures['closed']}")
    assert figures["batches_refused"] == 0
