"""The process helper: what it kills is dead, what it measures is measured."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.conditions import wait_until
from tests.support.processes import Process, ProcessEnded, free_port, listens

SERVE = """
import socket, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("up", flush=True)
time.sleep(60)
"""
BURN = "import subprocess,sys; subprocess.run([sys.executable,'-c','while True: pass'])"


def test_a_process_is_ready_killed_and_started_again_on_its_port(tmp_path: Path) -> None:
    port = free_port()
    server = Process("serve", [sys.executable, "-c", SERVE, str(port)], tmp_path, ready=lambda: listens(port))

    with server:
        first = server.pid
        server.kill()
        assert not listens(port)
        server.start()

        assert listens(port)
        assert server.pid != first
    assert server.log == "up\nup\n"


def test_a_process_that_ends_before_it_is_ready_says_why(tmp_path: Path) -> None:
    broken = Process(
        "broken", [sys.executable, "-c", "raise SystemExit('no such store')"], tmp_path, ready=lambda: False
    )

    with pytest.raises(ProcessEnded, match="no such store"):
        broken.start()


def test_usage_counts_children(tmp_path: Path) -> None:
    with Process("burn", [sys.executable, "-c", BURN], tmp_path) as burner:
        used = wait_until(
            lambda: (found := burner.usage()).cpu_s > 0.5 and found, within_s=20, what="half a CPU second"
        )

        assert used.rss_bytes > 8_000_000


def test_a_frozen_process_uses_no_cpu_and_goes_on_when_thawed(tmp_path: Path) -> None:
    with Process("spin", [sys.executable, "-c", "while True: pass"], tmp_path) as spinner:
        wait_until(lambda: spinner.usage().cpu_s > 0.1, what="some CPU used")
        spinner.freeze()
        frozen_at = spinner.usage().cpu_s
        spinner.thaw()

        wait_until(lambda: spinner.usage().cpu_s > frozen_at + 0.1, what="more CPU used")
