"""What an ended stream means, in words for the log. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

_EXPECTED = ("max_age", "max connection age", "max_connection_age", "graceful", "goaway")


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a stream ended; an `expected` one is no fault."""

    text: str
    expected: bool = False


def ending(code: grpc.StatusCode | None, details: str, address: str) -> Ending:
    """The words for a gRPC status."""
    if code is grpc.StatusCode.OK or code is None:
        return Ending(f"{address} closed the stream", expected=True)
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return Ending(f"{address} refuses the token: set --token-file to the collector's token ({details})")
    if code is grpc.StatusCode.PERMISSION_DENIED:
        return Ending(f"{address} refuses this agent: {details}")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return Ending(f"{address} is not a fleetwatch collector, or one too old for this agent ({details})")
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        return Ending(f"{address} cannot take this agent: {details}")
    if code is grpc.StatusCode.UNAVAILABLE:
        expected = any(word in details.lower() for word in _EXPECTED)
        return Ending(f"{address} is not reachable: {details}", expected)
    return Ending(f"{address} ended the stream with {code.name}: {details}")
