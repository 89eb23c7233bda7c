"""kill -9 of a real alert manager process between the states of an alert: told once, or twice with the same key."""

from __future__ import annotations

import random
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.conditions import wait_until
from tests.support.processes import Process
from tests.support.receivers import Answer, Receiver

KILLS = 4

RULES = """version: 1
settings: {every: 1s, eval_delay: 0s, startup_grace: 0s}
rules:
  - {name: HighCPU, metric: cpu.usage_active, above: 80, for: %s}
receivers:
  hook: {webhook: {url: "${HOOK_URL}"}}
  slack: {slack: {webhook_url: "${SLACK_URL}"}}
routes: [{to: [hook, slack], group_wait: 0s, group_interval: 0s}]
"""


class Manager(Process):
    """An alert manager on one value."""

    def __init__(self, folder: Path, hook: Receiver, slack: Receiver, *, pending: str = "0s") -> None:
        (folder / "rules.yaml").write_text(RULES % pending)
        self.data = folder
        self.set(20)
        command = [sys.executable, "-m", "tests.support.alert_process", str(folder), str(folder / "rules.yaml")]
        environment = {"HOOK_URL": hook.url, "SLACK_URL": slack.url}
        super().__init__("alerting", command, folder, environment=environment, ready=lambda: self._readiness())
        self._starts = 0

    def _readiness(self) -> bool:
        return self.log.count("ready\n") > self._starts

    def start(self) -> Process:
        self._starts = self.log.count("ready\n")
        return super().start()

    def set(self, value: float) -> None:
        """The value from now on."""
        partial = self.data / "value.new"
        partial.write_text(str(value))
        partial.replace(self.data / "value")


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def slack() -> Iterator[Receiver]:
    with Receiver(slack=True) as receiver:
        yield receiver


@pytest.fixture
def manager(tmp_path: Path, hook: Receiver, slack: Receiver) -> Iterator[Manager]:
    made = Manager(tmp_path, hook, slack)
    yield made
    made.close()


def statuses(receiver: Receiver) -> list[str]:
    """What was accepted, repetitions of a key left out."""
    seen: dict[str, str] = {}
    for request in receiver.requests:
        if request.answered == 200:
            seen.setdefault(
                request.key, request.body.get("status") or request.body["attachments"][0]["fallback"].split(":")[0]
            )
    return list(seen.values())


def duplicates(receiver: Receiver) -> int:
    """Accepted requests beyond the first of each key."""
    keys = [request.key for request in receiver.requests if request.answered == 200]
    return len(keys) - len(set(keys))


def test_firing_and_resolved_reach_both_receivers_though_the_manager_is_killed_between(
    manager: Manager, hook: Receiver, slack: Receiver
) -> None:
    manager.start()
    manager.set(95)
    wait_until(lambda: hook.accepted and slack.accepted, within_s=20, what="firing told")

    manager.kill()
    manager.set(20)
    manager.start()
    wait_until(lambda: len(statuses(hook)) > 1 and len(statuses(slack)) > 1, within_s=20, what="resolved told")

    assert statuses(hook) == ["firing", "resolved"]
    assert statuses(slack) == ["WARNING", "RESOLVED"]
    assert hook.problems == slack.problems == []
    assert duplicates(hook) <= 1
    assert duplicates(slack) <= 1


def test_killed_while_the_receiver_takes_its_time_the_message_comes_again_with_the_same_key(
    manager: Manager, hook: Receiver, slack: Receiver
) -> None:
    hook.script.append(Answer(after_s=3))
    manager.start()
    manager.set(95)
    wait_until(lambda: hook.requests, within_s=20, what="the first attempt")

    manager.kill()
    manager.start()
    wait_until(lambda: len(hook.requests) > 1, within_s=20, what="the second attempt")
    manager.set(20)
    wait_until(lambda: statuses(hook)[-1] == "resolved", within_s=20, what="resolved told")

    assert statuses(hook) == ["firing", "resolved"]
    assert duplicates(hook) == 1
    assert len({request.key for request in hook.requests}) == 2


def test_killed_while_pending_it_fires_after_the_restart(tmp_path: Path, hook: Receiver, slack: Receiver) -> None:
    manager = Manager(tmp_path, hook, slack, pending="4s")
    manager.start()
    manager.set(95)
    wait_until(lambda: _pending(tmp_path), within_s=20, what="pending")

    manager.kill()
    manager.start()
    wait_until(lambda: hook.accepted, within_s=20, what="firing told")
    stopped = manager.stop(within_s=10)
    manager.close()

    assert statuses(hook) == ["firing"]
    assert stopped == 0


def _pending(folder: Path) -> bool:
    with sqlite3.connect(folder / "metadata.sqlite") as connection:
        return connection.execute("SELECT count(*) FROM alerts WHERE state = 'pending'").fetchone()[0] == 1


def test_kills_at_random_moments_lose_nothing_and_keep_the_order(
    manager: Manager, hook: Receiver, slack: Receiver
) -> None:
    rng = random.Random(7)
    hook.script.extend(Answer(rng.choice([200, 200, 500, 503])) for _ in range(40))
    value = 20
    manager.start()

    for _ in range(KILLS):
        value = 115 - value
        manager.set(value)
        time.sleep(rng.uniform(0.3, 1.8))  # the moment of the kill is what this test is about
        manager.kill()
        manager.start()
    manager.set(20)
    wait_until(lambda: _nothing_waits(manager.data), within_s=60, every_s=0.2, what="everything delivered")

    told = statuses(slack)
    assert "WARNING" in told
    assert told[-1] == "RESOLVED"
    assert hook.problems == slack.problems == []
    assert duplicates(hook) <= KILLS
    _assert_in_order(hook)


def _nothing_waits(folder: Path) -> bool:
    with sqlite3.connect(folder / "metadata.sqlite") as connection:
        waiting = connection.execute("SELECT count(*) FROM outbox WHERE state IN ('pending', 'inflight')").fetchone()[0]
        told = connection.execute("SELECT count(*) FROM told").fetchone()[0]
        active = connection.execute("SELECT count(*) FROM alerts WHERE state != 'inactive'").fetchone()[0]
    return waiting == told == active == 0


def _assert_in_order(receiver: Receiver) -> None:
    """A resolved alert was told as firing before, or is named among what was missed."""
    known: set[str] = set()
    for body in receiver.accepted:
        missed = {one["startsAt"] for one in body["x"]["missed"]}
        for alert in body["alerts"]:
            if alert["status"] == "resolved":
                assert alert["startsAt"] in known | missed
            known.add(alert["startsAt"])
