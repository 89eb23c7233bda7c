"""Real processes under test: started on free ports with folders of their own, killed, frozen, restarted, measured."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.support.conditions import wait_until

ROOT = Path(__file__).resolve().parents[2]
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class ProcessEnded(AssertionError):
    """A process that should be running is not; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process and its children use: CPU seconds since they started, resident bytes now."""

    cpu_s: float
    rss_bytes: int


class Process:
    """One command, startable again and again; its output goes to `<folder>/<name>.log`. Not thread-safe."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        ready: Callable[[], object] = lambda: True,
        ready_within_s: float = 30.0,
    ) -> None:
        self.name, self.command, self.folder = name, list(command), folder
        self.log_file = folder / f"{name}.log"
        self._environment = dict(environment or {})
        self._ready, self._ready_within_s = ready, ready_within_s
        self._child: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def pid(self) -> int:
        """Of the running process.

        Raises:
            ProcessEnded: it was not started or has ended.
        """
        if self._child is None or self._child.poll() is not None:
            raise ProcessEnded(self._story("is not running"))
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._child is not None and self._child.poll() is None

    def start(self) -> Self:
        """Starts it and waits until it is ready."""
        self.launch()
        wait_until(self._is_ready, within_s=self._ready_within_s, what=f"{self.name} ready")
        return self

    def launch(self) -> None:
        """Starts it without waiting."""
        assert not self.running, f"{self.name} runs already"
        with self.log_file.open("ab") as log:
            self._child = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": _python_path()} | self._environment,
                start_new_session=True,
            )

    def _is_ready(self) -> object:
        if not self.running:
            raise ProcessEnded(self._story("ended before it was ready"))
        return self._ready()

    def kill(self) -> None:
        """kill -9, this process only, and waits until it is gone."""
        self._signal(signal.SIGKILL)
        self._wait(10.0)

    def stop(self, within_s: float = 15.0) -> int:
        """SIGTERM; the exit code.

        Raises:
            subprocess.TimeoutExpired: it did not end in time.
        """
        self._signal(signal.SIGTERM)
        return self._wait(within_s)

    def wait(self, within_s: float = 30.0) -> int:
        """The exit code of a process that ends by itself."""
        return self._wait(within_s)

    def freeze(self) -> None:
        """SIGSTOP: alive, holding its connections, doing nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """kill -9 and start."""
        self.kill()
        self.start()

    def close(self) -> None:
        """Ends it and everything it started; for the end of a test."""
        if self._child is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._wait(10.0)

    @property
    def log(self) -> str:
        """Everything it has printed, over all its starts."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def usage(self) -> Usage:
        """CPU and memory of the running process with its children."""
        return usage(self.pid)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def _wait(self, within_s: float) -> int:
        assert self._child is not None, f"{self.name} was never started"
        return self._child.wait(within_s)

    def _story(self, what: str) -> str:
        code = None if self._child is None else self._child.poll()
        return f"{self.name} {what} (exit code {code}); end of its log:\n{self.log[-3000:]}"


def _python_path() -> str:
    """Where the process finds `tests`, before what was set already."""
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))


def usage(pid: int) -> Usage:
    """CPU and memory of a process and all that descend from it."""
    cpu_s, rss = 0.0, 0
    for one in _family(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            cpu_s += (int(fields[11]) + int(fields[12])) / _TICKS_PER_S  # utime and stime, proc(5) fields 14 and 15
            rss += int(fields[21]) * _PAGE
    return Usage(cpu_s, rss)


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                yield from _family(int(child))


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether a connection to this local port is taken."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
