"""Alerts, rules and events out of the metadata database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fleetwatch_storage.metadata import alerts
from fleetwatch_storage.metadata.alerts import Alert, RuleSummary, Told
from fleetwatch_storage.metadata.hosts import Event, HostDirectory


class Metadata:
    """Reads for the dashboard; each call blocks and sees what is stored now. `database` is what
    `fleetwatch_storage.metadata.database.open_database` returned; its owner closes it."""

    def __init__(self, database: Any) -> None:
        self._database = database
        self._directory = HostDirectory(database)

    def active(self) -> list[Alert]:
        """Alerts that are pending, firing or recovering, critical first."""
        return alerts.list_alerts(self._database)

    def past(self, limit: int) -> list[Alert]:
        """Alerts that have ended, newest end first."""
        ended = [one for one in alerts.list_alerts(self._database, states=("inactive",)) if one.resolved_at_ms]
        return sorted(ended, key=lambda one: -(one.resolved_at_ms or 0))[:limit]

    def told(self, fingerprints: Sequence[str]) -> list[Told]:
        """Who was told of these alerts, earliest first."""
        return alerts.list_told(self._database, fingerprints) if fingerprints else []

    def rules(self) -> list[RuleSummary]:
        """Rules that are evaluated."""
        return [rule for rule in alerts.list_rules(self._database) if rule.enabled]

    def events(self, host: str, start_ms: int, end_ms: int, limit: int = 500) -> list[Event]:
        """Events of a host (all hosts when empty) in the range, newest first."""
        return self._directory.events(host, start_ms, end_ms, limit)
