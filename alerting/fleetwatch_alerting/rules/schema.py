"""A rule file as values. Durations are milliseconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from fleetwatch_storage.query import Matcher, Transform


class Severity(StrEnum):
    """How bad a level is."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Order from mild to bad."""
        return _RANKS[self]


_RANKS = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


class Comparison(StrEnum):
    """On which side of a threshold a value is wrong."""

    ABOVE = ">"
    AT_LEAST = ">="
    BELOW = "<"
    AT_MOST = "<="

    @property
    def rising(self) -> bool:
        """Whether larger is worse."""
        return self in (Comparison.ABOVE, Comparison.AT_LEAST)

    @property
    def words(self) -> str:
        """As a sentence says it."""
        return {">": "above", ">=": "at least", "<": "below", "<=": "at most"}[self.value]


class RuleType(StrEnum):
    """What a rule looks at: a metric, or whether a host sends at all."""

    THRESHOLD = "threshold"
    HOST_DOWN = "host_down"


class NoData(StrEnum):
    """What a missing value means: nothing (everything stays as it is), or that all is well."""

    KEEP = "keep"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Level:
    """One severity of a rule: reached on the wrong side of `threshold` for `for_ms`, left at `recover` (inclusive)."""

    severity: Severity
    threshold: float
    recover: float
    for_ms: int = 0


@dataclass(frozen=True, slots=True)
class Guard:
    """A further condition (`only_if`): the last value of `metric` must compare so. `metric` empty: the rule's value."""

    metric: str
    comparison: Comparison
    threshold: float
    where: tuple[Matcher, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `levels` are mildest first and share the comparison.

    `group_by` names the labels of an alert; `total` is the tag and value that stand for the whole where the rule does
    not say which part it means (`cpu`, `cpu-total`). `unit` is the catalogue's; empty for custom metrics.
    """

    name: str
    uid: str
    type: RuleType
    metric: str
    comparison: Comparison
    levels: tuple[Level, ...]
    where: tuple[Matcher, ...] = ()
    transform: Transform = Transform.NONE
    absolute: bool = False
    agg: str = "last"
    window_ms: int = 0
    group_by: tuple[str, ...] = ("host",)
    group_agg: str = "max"
    only_if: tuple[Guard, ...] = ()
    keep_firing_ms: int = 0
    nodata: NoData = NoData.KEEP
    series_gone_ms: int = 300_000
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    runbook_url: str = ""
    dashboard: str = ""
    enabled: bool = True
    unit: str = ""
    source: str = ""

    @property
    def measurement(self) -> str:
        """The measurement of the metric."""
        return self.metric.rpartition(".")[0]

    @property
    def field(self) -> str:
        """The field of the metric."""
        return self.metric.rpartition(".")[2]

    def level(self, severity: Severity) -> Level | None:
        """The level of that severity."""
        return next((one for one in self.levels if one.severity is severity), None)


@dataclass(frozen=True, slots=True)
class Secret:
    """A text that is never printed."""

    value: str = field(repr=False)

    def __str__(self) -> str:
        return "***"

    def __repr__(self) -> str:
        return "Secret(***)"

    def reveal(self) -> str:
        """The text itself, for the one place that sends it."""
        return self.value


@dataclass(frozen=True, slots=True)
class SlackConfig:
    """A Slack incoming webhook."""

    name: str
    webhook_url: Secret
    allow_private: bool = False
    send_resolved: bool = True
    timeout_s: float = 10.0

    @property
    def max_alerts(self) -> int:
        """How many alerts of a group one message spells out; the rest is counted."""
        return 15


@dataclass(frozen=True, slots=True)
class WebhookConfig:
    """A receiver of Alertmanager's version 4 body. `url` may carry a secret, so it is one."""

    name: str
    url: Secret
    headers: tuple[tuple[str, Secret], ...] = ()
    max_alerts: int = 100
    allow_private: bool = False
    send_resolved: bool = True
    timeout_s: float = 10.0


ReceiverConfig = SlackConfig | WebhookConfig


@dataclass(frozen=True, slots=True)
class Route:
    """Which receivers are told, in what groups, and when."""

    to: tuple[str, ...] = ()
    group_by: tuple[str, ...] = ("alertname",)
    group_wait_ms: int = 30_000
    group_interval_ms: int = 300_000
    repeat_interval_ms: int = 14_400_000


@dataclass(frozen=True, slots=True)
class Settings:
    """How evaluation runs; `eval_delay_ms` None: one collection interval and five seconds, at most thirty."""

    every_ms: int = 30_000
    eval_delay_ms: int | None = None
    external_url: str = ""
    startup_grace_ms: int = 120_000
    max_catchup_ms: int = 3_600_000


@dataclass(frozen=True, slots=True)
class RuleFile:
    """A whole rule file. `enabled` rules are the ones that run."""

    path: str
    settings: Settings = field(default_factory=Settings)
    rules: tuple[Rule, ...] = ()
    receivers: tuple[ReceiverConfig, ...] = ()
    route: Route = field(default_factory=Route)

    @property
    def enabled(self) -> tuple[Rule, ...]:
        """Rules that are not switched off."""
        return tuple(rule for rule in self.rules if rule.enabled)
