"""The straight line of a sample with every part a process of its own: agent, collector, dashboard."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.conditions import wait_until
from tests.support.parts import Agent, Collector, Dashboard, remote
from tests.support.up import fleetwatch


@dataclass(frozen=True)
class Line:
    """Both ends of a line on which samples of this machine flow every second."""

    collector: Collector
    dashboard: Dashboard

    def host(self) -> dict[str, Any]:
        found: dict[str, Any] = self.dashboard.get("/api/v1/hosts/line-1")
        return found

    def series(self, metric: str, **parameters: str) -> dict[str, Any]:
        where = {"host": "line-1", "metric": metric, "from": "-2m", "stats": "avg"}
        found: dict[str, Any] = self.dashboard.get("/api/v1/series", **where, **parameters)
        return found


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("line")
    with (
        Collector(folder) as collector,
        Dashboard(folder, collector.address) as dashboard,
        Agent(collector.address, folder, "--tag", "env=test"),
    ):
        yield Line(collector, dashboard)


def values(series: dict[str, Any]) -> list[float]:
    return [value for one in series["series"] for value in one["avg"] if value is not None]


def test_a_sample_of_this_host_comes_out_as_a_series(line: Line) -> None:
    found = wait_until(lambda: values(line.series("system.n_cpus")), within_s=30, every_s=0.3, what="a series")

    assert set(found) == {float(os.cpu_count() or 0)}


def test_a_counter_comes_out_as_a_rate(line: Line) -> None:
    def rates() -> list[float]:
        return values(line.series("kernel.context_switches"))

    wait_until(lambda: len(rates()) > 1, within_s=30, every_s=0.3, what="rates")

    assert all(0 <= rate < 1e8 for rate in rates())


def test_the_host_has_its_tags_and_is_complete(line: Line) -> None:
    host = wait_until(
        lambda: (found := line.host())["batches"]["received"] >= 2 and found, within_s=60, what="batches counted"
    )

    assert host["tags"]["env"] == "test"
    assert host["connected"]
    assert host["completeness"] == 1.0
    assert host["batches"]["lost"] == host["batches"]["duplicates"] == 0


def test_everything_one_sample_holds_is_in_the_store(line: Line) -> None:
    printed = fleetwatch("agent", "once", "--format", "line").stdout.splitlines()
    wanted = {text.partition(" ")[0].partition(",")[0] for text in printed}

    with remote(line.collector.address) as store:

        def stored() -> set[str]:
            return {one.measurement for one in store.series() if one.host == "line-1"}

        assert wanted >= {"cpu", "mem", "disk", "net", "system", "processes", "kernel"}
        wait_until(lambda: wanted <= stored(), within_s=60, every_s=0.3, what=f"{sorted(wanted)} stored")
