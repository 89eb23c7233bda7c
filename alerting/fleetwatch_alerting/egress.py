"""Where receivers may be reached: an address is looked up once, every answer must be allowed, and that one is used."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import httpx

from fleetwatch_alerting.errors import EgressRefused

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]

MAX_ANSWER_BYTES = 4096

_REFUSED: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        *("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23"),
        *("2001:db8::/32", "2002::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
    )
)
"""Loopback, private, link-local, metadata, carrier NAT, documentation, multicast, IPv6 forms that hold others."""


@dataclass(frozen=True, slots=True)
class Egress:
    """What may be reached: public addresses, and the networks that the settings allow."""

    allowed: tuple[Network, ...] = ()

    def permits(self, address: Address, *, private: bool = False) -> bool:
        """Whether an address may be connected to; `private`: this receiver may reach any."""
        if private or any(address in network for network in self.allowed if network.version == address.version):
            return True
        return not any(address in network for network in _REFUSED if network.version == address.version)

    def choose(self, host: str, answers: Sequence[str], *, private: bool = False) -> Address:
        """The address to connect to.

        Raises:
            EgressRefused: one of the answers is not allowed, or there is none.
        """
        found = [ipaddress.ip_address(answer.partition("%")[0]) for answer in answers]
        for address in found:
            if not self.permits(address, private=private):
                raise EgressRefused(
                    f"{host} is {address}, which receivers must not reach; allow it with  allow_private: true"
                )
        if not found:
            raise EgressRefused(f"{host} has no address")
        return found[0]


def allow_list(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks from CIDR texts.

    Raises:
        ValueError: not a network.
    """
    return tuple(ipaddress.ip_network(text.strip()) for text in texts)


async def resolve(host: str, port: int) -> Sequence[str]:
    """All addresses of a host name, as the system resolver knows it (which also reads `0x7f.1` and the like)."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def pinned(url: httpx.URL, address: Address) -> tuple[httpx.URL, dict[str, str], dict[str, str]]:
    """The URL with the checked address in it, and the headers and extensions that keep the name for the server."""
    host = f"[{address}]" if address.version == 6 else str(address)
    return url.copy_with(host=host), {"Host": url.netloc.decode("ascii")}, {"sni_hostname": url.host}
