"""Hosts, known series and health as messages and back."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from fleetwatch_proto.v1 import ingest_pb2, query_pb2

from fleetwatch_storage.hosts import Completeness, Facts, Host
from fleetwatch_storage.messages.tags import tags_from_messages, tags_to_messages
from fleetwatch_storage.store import Health, SeriesKey


def series_to_message(series: SeriesKey) -> query_pb2.SeriesKey:
    """The message of a known series."""
    return query_pb2.SeriesKey(
        measurement=series.measurement, host=series.host, tags=tags_to_messages(series.tags), fields=series.fields
    )


def series_from_message(message: query_pb2.SeriesKey) -> SeriesKey:
    """The known series of a message.

    Raises:
        ValueError: a tag twice.
    """
    return SeriesKey(message.measurement, message.host, tags_from_messages(message.tags), tuple(message.fields))


def facts_to_message(facts: Facts) -> ingest_pb2.Facts:
    """The message of what a host says it is."""
    return ingest_pb2.Facts(**{one.name: getattr(facts, one.name) for one in fields(Facts)})


def facts_from_message(message: ingest_pb2.Facts) -> Facts:
    """What a host says it is; texts cut to 256 characters."""
    found: dict[str, Any] = {one.name: getattr(message, one.name) for one in fields(Facts)}
    found |= {name: value[:256] for name, value in found.items() if isinstance(value, str)}
    return Facts(**found)


_SAME_HOST_FIELDS = (
    "name",
    "agent_id",
    "agent_version",
    "first_seen_ms",
    "last_seen_ms",
    "interval_ms",
    "connected",
    "goodbye_until_ms",
    "clock_offset_ms",
)


def host_to_message(host: Host) -> query_pb2.HostRecord:
    """The message of a host."""
    counts = {one.name: getattr(host.completeness, one.name) for one in fields(Completeness)}
    return query_pb2.HostRecord(
        tags=tags_to_messages(sorted(host.tags.items())),
        facts=facts_to_message(host.facts),
        **{name: getattr(host, name) for name in _SAME_HOST_FIELDS},
        **counts,
    )


def host_from_message(message: query_pb2.HostRecord) -> Host:
    """The host of a message.

    Raises:
        ValueError: a tag twice.
    """
    return Host(
        tags=dict(tags_from_messages(message.tags)),
        facts=facts_from_message(message.facts),
        completeness=Completeness(**{one.name: getattr(message, one.name) for one in fields(Completeness)}),
        **{name: getattr(message, name) for name in _SAME_HOST_FIELDS},
    )


def health_to_message(health: Health) -> query_pb2.HealthReply:
    """The message of a store's health."""
    return query_pb2.HealthReply(
        ready=health.ready, writable=health.writable, engine=health.engine, detail=health.detail
    )


def health_from_message(message: query_pb2.HealthReply) -> Health:
    """A store's health of a message."""
    return Health(message.ready, message.writable, message.engine, message.detail)
