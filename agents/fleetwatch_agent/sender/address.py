"""How a collector is reached: the channel's options, its target, and this host's address on the way there."""

from __future__ import annotations

import asyncio
import socket

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # keepalive_timeout alone took 62 s to notice a hung peer: the time an answer to a ping may take is this one.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 1 << 20),
)


def target(address: str) -> str:
    """What gRPC resolves."""
    return address if address.startswith("unix:") else f"dns:{address}"


async def own_address(address: str) -> str:
    """The address the kernel would use towards the collector; a connected UDP socket sends nothing."""
    host, _, port = address.rpartition(":")
    if address.startswith("unix:"):
        return ""
    try:
        async with asyncio.timeout(2.0):
            loop = asyncio.get_running_loop()
            family, kind, _, _, peer = (await loop.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_DGRAM))[0]
        with socket.socket(family, kind) as probe:
            probe.connect(peer)
            return str(probe.getsockname()[0])
    except (OSError, TimeoutError):
        return ""
