"""The collector as a process under simulated agents: points per CPU-second to durable, agents held, reconnecting.

Every figure is CPU time of the collector's process over points that were acknowledged, hence durable, in the same span.
"""

from __future__ import annotations

import asyncio
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


@dataclass(frozen=True, slots=True)
class Load:
    """One line of the table."""

    agents: int
    interval_s: float
    rows: int
    seconds: float = 40.0
    settle_s: float = 15.0

    def arguments(self, collector: Collector) -> list[str]:
        """For `tests.benchmarks.load`."""
        values = {
            "target": collector.address,
            "agents": self.agents,
            "interval": self.interval_s,
            "rows": self.rows,
            "seconds": self.seconds,
            "connect-over": min(self.settle_s, self.agents / 1000),
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
        await wait_until_async(
            lambda: processes.now().connected == load.agents,
            within_s=load.seconds / 2 + 20,
            what="all agents connected",
        )
        await asyncio.sleep(load.settle_s)
        before, points, started = collector.usage(), processes.now().tally.points_acked, time.monotonic()
        await wait_until_async(lambda: time.monotonic() - started > load.seconds - load.settle_s - 5, within_s=3600)
        after, wall_s, moment = collector.usage(), time.monotonic() - started, processes.now()
        await processes.finished()
    finally:
        processes.kill()
    taken = moment.tally.points_acked - points
    return Measured(load, wall_s, taken, after.cpu_s - before.cpu_s, after, processes.now())


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
@pytest.mark.timeout(600)
async def test_ten_thousand_agents_come_back_after_a_restart(tmp_path: Path) -> None:
    load = Load(10_000, 10.0, 1, seconds=120.0)

    with Collector(tmp_path) as collector:
        processes = LoadProcesses(load.arguments(collector))
        await processes.start()
        try:
            await wait_until_async(lambda: processes.now().connected == 10_000, within_s=60, what="all connected")
            acked = processes.now().tally.points_acked
            await asyncio.to_thread(collector.restart)
            restarted = time.monotonic()
            await wait_until_async(lambda: processes.now().connected < 10_000, within_s=20, what="some were away")
            await wait_until_async(lambda: processes.now().connected == 10_000, within_s=60, what="all back")
            back_s = time.monotonic() - restarted
            await wait_until_async(lambda: processes.now().unacked < 1000, within_s=60, what="the backlog gone")
            figures = summary(processes.now(), load.agents, processes.now().at_s)
        finally:
            processes.kill()

    print(f"\n10,000 agents connected again {back_s:.1f} s after the collector was back: {figures['closed']}")
    assert figures["points_acked"] > acked
    assert figures["batches_refused"] == 0
