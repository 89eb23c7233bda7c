"""A real browser against a real server: the dashboard in a thread, the system's Chromium driven by Playwright."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fleetwatch_dashboard.server import DashboardServer
from fleetwatch_dashboard.settings import DashboardSettings
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Playwright

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
WIDE, PHONE = (1440, 900), (390, 844)


class Served:
    """The app on a free loopback port, on an event loop of its own thread."""

    def __init__(self, app: FastAPI) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self._server = DashboardServer(app, DashboardSettings(http="127.0.0.1:0"))
        self._run(self._server.start())
        self.url = f"http://127.0.0.1:{self._server.port}"

    def call(self, what: Callable[[], None]) -> None:
        """Runs something on the server's event loop."""

        async def run() -> None:
            what()

        self._run(run())

    def close(self) -> None:
        self._run(self._server.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self.loop).result(20)


@dataclass
class Complaints:
    """What a page complained about: script errors, console errors, refused loads, violations of the policy."""

    found: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.found.append(f"script error: {error}"))
        page.on("console", self._console)
        page.on(
            "response",
            lambda answer: self.found.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None,
        )

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.found.append(f"{message.type}: {message.text}")


@contextmanager
def browser(
    playwright: Playwright, profile: Path, size: tuple[int, int] = WIDE, **options: Any
) -> Iterator[BrowserContext]:
    """Chromium with a fresh profile."""
    scale = 2 if size == PHONE else 1
    context = playwright.chromium.launch_persistent_context(
        str(profile), executable_path=CHROMIUM, headless=True, args=list(FLAGS), device_scale_factor=scale,
        viewport={"width": size[0], "height": size[1]}, timezone_id="UTC", **options,
    )  # fmt: skip
    context.set_default_timeout(15_000)
    try:
        yield context
    finally:
        context.close()


def screenshots(fallback: Path) -> Path:
    """Where pictures go: FLEETWATCH_SCREENSHOTS, else a folder of the test."""
    folder = Path(os.environ.get("FLEETWATCH_SCREENSHOTS", fallback))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
