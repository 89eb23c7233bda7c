"""The agent of this host as a child process of `fleetwatch up`: started again with back-off when it dies."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

from fleetwatch.settings import ProcessSettings

log = structlog.get_logger(__name__)

BACK_OFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Waited before each further start; the first again after the agent ran for `STEADY_S`."""
STEADY_S = 60.0
GOODBYE_S = 2.0
"""How long the agent has to say goodbye to the collector before it is killed; less than its share of the stop."""


def command(arguments: Sequence[str]) -> list[str]:
    """The agent's command line, tied to this process."""
    return [
        sys.executable,
        "-m",
        "fleetwatch.tether",
        str(os.getpid()),
        sys.executable,
        "-m",
        "fleetwatch_agent",
        *arguments,
    ]


def agent_arguments(process: ProcessSettings, collector: str, token_file: Path | None, data_dir: Path) -> list[str]:
    """What the agent of this host is told: the collector of this process, and a state folder beside the store."""
    state_dir = process.agent_state_dir or data_dir / "agent"
    arguments = ["run", "--collector", collector, "--state-dir", str(state_dir)]
    arguments += ["--interval", f"{process.agent_interval:g}s"]
    if token_file is not None:
        arguments += ["--token-file", str(token_file)]
    for key, value in dict(process.agent_tags).items():
        arguments += ["--tag", f"{key}={value}"]
    return arguments


class LocalAgent:
    """Keeps one agent process running from `start` to `stop`. Used on the event loop of the process that owns it."""

    def __init__(self, arguments: Sequence[str], log_level: str) -> None:
        self._command = command(arguments)
        self._environment = os.environ | {"FLEETWATCH_LOG_LEVEL": log_level}
        self._child: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self.restarts = 0

    async def start(self) -> None:
        """Starts the agent; returns when the process exists."""
        self._child = await self._spawn()
        self._keeper = asyncio.create_task(self._keep(), name="local agent")

    async def stop(self) -> None:
        """Asks the agent to say goodbye and end; kills it when it does not."""
        if self._keeper is None or self._child is None:
            return
        self._keeper.cancel()
        await asyncio.gather(self._keeper, return_exceptions=True)
        self._keeper = None
        if self._child.returncode is not None:
            return
        self._child.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._child.wait(), GOODBYE_S)
        except TimeoutError:
            log.warning("the agent did not stop in time and was killed", waited_s=GOODBYE_S)
            self._child.kill()
            await self._child.wait()

    async def _spawn(self) -> asyncio.subprocess.Process:
        # A session of its own: Ctrl-C on the terminal reaches only us, and we stop the agent in our order.
        return await asyncio.create_subprocess_exec(
            *self._command, stdin=asyncio.subprocess.DEVNULL, start_new_session=True, env=self._environment
        )

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        deaths = 0
        while self._child is not None:
            started = loop.time()
            code = await self._child.wait()
            deaths = 0 if loop.time() - started > STEADY_S else deaths
            pause_s = BACK_OFF_S[min(deaths, len(BACK_OFF_S) - 1)]
            deaths, self.restarts = deaths + 1, self.restarts + 1
            log.warning("the agent of this host ended and is started again", exit_code=code, in_s=pause_s)
            await asyncio.sleep(pause_s)
            self._child = await self._spawn()
