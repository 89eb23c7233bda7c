"""Questions as messages and back. Messages from outside are hostile: all is checked."""

from __future__ import annotations

from collections.abc import Sequence

from fleetwatch_proto.v1 import query_pb2

from fleetwatch_storage.errors import QueryFailed
from fleetwatch_storage.query import Matcher, Op, Query, Transform

_MOST = {"fields": 512, "aggregates": 16, "where": 64, "group_by": 64}
_LONGEST_TEXT = 1024


def query_to_message(query: Query) -> query_pb2.QueryRequest:
    """The request that asks this."""
    return query_pb2.QueryRequest(
        measurement=query.measurement,
        fields=query.fields,
        start_ms=query.start_ms,
        end_ms=query.end_ms,
        step_ms=query.step_ms,
        aggregates=query.aggregates,
        transform=query.transform.value,
        where=map(matcher_to_message, query.where),
        group_by=query.group_by or (),
        grouped=query.group_by is not None,
        group_aggregate=query.group_aggregate,
        limit=query.limit,
        order=query.order,
    )


def query_from_message(message: query_pb2.QueryRequest) -> Query:
    """The question of a request; what the request leaves out has the defaults of `Query`.

    Raises:
        QueryFailed: it is not a question, or asks for too much at once.
    """
    _check_size(message)
    if message.limit < 0:
        raise QueryFailed(f"limit must not be negative, not {message.limit}")
    try:
        transform = Transform(message.transform or "none")
    except ValueError:
        known = ", ".join(Transform)
        raise QueryFailed(f"unknown transform {message.transform[:64]!r}; known: {known}") from None
    return Query(
        measurement=message.measurement,
        fields=tuple(message.fields),
        start_ms=message.start_ms,
        end_ms=message.end_ms,
        step_ms=message.step_ms,
        aggregates=tuple(message.aggregates) or ("avg",),
        transform=transform,
        where=tuple(map(matcher_from_message, message.where)),
        group_by=tuple(message.group_by) if message.grouped else None,
        group_aggregate=message.group_aggregate or "avg",
        limit=message.limit,
        order=message.order,
    )


def _check_size(message: query_pb2.QueryRequest) -> None:
    for name, most in _MOST.items():
        if len(getattr(message, name)) > most:
            raise QueryFailed(f"a query has at most {most} {name}, not {len(getattr(message, name))}")
    texts = [message.measurement, *message.fields, *message.group_by]
    if any(len(text) > _LONGEST_TEXT for text in texts):
        raise QueryFailed(f"a name in a query is longer than {_LONGEST_TEXT} characters")


def matcher_to_message(matcher: Matcher) -> query_pb2.Matcher:
    """The message of a matcher."""
    return query_pb2.Matcher(tag=matcher.tag, op=matcher.op.value, value=matcher.value)


def matcher_from_message(message: query_pb2.Matcher) -> Matcher:
    """The matcher of a message.

    Raises:
        QueryFailed: an unknown operator, or a text that is too long.
    """
    if message.op not in tuple(Op):
        raise QueryFailed(f"unknown operator {message.op[:16]!r}; known: {', '.join(Op)}")
    if len(message.tag) > _LONGEST_TEXT or len(message.value) > _LONGEST_TEXT:
        raise QueryFailed(f"a matcher is longer than {_LONGEST_TEXT} characters")
    return Matcher(message.tag, Op(message.op), message.value)


def matchers_from_messages(messages: Sequence[query_pb2.Matcher]) -> tuple[Matcher, ...]:
    """The matchers of a request for series.

    Raises:
        QueryFailed: too many, a wrong one, or a bad pattern.
    """
    if len(messages) > _MOST["where"]:
        raise QueryFailed(f"at most {_MOST['where']} matchers, not {len(messages)}")
    where = tuple(map(matcher_from_message, messages))
    Query("", ("",), 0, 0, where=where)  # judges the patterns
    return where
