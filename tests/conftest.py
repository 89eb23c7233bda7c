"""What could not be tested is said loudly at the end; in CI it fails the run."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

OUTSIDE_SERVICE = "influx2"
"""Marks tests of a server that only some places have (see pyproject.toml); these may be skipped anywhere."""


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test is a failure: a real service was missing and nobody would notice."""
    skipped = list(_skipped(session.config))
    if skipped and os.environ.get("CI") == "true" and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Names every skipped test and why."""
    skipped = list(_skipped(config))
    if not skipped:
        return
    terminalreporter.section("NOT TESTED HERE", sep="!", red=True, bold=True)
    for report in skipped:
        terminalreporter.line(f"{report.nodeid}: {_reason(report)}")
    if os.environ.get("CI") == "true":
        terminalreporter.line("in CI a test that cannot run is a failure", red=True)


def _skipped(config: pytest.Config) -> Iterator[pytest.TestReport | pytest.CollectReport]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:  # an xdist worker: the controller sums up
        return
    for report in reporter.stats.get("skipped", []):
        if OUTSIDE_SERVICE not in report.keywords:
            yield report


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    found = report.longrepr
    return str(found[2]) if isinstance(found, tuple) else str(found)
