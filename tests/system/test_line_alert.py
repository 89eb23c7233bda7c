"""A disk of this machine fills up, and Slack and a webhook are told; it is freed, and they are told again.

Everything is real: a mounted file system, the agent that reads it, collector, store and alert manager as processes of
their own. Only the receivers are ours, and they hold what comes against the published field lists.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.conditions import wait_until
from tests.support.disks import PowerDisk, needs_root
from tests.support.parts import Agent, Alerting, Collector
from tests.support.receivers import Receiver

pytestmark = needs_root

RULES = """version: 1
settings: {every: 1s, eval_delay: 0s, startup_grace: 0s}
rules:
  - {name: DiskFull, metric: disk.used_percent, where: {path: "%s"}, above: 80, for: 0s}
receivers:
  hook: {webhook: {url: "${HOOK_URL}"}}
  slack: {slack: {webhook_url: "${SLACK_URL}"}}
routes: [{to: [hook, slack], group_wait: 0s, group_interval: 0s}]
"""
TOLD_S = 30.0


@dataclass(frozen=True)
class Line:
    """The disk at one end, the receivers at the other."""

    disk: PowerDisk
    alerting: Alerting
    hook: Receiver
    slack: Receiver

    def fill(self) -> None:
        """Nine tenths of the disk are in use."""
        room = os.statvfs(self.disk.path)
        (self.disk.path / "ballast").write_bytes(bytes(int(room.f_bavail * room.f_frsize * 0.9)))

    def free(self) -> None:
        """Nothing is."""
        (self.disk.path / "ballast").unlink()

    def wait_told(self, status: str) -> None:
        """Waits until both receivers have accepted the news."""
        wait_until(lambda: status in hooked(self.hook), within_s=TOLD_S, what=f"webhook told {status}")
        wanted = {"firing": "WARNING", "resolved": "RESOLVED"}[status]
        wait_until(lambda: wanted in slacked(self.slack), within_s=TOLD_S, what=f"Slack told {wanted}")


def hooked(hook: Receiver) -> list[str]:
    return [body["status"] for body in hook.accepted]


def slacked(slack: Receiver) -> list[str]:
    return [body["attachments"][0]["fallback"].partition(":")[0] for body in slack.accepted]


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with (
        PowerDisk(tmp_path) as disk,
        Receiver() as hook,
        Receiver(slack=True) as slack,
        Collector(tmp_path / "collector") as collector,
        Alerting(
            tmp_path / "alerting", collector.address, RULES % disk.path, HOOK_URL=hook.url, SLACK_URL=slack.url
        ) as alerting,
        Agent(collector.address, tmp_path),
    ):
        yield Line(disk, alerting, hook, slack)


def check_labels(alert: dict[str, Any], line: Line) -> None:
    assert alert["labels"]["alertname"] == "DiskFull"
    assert alert["labels"]["host"] == "line-1"
    assert alert["labels"]["path"] == str(line.disk.path)


def test_a_full_disk_is_told_and_its_end_too(line: Line) -> None:
    line.fill()
    line.wait_told("firing")
    line.free()
    line.wait_told("resolved")

    assert hooked(line.hook) == ["firing", "resolved"]
    assert slacked(line.slack) == ["WARNING", "RESOLVED"]
    assert line.hook.problems == line.slack.problems == []
    check_labels(line.hook.accepted[0]["alerts"][0], line)


def test_the_end_is_told_though_the_alert_manager_was_killed_in_between(line: Line) -> None:
    line.fill()
    line.wait_told("firing")
    line.alerting.kill()
    line.free()
    line.alerting.start()
    line.wait_told("resolved")

    keys = [request.key for request in line.hook.requests]
    assert len(keys) - len(set(keys)) <= 1, "a message is repeated at most once, with its key"
    assert set(hooked(line.hook)) == {"firing", "resolved"}
    assert line.hook.problems == line.slack.problems == []
