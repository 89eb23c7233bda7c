"""Every import contract is broken once in a copy of the workspace, and the checker must see it."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DISTRIBUTIONS = ("proto", "agents", "storage", "collector", "alerting", "dashboard", "cli")

BROKEN = {
    "layers": ("storage/fleetwatch_storage/hosts.py", "import fleetwatch_dashboard"),
    "agent": ("agents/fleetwatch_agent/samples.py", "import numpy"),
    "circles": ("proto/fleetwatch_proto/catalog.py", "import fleetwatch_proto.aside"),
    "grpc": ("dashboard/fleetwatch_dashboard/times.py", "import grpc"),
    "duckdb": ("collector/fleetwatch_collector/limits.py", "import duckdb"),
    "influxdb_client": ("collector/fleetwatch_collector/limits.py", "import influxdb_client"),
    "sqlalchemy": ("collector/fleetwatch_collector/limits.py", "import sqlalchemy"),
    "psutil": ("collector/fleetwatch_collector/limits.py", "import psutil"),
    "fastapi": ("collector/fleetwatch_collector/limits.py", "import fastapi"),
    "apscheduler": ("collector/fleetwatch_collector/limits.py", "import apscheduler"),
    "terminal": ("collector/fleetwatch_collector/limits.py", "import click"),
    "pure": ("agents/fleetwatch_agent/rates.py", "import socket"),
}
"""Contract to the file that breaks it and the line that does."""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    for name in DISTRIBUTIONS:
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "static", "templates")
        )
    shutil.copy(ROOT / ".importlinter", tmp_path)
    (tmp_path / "proto/fleetwatch_proto/aside.py").write_text("import fleetwatch_proto.catalog\n")
    return tmp_path


def contracts() -> dict[str, str]:
    """Contract id to its name."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter")
    prefix = "importlinter:contract:"
    return {name.removeprefix(prefix): parser[name]["name"] for name in parser.sections() if name.startswith(prefix)}


def verdicts(workspace: Path) -> dict[str, str]:
    """Contract name to KEPT or BROKEN."""
    checked = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=workspace,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(str(workspace / name) for name in DISTRIBUTIONS), "COLUMNS": "250"},
        capture_output=True,
        text=True,
    )
    found = dict(re.findall(r"^(.+) (KEPT|BROKEN)\b", checked.stdout, re.MULTILINE))
    assert found, checked.stdout + checked.stderr
    return found


def test_every_contract_has_an_import_that_breaks_it() -> None:
    assert set(BROKEN) == set(contracts())


def test_the_workspace_keeps_every_contract(workspace: Path) -> None:
    assert verdicts(workspace) == dict.fromkeys(contracts().values(), "KEPT")


def test_a_forbidden_import_breaks_its_contract(workspace: Path) -> None:
    for file, line in BROKEN.values():
        with (workspace / file).open("a") as text:
            text.write(f"\n{line}\n")

    assert verdicts(workspace) == dict.fromkeys(contracts().values(), "BROKEN")
