"""Settings of the alert manager's process; what rules do is in the rule file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fleetwatch_proto.settings import setting


@dataclass(frozen=True, slots=True)
class AlertingSettings:
    """Settings of the alert manager."""

    rules: Path | None = setting(None, "rule file; without one the shipped rules run")
    external_url: str = setting("", "address of the dashboard for links, where the rule file names none")
    egress_allow: tuple[str, ...] = setting((), "networks (CIDR) that receivers may reach although they are private")
    alerting_owner: str = setting("", "name of this manager in the outbox; empty: the host's name")
