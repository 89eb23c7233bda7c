"""Tags as messages and back."""

from __future__ import annotations

from collections.abc import Iterable

from fleetwatch_proto.v1 import ingest_pb2

from fleetwatch_storage.frames import TagSet


def tags_to_messages(tags: Iterable[tuple[str, str]]) -> list[ingest_pb2.Tag]:
    """Tags as messages."""
    return [ingest_pb2.Tag(key=key, value=value) for key, value in tags]


def tags_from_messages(messages: Iterable[ingest_pb2.Tag]) -> TagSet:
    """Tags of messages, sorted by key.

    Raises:
        ValueError: a key twice.
    """
    tags = tuple(sorted((tag.key, tag.value) for tag in messages))
    if len({key for key, _ in tags}) < len(tags):
        raise ValueError(f"a tag is given twice in {tags}")
    return tags
