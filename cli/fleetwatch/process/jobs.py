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


def control_server(base: Foundation) -> ControlServer:
    """The control socket of a process that has this store open."""
    return ControlServer(base.settings.data_dir, jobs(base))


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
