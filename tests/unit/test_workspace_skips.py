"""A test that could not run is named at the end, and fails the run in CI."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).parent.parent / "conftest.py"
SUITE = """
import pytest

def test_that_passes():
    assert True

@pytest.mark.skip(reason="influxd is not installed")
def test_of_a_real_service():
    pass
"""


def run_suite(folder: Path, *, ci: bool, text: str = SUITE) -> subprocess.CompletedProcess[str]:
    shutil.copy(CONFTEST, folder / "conftest.py")
    (folder / "test_suite.py").write_text(text)
    environment = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("PYTEST")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)],
        capture_output=True, text=True, cwd=folder, env=environment | ({"CI": "true"} if ci else {}),
    )  # fmt: skip


def test_a_skipped_test_is_named_with_its_reason(tmp_path: Path) -> None:
    done = run_suite(tmp_path, ci=False)

    assert done.returncode == 0
    assert "NOT TESTED HERE" in done.stdout
    assert "test_of_a_real_service: Skipped: influxd is not installed" in done.stdout


def test_a_skipped_test_fails_the_run_in_ci(tmp_path: Path) -> None:
    done = run_suite(tmp_path, ci=True)

    assert done.returncode == 1


def test_a_run_without_skips_passes_in_ci(tmp_path: Path) -> None:
    done = run_suite(tmp_path, ci=True, text="def test_that_passes():\n    assert True\n")

    assert done.returncode == 0
    assert "NOT TESTED HERE" not in done.stdout
