"""A real alert manager in a process of its own, on a store whose one value is read from a file.

`python -m tests.support.alert_process FOLDER RULES` evaluates `cpu.usage_active` of the host `web-1`, which is what
FOLDER/value says now and has said since the file was written; prints `ready` when the rules are loaded.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path

from fleetwatch_alerting.manager import AlertManager
from fleetwatch_alerting.settings import AlertingSettings
from fleetwatch_storage.metadata.database import open_database, sqlite_url

from tests.support.alert_world import T0, SimulatedStore


class FileStore(SimulatedStore):
    """Its host always sends."""

    def hosts(self) -> list:  # type: ignore[type-arg]
        from dataclasses import replace

        now = int(time.time() * 1000)
        return [replace(host, last_seen_ms=now) for host in super().hosts()]


def store_of(folder: Path) -> FileStore:
    """A store of one series, sampled every second."""
    from fleetwatch_storage.hosts import Host

    from tests.support.alert_world import Line

    def value(at_s: float) -> float | None:
        written = (folder / "value").stat().st_mtime
        said = float((folder / "value").read_text())
        return said if T0 / 1000 + at_s >= written else None

    store = FileStore()
    store.known["web-1"] = Host("web-1", first_seen_ms=1, connected=True)
    store.lines.append(Line("cpu", "usage_active", "web-1", (("cpu", "cpu-total"),), value, 1))
    return store


async def run(folder: Path, rules: Path) -> None:
    """Until SIGTERM."""
    settings = AlertingSettings(rules=rules, egress_allow=("127.0.0.0/8",), alerting_owner="test")
    engine = open_database(sqlite_url(folder))
    manager = AlertManager(settings, store_of(folder), engine)
    await manager.start()
    print("ready", flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    await manager.stop()
    engine.dispose()


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), Path(sys.argv[2])))
