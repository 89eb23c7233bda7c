"""What an agent on this machine may see, and the secrets and rule files that settings name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from fleetwatch_proto.settings import ConfigError, read_secret

from fleetwatch.doctor.findings import Finding, note, ok, wrong


def check_proc() -> Iterator[Finding]:
    """Whether other users' processes are visible (mount option hidepid)."""
    if sys.platform != "linux":
        return
    if Path("/proc/1/stat").exists():
        yield ok("agent", "the processes of this machine are visible to it")
    else:
        yield note("agent", "/proc is mounted with hidepid: an agent of this user sees its own processes only")


def check_secret(name: str, file: Path | None) -> Iterator[Finding]:
    """Whether a secret file is there and closed to others."""
    if file is None:
        return
    try:
        read_secret(file)
    except ConfigError as error:
        yield wrong("secrets", f"{name} = {error}")
    else:
        yield ok("secrets", f"{name} = {file} is readable by its owner only")


def check_rules(file: Path | None) -> Iterator[Finding]:
    """Whether the rule file can be used."""
    if file is None:
        return
    from fleetwatch_alerting.rules import check

    problems = check(file)
    if problems:
        yield wrong("rules", str(problems[0]), f"fleetwatch rules check {file} says all {len(problems)}")
    else:
        yield ok("rules", f"{file} has no problems")
