"""Long work on the embedded store: done by the process that has it open, or by the command when none runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetwatch_storage.archive import write_archive
from fleetwatch_storage.embedded.exchange import export_parquet, import_parquet
from fleetwatch_storage.embedded.store import EmbeddedStore
from fleetwatch_storage.store import Progress

from fleetwatch.console import Problem
from fleetwatch.process.control import ControlServer, Job
from fleetwatch.process.foundation import Foundation
from fleetwatch.process.parts import Parts, Stop


async def start_control(parts: Parts, base: Foundation) -> None:
    """The control socket of the process that has the embedded store; other stores take several processes."""
    if isinstance(base.store, EmbeddedStore):
        await parts.start("control", ControlServer(base.settings.data_dir, jobs(base)), Stop(0, 0.2))


def jobs(base: Foundation) -> dict[str, Job]:
    """What can be asked for, by name; requests have absolute paths."""

    def backup(request: Mapping[str, Any], progress: Progress) -> Mapping[str, Any]:
        return {"parts": write_archive(base.store, base.database, Path(request["file"]), progress)}

    def export(request: Mapping[str, Any], progress: Progress) -> Mapping[str, Any]:
        start_ms, end_ms, names = int(request["start_ms"]), int(request["end_ms"]), list(request["measurements"])
        store = _embedded(base)
        return {"rows": export_parquet(store, Path(request["folder"]), start_ms, end_ms, names, progress)}

    def take_in(request: Mapping[str, Any], progress: Progress) -> Mapping[str, Any]:
        return {"rows": import_parquet(_embedded(base), Path(request["path"]), progress)}

    return {"backup": backup, "export": export, "import": take_in}


def _embedded(base: Foundation) -> EmbeddedStore:
    if not isinstance(base.store, EmbeddedStore):
        raise Problem("Parquet is for the embedded store: use line protocol (--format line) with InfluxDB")
    return base.store
