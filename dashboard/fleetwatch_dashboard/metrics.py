"""The process's health as Prometheus text for /metrics, with types and help from the catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fleetwatch_proto.catalog import Kind, lookup
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


def prometheus_text(vitals: Mapping[str, Mapping[str, float]]) -> str:
    """Prometheus text of measurements such as `{"fleetwatch_collector": {"agents": 3.0}}`: one metric per field, named
    `<measurement>_<field>` (counters end in `_total`)."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Vitals(vitals))
    return generate_latest(registry).decode()


class _Vitals(Collector):
    def __init__(self, vitals: Mapping[str, Mapping[str, float]]) -> None:
        self._vitals = vitals

    def collect(self) -> Iterator[Metric]:
        for measurement, fields in sorted(self._vitals.items()):
            for field, value in sorted(fields.items()):
                yield _metric(measurement, field, value)


def _metric(measurement: str, field: str, value: float) -> Metric:
    found = lookup(f"{measurement}.{field}")
    name, text = f"{measurement}_{field}", found[1].description if found else field.replace("_", " ")
    if found and found[1].kind is Kind.COUNTER:
        return CounterMetricFamily(name, text, value=value)
    return GaugeMetricFamily(name, text, value=value)
