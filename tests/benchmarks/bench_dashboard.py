"""What the pages cost: server time and bytes at 100 and 1,000 hosts over the embedded store, drawing in a real browser.

    python -m tests.benchmarks.bench_dashboard [hosts ...]

Targets: fleet page at 1,000 hosts < 300 ms and host page over 24 h < 200 ms of server time, < 150 KB transferred,
15 charts of 600 points drawn in < 150 ms. Server time is the processor time of the whole process (the median of five),
so that a busy machine does not count; the wall time stands beside it. Drawing is wall time: run it on a quiet machine.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from fastapi import FastAPI
from fleetwatch_dashboard.app import create_app
from fleetwatch_dashboard.settings import DashboardSettings
from fleetwatch_storage.embedded.settings import EmbeddedSettings
from fleetwatch_storage.embedded.store import EmbeddedStore
from fleetwatch_storage.metadata.database import open_database, sqlite_url
from fleetwatch_storage.metadata.hosts import HostDirectory
from playwright.sync_api import sync_playwright

from tests.support import fleet
from tests.support.browser import Served, browser

HOUR_MS = 3_600_000
CHUNK = 50
DRAW = """async ([charts, points, kind]) => {
  const { Chart } = await import(document.querySelector('script[type=module]').src.replace(/\\w+\\.js$/, 'chart.js'));
  const t = Array.from({ length: points }, (_, i) => 1.7e9 + i * 10), names = ['blue', 'orange', 'red'];
  const page = { from: t[0], to: t.at(-1), lock: 0, zoom() {}, back() {}, pin() {} };
  const grid = document.querySelector('#cards'), made = [];
  for (let n = 0; n < charts; n += 1) {
    const card = grid.appendChild(Object.assign(document.createElement('section'), { className: 'card w6' }));
    for (const [tag, name] of [['ul', 'legend'], ['div', 'chart']]) {
      card.append(Object.assign(document.createElement(tag), { className: name }));
    }
    const wave = (k) => t.map((_, i) => 8 + 5 * Math.sin(i / 20 + k + n));
    const series = names.map((color, k) => ({ name: color, color, data: wave(k) }));
    const none = { bands: [], gaps: [], thresholds: [], events: [] };
    made.push(new Chart(card, { t, series, kind, unit: 'percent', page, words: false, gap: 60, ...none }));
    made.at(-1).visible = true;
  }
  const began = performance.now();
  made.forEach((chart) => chart.draw(true));
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const first = performance.now() - began, again = performance.now();
  made.forEach((chart) => chart.draw());
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return [first, performance.now() - again];
}"""


@dataclass(frozen=True)
class Cost:
    """One page or call: processor and wall milliseconds (medians), bytes as sent."""

    what: str
    cpu_ms: float
    wall_ms: float
    sent: int

    def __str__(self) -> str:
        return (
            f"  {self.what:<46} {self.cpu_ms:8.1f} ms cpu {self.wall_ms:8.1f} ms wall {self.sent / 1000:8.1f} KB sent"
        )


@contextmanager
def filled(hosts: int, folder: Path, now_ms: int) -> Iterator[FastAPI]:
    """An app over a store with an hour of so many hosts, a day of the first one, sealed where it is due."""
    made = fleet.made_hosts(hosts)
    database = open_database(sqlite_url(folder))
    directory = HostDirectory(database)
    for host in made:
        directory.put(fleet.known(host, now_ms))
    directory.flush()
    fleet.incidents(database, directory, now_ms)
    settings = EmbeddedSettings(store_maintenance_s=0)
    with closing(EmbeddedStore(folder / "data", directory, settings)) as store:
        for hour in range(23, 0, -1):
            store.write(fleet.samples(made[:1], now_ms - hour * HOUR_MS))
        for start in range(0, hosts, CHUNK):
            store.write(fleet.samples(made[start : start + CHUNK], now_ms, HOUR_MS if hosts <= 1000 else HOUR_MS // 6))
        store.maintenance.run(now_ms)
        yield create_app(DashboardSettings(), store, fleet.FakeLive(), database, now_ms=lambda: now_ms)
    database.dispose()


async def measured(app: FastAPI, what: str, addresses: list[str], repeat: int = 5) -> Cost:
    """The cost of asking for all of these, one after the other."""
    headers = {"accept": "text/html", "accept-encoding": "gzip"}
    cpu, wall, sent = [], [], 0
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://127.0.0.1", headers=headers
    ) as client:
        for number in range(repeat + 1):
            before, began, sent = time.process_time(), time.perf_counter(), 0
            for address in addresses:
                async with client.stream("GET", address) as answer:
                    assert answer.status_code == 200, address
                    sent += sum([len(part) async for part in answer.aiter_raw()])
            if number:  # the first one fills caches of templates and files
                cpu.append((time.process_time() - before) * 1000)
                wall.append((time.perf_counter() - began) * 1000)
    return Cost(what, statistics.median(cpu), statistics.median(wall), sent)


def in_browser(app: FastAPI, folder: Path) -> Iterator[str]:
    """What the browser loads for a host page over 24 h, and how long it draws."""
    served = Served(app)
    try:
        with sync_playwright() as playwright, browser(playwright, folder / "profile") as context:
            page = context.new_page()
            network, sizes = context.new_cdp_session(page), []
            network.send("Network.enable")
            network.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
            page.set_viewport_size({"width": 1440, "height": 2200})
            page.goto(f"{served.url}/hosts/web-3?range=24h")
            page.wait_for_function("document.querySelectorAll('.chart canvas').length >= 6")
            page.wait_for_load_state("networkidle")
            yield f"  host page 24 h, everything loaded: {sum(sizes) / 1000:.1f} KB in {len(sizes)} answers"
            for kind in ("lines", "stack"):
                first, again = map(
                    statistics.median, zip(*(page.evaluate(DRAW, [15, 600, kind]) for _ in range(3)), strict=True)
                )
                yield f"  15 charts x 600 points x 3 series, {kind}: {first:.0f} ms first, {again:.0f} ms redrawn"
    finally:
        served.close()


def calls(page: str, span: str) -> list[str]:
    """The series a host page asks for, as its script does."""
    metrics = {
        "cpu": "usage_user usage_system usage_iowait usage_irq usage_softirq usage_steal usage_nice usage_active",
        "mem": "used buffered cached",
        "pressure": "avg10",
        "system": "load1 load5 load15",
        "diskio": "read_bytes write_bytes",
        "net": "bytes_recv bytes_sent",
        "temp": "temp",
    }
    tags = {
        "cpu": "tag.cpu=cpu-total",
        "pressure": "tag.type=some",
        "diskio": "tag.name=nvme0n1",
        "net": "tag.interface=eth0",
    }
    return [
        f"/api/v1/series?host={page}&from=-{span}&points=600&stats=avg,max&{tags.get(name, '')}&"
        + "&".join(f"metric={name}.{field}" for field in fields.split())
        for name, fields in metrics.items()
    ]


async def server(app: FastAPI) -> list[Cost]:
    """The costs of pages and calls."""
    return [
        await measured(app, "fleet page", ["/"]),
        await measured(app, "fleet page, sorted and filtered", ["/?sort=cpu&q=tag:prod"]),
        await measured(app, "host page 1 h", ["/hosts/web-3"]),
        await measured(app, "host page 24 h", ["/hosts/web-3?range=24h"]),
        await measured(app, "series of all its charts, 1 h (7 calls)", calls("web-3", "1h")),
        await measured(app, "series of all its charts, 24 h (7 calls)", calls("web-3", "24h")),
        await measured(app, "GET /api/v1/hosts", ["/api/v1/hosts"]),
    ]


def main() -> None:
    for hosts in [int(text) for text in sys.argv[1:] if re.fullmatch(r"\d+", text)] or [100, 1000]:
        now_ms = fleet.now_ms()
        with tempfile.TemporaryDirectory() as folder, filled(hosts, Path(folder), now_ms) as app:
            print(f"{hosts} hosts, 1 h at 10 s, embedded store")
            for cost in asyncio.run(server(app)):
                print(cost, flush=True)
            if hosts <= 100:
                for line in in_browser(app, Path(folder)):
                    print(line, flush=True)


if __name__ == "__main__":
    main()
