"""What the collector counts of itself: as fields of `fleetwatch_collector` and for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector as PrometheusCollector


@dataclass(slots=True)
class Tally:
    """Plain counts, raised on the event loop's thread and the commit thread (each by one of them only)."""

    batches: int = 0
    points: int = 0
    bytes: int = 0
    duplicates: int = 0
    rejected_batches: int = 0
    quarantined_lines: int = 0
    retries: int = 0
    live_skipped: int = 0
    dropped_values: int = 0
    throttled: int = 0
    imported_lines: int = 0
    events_left_out: int = 0
    commits: int = 0
    commit_seconds: float = 0.0


_HELP = {
    "batches": "batches made durable",
    "points": "values made durable",
    "bytes": "bytes of messages received",
    "duplicates": "batches that were already stored",
    "rejected_batches": "batches refused for good",
    "quarantined_lines": "rows set aside with the reason",
    "retries": "commits that had to be repeated",
    "live_skipped": "live frames not sent to slow watchers",
    "dropped_values": "infinities and not-a-numbers left out",
    "throttled": "times reading from an agent was slowed down for its rate",
    "imported_lines": "lines of line protocol stored",
    "events_left_out": "events not recorded because there were too many",
    "commits": "commits to the store",
}


class TallyMetrics(PrometheusCollector):
    """The tally and some readings for Prometheus, read when they are asked for."""

    def __init__(self, tally: Tally, readings: Callable[[], dict[str, float]]) -> None:
        self._tally = tally
        self._readings = readings

    def collect(self) -> Iterable[Metric]:
        """The current figures."""
        for field in fields(self._tally):
            name, value = f"fleetwatch_collector_{field.name}", getattr(self._tally, field.name)
            if field.name in _HELP:
                yield CounterMetricFamily(name, _HELP[field.name], value=value)
        for name, value in self._readings().items():
            yield GaugeMetricFamily(f"fleetwatch_collector_{name}", name.replace("_", " "), value=value)


class CallMetrics:
    """Calls by method and how they ended."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.ended = Counter(
            "fleetwatch_collector_calls",
            "calls that ended, by method and status",
            ["method", "status"],
            registry=registry,
        )
        self.open = Gauge("fleetwatch_collector_open_calls", "calls that are open", ["method"], registry=registry)
        self.seconds = Histogram(
            "fleetwatch_collector_call_seconds",
            "duration of calls other than streams of agents",
            ["method"],
            buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2, 10),
            registry=registry,
        )
