"""The seam's dataclasses as messages of the Query service and back."""

from fleetwatch_storage.messages.frames import frame_from_message, frame_pieces, frame_to_message, join_pieces
from fleetwatch_storage.messages.queries import (
    matcher_from_message,
    matcher_to_message,
    matchers_from_messages,
    query_from_message,
    query_to_message,
)
from fleetwatch_storage.messages.records import (
    facts_from_message,
    facts_to_message,
    health_from_message,
    health_to_message,
    host_from_message,
    host_to_message,
    series_from_message,
    series_to_message,
)
from fleetwatch_storage.messages.tags import tags_from_messages, tags_to_messages

__all__ = [
    "facts_from_message",
    "facts_to_message",
    "frame_from_message",
    "frame_pieces",
    "frame_to_message",
    "health_from_message",
    "health_to_message",
    "host_from_message",
    "host_to_message",
    "join_pieces",
    "matcher_from_message",
    "matcher_to_message",
    "matchers_from_messages",
    "query_from_message",
    "query_to_message",
    "series_from_message",
    "series_to_message",
    "tags_from_messages",
    "tags_to_messages",
]
