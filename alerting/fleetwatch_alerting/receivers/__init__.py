"""Receivers: each builds its payload apart from sending it, and says how an attempt ended."""

from __future__ import annotations

from typing import Protocol

from fleetwatch_alerting.egress import Egress
from fleetwatch_alerting.outbox import Job
from fleetwatch_alerting.outcome import Outcome
from fleetwatch_alerting.receivers.slack import SlackReceiver
from fleetwatch_alerting.receivers.webhook import WebhookReceiver
from fleetwatch_alerting.rules.schema import ReceiverConfig, SlackConfig


class Receiver(Protocol):
    """Where notifications go."""

    async def send(self, job: Job) -> Outcome:
        """One attempt; never raises but for cancellation."""

    async def close(self) -> None:
        """Releases connections."""


def build(config: ReceiverConfig, egress: Egress) -> Receiver:
    """The receiver that a rule file names."""
    if isinstance(config, SlackConfig):
        return SlackReceiver(config, egress)
    return WebhookReceiver(config, egress)
