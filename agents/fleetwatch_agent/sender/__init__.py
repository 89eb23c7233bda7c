"""Sends what the spool holds: `session` decides, `stream` speaks gRPC, the only place that does."""

from fleetwatch_agent.sender.session import Introduction
from fleetwatch_agent.sender.stream import Contact, Sender

__all__ = ["Contact", "Introduction", "Sender"]
