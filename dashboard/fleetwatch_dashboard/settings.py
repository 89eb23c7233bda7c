"""Settings of the dashboard."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from fleetwatch_proto.settings import ConfigError, setting


@dataclass(frozen=True, slots=True)
class DashboardSettings:
    """What the dashboard can be told; every field is a key of the settings file and `FLEETWATCH_<KEY>`."""

    http: str = setting("127.0.0.1:7480", "address the pages and the HTTP API listen on; port 0 takes a free one")
    trusted_hosts: tuple[str, ...] = setting(
        ("127.0.0.1", "localhost", "[::1]"), "host names browsers may ask for; anything else is refused (DNS rebinding)"
    )
    proxy_authenticates: bool = setting(
        False, "a proxy in front asks for a login, so another address than loopback may be bound"
    )
    title: str = setting("fleetwatch", "name shown in the top bar and in the title of every page")
    page_hosts: int = setting(100, "hosts on one page of the fleet table")
    dashboard_threads: int = setting(8, "questions to the store answered at the same time")
    query_timeout: float = setting(10.0, "a question to the store that takes longer is given up", "duration")
    query_values: int = setting(50_000, "most values in one answer of POST /api/v1/query")
    query_at_once: int = setting(4, "POST /api/v1/query calls answered at the same time")
    live_watchers: int = setting(200, "live connections held at the same time")
    body_bytes: int = setting(1_048_576, "largest HTTP request body", "bytes")


def listen_address(settings: DashboardSettings) -> tuple[str, int]:
    """Address and port to listen on.

    Raises:
        ConfigError: not an address, or one that others can reach while there is no login.
    """
    address, colon, port = settings.http.rpartition(":")
    if not colon or not address or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"http = {settings.http!r}: write address:port, for example 127.0.0.1:7480")
    bare = address.removeprefix("[").removesuffix("]")
    if not _is_loopback(bare) and not settings.proxy_authenticates:
        raise ConfigError(
            f"http = {settings.http!r}: refused, because there is no login yet and others could reach this address. "
            "Use 127.0.0.1 and a tunnel, or set proxy_authenticates = true when a proxy in front asks for a login"
        )
    return bare, int(port)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
