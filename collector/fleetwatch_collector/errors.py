"""What the collector refuses, and in which words."""

from __future__ import annotations

from enum import StrEnum

from fleetwatch_proto.v1.ingest_pb2 import Nack

_LONGEST_DETAIL = 500
"""Characters of an answer: what agents sent is quoted in it."""


class Why(StrEnum):
    """Why a call is refused; the server module turns it into a gRPC status."""

    UNAUTHENTICATED = "unauthenticated"
    PRECONDITION = "precondition"
    INVALID = "invalid"
    EXHAUSTED = "exhausted"
    UNAVAILABLE = "unavailable"
    REPLACED = "replaced"
    TIMEOUT = "timeout"
    GONE = "gone"
    STOPPING = "stopping"


class CallRefused(Exception):
    """A call ends here; `detail` tells the other side in words what to do about it."""

    def __init__(self, why: Why, detail: str) -> None:
        self.why = why
        self.detail = detail[:_LONGEST_DETAIL]
        super().__init__(self.detail)


class Refused(Exception):
    """A schema or batch is not taken; `code` answers whether sending it again helps."""

    def __init__(self, code: Nack.Code.ValueType, detail: str, *, retry_after_ms: int = 0) -> None:
        self.code = code
        self.detail = detail[:_LONGEST_DETAIL]
        super().__init__(self.detail)
        self.retry_after_ms = retry_after_ms


def unforeseen() -> Refused:
    """The refusal of batches that were caught in an error of ours: nothing is lost, they come again."""
    return Refused(Nack.RETRY, "an error in the collector, see its log: send it again", retry_after_ms=10_000)
