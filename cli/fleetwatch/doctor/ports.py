"""The addresses a server listens on: ours, free, or somebody else's."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

from fleetwatch_proto.settings import ConfigError

from fleetwatch.doctor.findings import Finding, ok, wrong
from fleetwatch.process.addresses import check_free, split_address

ANSWER_WITHIN_S = 3.0


def check_pages(http_address: str) -> Iterator[Finding]:
    """Whether the dashboard answers, or could listen."""
    if pages_answer(http_address):
        yield ok("pages", f"http://{http_address} answers")
    else:
        yield from could_listen("pages", http_address, "http")


def could_listen(subject: str, address: str, option: str) -> Iterator[Finding]:
    """Whether the address is free; one that is taken although our server does not answer there is somebody else's."""
    try:
        check_free(address, option)
    except ConfigError as error:
        yield wrong(subject, str(error))
    else:
        yield ok(subject, f"{address} is free")


def pages_answer(address: str) -> bool:
    """Whether /healthz answers as our dashboard does."""
    host, port = split_address(address, "http")
    connection = http.client.HTTPConnection(host, port, timeout=ANSWER_WITHIN_S)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
