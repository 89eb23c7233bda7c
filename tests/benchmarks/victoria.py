"""VictoriaMetrics of Debian's package as a child process, for comparison."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from fleetwatch_storage.frames import Frame
from fleetwatch_storage.lineprotocol.encode import encode_pieces

_COMMAND = "victoria-metrics"


class Victoria:
    """A server with its own folder on a free port of this machine; `there` when it is installed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: subprocess.Popen[bytes] | None = None
        self._url = ""
        self.there = shutil.which(_COMMAND) is not None
        self.version = ""

    def __enter__(self) -> Victoria:
        if self.there:
            self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.terminate()
            self._server.wait()

    def _start(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.version = subprocess.run(
            [_COMMAND, "-version"], capture_output=True, text=True, check=False
        ).stdout.strip()
        options = [f"-storageDataPath={self._folder}", f"-httpListenAddr=127.0.0.1:{port}", "-retentionPeriod=1200"]
        options += ["-search.disableCache", "-search.maxUniqueTimeseries=10000000", "-search.latencyOffset=0s"]
        self._server = subprocess.Popen(
            [_COMMAND, *options], stderr=subprocess.DEVNULL, env={**os.environ, "GOMAXPROCS": "1"}
        )
        self._url = f"http://127.0.0.1:{port}"
        end = time.monotonic() + 20
        while not self._answers():
            if time.monotonic() > end:
                raise RuntimeError("victoria-metrics did not start")

    def _answers(self) -> bool:
        try:
            self._get("/health")
        except urllib.error.URLError:
            return False
        return True

    def _get(self, path: str, body: bytes | None = None) -> bytes:
        with urllib.request.urlopen(self._url + path, data=body, timeout=60) as answer:
            content: bytes = answer.read()
            return content

    def write(self, frames: Sequence[Frame]) -> float:
        """Sends frames as line protocol; seconds of this process's processor it took to encode and send them."""
        used = time.process_time()
        for piece in encode_pieces(frames, 8 << 20):
            self._get("/write?precision=ms", piece)
        return time.process_time() - used

    def flush(self) -> None:
        """Makes everything visible."""
        self._get("/internal/force_flush")

    def merge(self) -> None:
        """Brings data into as few parts as the server likes, and waits for that."""
        self._get("/internal/force_merge")
        before = -1
        while before != (before := self.bytes()):
            time.sleep(2)  # there is nothing to wait on; the size settles when merging has

    def bytes(self) -> int:
        """What it takes on disk."""
        return sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file())

    def cpu_s(self) -> float:
        """Processor seconds of the server so far, from /proc/PID/stat."""
        if self._server is None:
            return 0.0
        fields = Path(f"/proc/{self._server.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def query(self, promql: str, at_s: int) -> Any:
        """An instant query, decoded."""
        return json.loads(self._get(f"/api/v1/query?{urllib.parse.urlencode({'query': promql, 'time': at_s})}"))

    def range(self, promql: str, start_s: int, end_s: int, step_s: int) -> Any:
        """A range query, decoded."""
        asked = {"query": promql, "start": start_s, "end": end_s, "step": step_s, "nocache": 1}
        return json.loads(self._get(f"/api/v1/query_range?{urllib.parse.urlencode(asked)}"))

    def export(self, promql: str, start_s: int, end_s: int) -> Any:
        """Samples as taken, decoded."""
        asked = {"match[]": promql, "start": start_s, "end": end_s}
        lines = self._get(f"/api/v1/export?{urllib.parse.urlencode(asked)}").splitlines()
        return [json.loads(line) for line in lines]
