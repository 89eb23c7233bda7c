"""`fleetwatch up` as a user starts it: real processes on free ports, a data folder of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.processes import Process, free_port

FLEETWATCH = str(Path(sys.executable).with_name("fleetwatch"))


class Up(Process):
    """`fleetwatch up` with its local agent; ready when it has printed the address of the page."""

    def __init__(self, folder: Path, *options: str, http: int = 0, grpc: int = 0) -> None:
        self.http, self.grpc = http or free_port(), grpc or free_port()
        self.data_dir = folder / "data"
        self._before = 0
        where = (
            "--data-dir",
            str(self.data_dir),
            "--http",
            f"127.0.0.1:{self.http}",
            "--grpc",
            f"127.0.0.1:{self.grpc}",
        )
        super().__init__("up", [FLEETWATCH, "up", *where, *options], folder, ready=self._announced)

    def launch(self) -> None:
        """Starts it without waiting; what earlier starts have printed does not count."""
        self._before = len(self.log)
        super().launch()

    def _announced(self) -> bool:
        return f"page    http://127.0.0.1:{self.http}" in self.log[self._before :]

    def get(self, path: str) -> Any:
        """What the page's HTTP API answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=5) as response:
            body = response.read()
        return json.loads(body) if "json" in response.headers["Content-Type"] else body.decode()

    def hosts(self) -> list[dict[str, Any]]:
        """The fleet as the API lists it."""
        found: list[dict[str, Any]] = self.get("/api/v1/hosts")["hosts"]
        return found

    def live(self) -> bool:
        """Whether some host has values."""
        return any(host["latest"] for host in self.hosts())

    def agents(self) -> list[int]:
        """Process ids of the local agent."""
        return [pid for pid in children(self.pid) if b"fleetwatch_agent" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def children(pid: int) -> list[int]:
    """Direct children of a process, by any of its threads."""
    found = [task.read_text().split() for task in Path(f"/proc/{pid}/task").glob("*/children")]
    return sorted({int(child) for line in found for child in line})


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return not re.search(r"^State:\s+Z", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return False


def fleetwatch(*words: str, given: bytes = b"", **environment: str) -> subprocess.CompletedProcess[str]:
    """One command run to its end, as a program would: no terminal."""
    done = subprocess.run(
        [FLEETWATCH, *words], input=given, capture_output=True, env=os.environ | environment, timeout=60
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
