"""Who is calling. The one place where a peer becomes an identity: certificates will be read here and nowhere else."""

from __future__ import annotations

import hmac
import ipaddress
import urllib.parse
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum

from fleetwatch_collector.errors import CallRefused, Why
from fleetwatch_collector.names import agent_id_problem, host_problem

AGENT_ID_KEY = "fleetwatch-agent-id"
HOST_KEY = "fleetwatch-host"

CALLER: ContextVar[Identity] = ContextVar("fleetwatch_caller")
"""The identity of the call that the running task serves; set by the interceptor, read by the services."""


class How(StrEnum):
    """How an identity was proven."""

    LOOPBACK = "loopback"
    TOKEN = "token"  # noqa: S105 - the name of a way, not a secret


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls. `agent_id` and `host` are empty for callers that only read."""

    agent_id: str
    host: str
    how: How
    address: str


def identify(peer: str, metadata: Sequence[tuple[str, str | bytes]], token: str | None) -> Identity:
    """The identity of a gRPC peer.

    Without `token` only callers on loopback are known, and they say by metadata who they are; with it every caller must
    show it.

    Raises:
        CallRefused: unauthenticated, or a name that is not taken.
    """
    address = peer_address(peer)
    claims = _claims(metadata)
    how = _proof(address, claims.get("authorization", ""), token)
    agent_id, host = claims.get(AGENT_ID_KEY, ""), claims.get(HOST_KEY, "")
    problem = (agent_id and agent_id_problem(agent_id)) or (host and host_problem(host))
    if problem:
        raise CallRefused(Why.INVALID, problem)
    return Identity(agent_id, host, how, address)


def peer_address(peer: str) -> str:
    """The address in gRPC's text for a peer (`ipv4:127.0.0.1:5`, `ipv6:%5B::1%5D:5`); the whole text when unknown."""
    kind, _, rest = urllib.parse.unquote(peer).partition(":")
    return rest.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else peer


def is_local(address: str) -> bool:
    """Whether a peer's address is on this machine; an address that cannot be read is not."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return bool((mapped or parsed).is_loopback)


def _proof(address: str, authorization: str, token: str | None) -> How:
    if token is None:
        if is_local(address):
            return How.LOOPBACK
        raise CallRefused(Why.UNAUTHENTICATED, "this collector takes callers on its own machine only: set token_file")
    scheme, _, shown = authorization.partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(shown.strip().encode(), token.encode()):
        raise CallRefused(Why.UNAUTHENTICATED, "the token is missing or wrong: compare the caller's token file")
    return How.TOKEN


def _claims(metadata: Sequence[tuple[str, str | bytes]]) -> dict[str, str]:
    claims: dict[str, str] = {}
    for key, value in metadata:
        if key not in (AGENT_ID_KEY, HOST_KEY, "authorization"):
            continue
        if key in claims:
            raise CallRefused(Why.INVALID, f"call metadata {key} is given twice")
        claims[key] = value if isinstance(value, str) else value.decode("ascii", "replace")
    return claims
