"""What the collector refuses, and in which words."""

from __future__ import annotations

from enum import StrEnum

from fleetwatch_proto.v1.ingest_pb2 import Nack


class Why(StrEnum):
    """Why a call is refused; the server module turns it into a gRPC status."""

    UNAUTHENTICATED = "unauthenticated"
    PRECONDITION = "precondition"
    INVALID = "invalid"
    EXHAUSTED = "exhausted"
    UNAVAILABLE = "unavailable"
    REPLACED = "replaced"
    TIMEOUT = "timeout"


class CallRefused(Exception):
    """A call ends here; `detail` tells the other side in words what to do about it."""

    def __init__(self, why: Why, detail: str) -> None:
        super().__init__(detail)
        self.why = why
        self.detail = detail


class Refused(Exception):
    """A schema or batch is not taken; `code` answers whether sending it again helps."""

    def __init__(self, code: Nack.Code.ValueType, detail: str, *, retry_after_ms: int = 0) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.retry_after_ms = retry_after_ms
