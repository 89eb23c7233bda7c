"""Listening addresses: read, tried, and explained when they are taken."""

from __future__ import annotations

import errno
import socket

from fleetwatch_proto.settings import ConfigError


def split_address(text: str, name: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:7400` or `[::1]:7400`.

    Raises:
        ConfigError: not an address and a port.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"{name} = {text!r}: write address:port, for example 127.0.0.1:7400")
    return host.removeprefix("[").removesuffix("]"), int(port)


def bind(host: str, port: int, name: str) -> socket.socket:
    """A bound socket, not yet listening; the caller closes it.

    Raises:
        ConfigError: taken, forbidden, or not an address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"{name} = '{host}:{port}': {error.strerror}") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise ConfigError(f"{name} = '{host}:{port}': {in_words(error, port, name)}") from error
    return bound


def check_free(text: str, name: str) -> None:
    """Raises ConfigError when nobody could listen there now; port 0 is always free."""
    host, port = split_address(text, name)
    bind(host, port, name).close()


def in_words(error: OSError, port: int, name: str) -> str:
    """Why an address cannot be listened on, and what to do."""
    if error.errno == errno.EADDRINUSE:
        return (
            f"the port is taken, perhaps by another fleetwatch (ss -ltnp 'sport = :{port}' says who): "
            f"choose another with --{name}"
        )
    if error.errno == errno.EACCES:
        return "this user may not listen there (ports below 1024 need root): choose another port"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine does not have that address"
    return error.strerror or str(error)


def reach(address: str, port: int) -> str:
    """How this machine itself connects to what listens on an address: any address is reached on loopback."""
    host, _ = split_address(address, "address")
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not listened on
    found = loopback.get(host, host)
    return f"[{found}]:{port}" if ":" in found else f"{found}:{port}"


def shown(address: str, port: int) -> str:
    """The address as a person uses it, with the port that was really taken."""
    return f"{address.rpartition(':')[0]}:{port}"
