"""What a receiver is told: one notification about one group of alerts, complete in itself and stored as JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

GroupKey: TypeAlias = str


@dataclass(frozen=True, slots=True)
class Tell:
    """What a receiver knows of an alert once it was told: firing at a level since a moment, or nothing any more."""

    fingerprint: str
    level: str
    starts_at_ms: int
    firing: bool = True


@dataclass(frozen=True, slots=True)
class Missed:
    """An alert that came and went before the receiver could be told."""

    fingerprint: str
    level: str
    starts_at_ms: int
    ends_at_ms: int


@dataclass(frozen=True, slots=True)
class NotifiedAlert:
    """One alert as it is shown. `change` is new, escalated, deescalated, resolved, or empty: already told.

    Times are unix milliseconds; `ends_at_ms` None while it fires. `host_link` leads to the host at the firing time.
    """

    fingerprint: str
    firing: bool
    change: str
    rule: str
    rule_uid: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    level: str
    starts_at_ms: int
    previous_level: str = ""
    ends_at_ms: int | None = None
    active_at_ms: int | None = None
    metric: str = ""
    unit: str = ""
    comparison: str = ">"
    value: float | None = None
    value_at_fire: float | None = None
    peak: float | None = None
    threshold: float | None = None
    health: str = "ok"
    reason: str = "threshold"
    host_link: str = ""


@dataclass(frozen=True, slots=True)
class Notification:
    """One message. `alerts` are changed first; `left_out` more are only counted. `tells` covers all of them."""

    receiver: str
    group_key: GroupKey
    group_labels: Mapping[str, str]
    seq: int
    reason: str
    created_ms: int
    alerts: tuple[NotifiedAlert, ...]
    tells: tuple[Tell, ...]
    firing_count: int
    resolved_count: int
    left_out: int = 0
    missed: tuple[Missed, ...] = ()
    external_url: str = ""
    idempotency_key: str = field(default="", compare=False)

    @property
    def is_firing(self) -> bool:
        """Whether any alert of the group fires."""
        return self.firing_count > 0

    @property
    def is_critical(self) -> bool:
        """Whether it is worth trying for longer."""
        return any(tell.level == "critical" for tell in self.tells)


def idempotency_key(receiver: str, group_key: GroupKey, seq: int, tells: Sequence[Tell]) -> str:
    """32 hex digits that are the same on every attempt, also after a restart."""
    said = ",".join(sorted(f"{one.fingerprint}:{one.level}:{one.starts_at_ms}:{one.firing:d}" for one in tells))
    return hashlib.sha256(f"{receiver}|{group_key}|{seq}|{said}".encode()).hexdigest()[:32]


def to_json(notification: Notification) -> dict[str, Any]:
    """For the outbox."""
    return asdict(notification)


def from_json(stored: Mapping[str, Any]) -> Notification:
    """As it was stored."""
    return Notification(
        **{
            **stored,
            "alerts": tuple(NotifiedAlert(**one) for one in stored["alerts"]),
            "tells": tuple(Tell(**one) for one in stored["tells"]),
            "missed": tuple(Missed(**one) for one in stored["missed"]),
        }
    )


def group_key(labels: Mapping[str, str]) -> GroupKey:
    """Alertmanager's form for the default route: `{}:{alertname="HighCPU"}`."""
    inside = ", ".join(f'{name}="{_quoted(value)}"' for name, value in sorted(labels.items()))
    return f"{{}}:{{{inside}}}"


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
