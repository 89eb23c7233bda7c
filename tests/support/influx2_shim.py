"""InfluxDB 2's write path in front of a real influxd 1.x: what influxdb-client sends goes to a real engine unchanged.

`/api/v2/write?bucket=` becomes `/write?db=`, `/query` passes through, the token is checked, the version is a 2.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.support.answering_server import AnsweringServer, Reply, Request
from tests.support.influxd import Influxd

TOKEN = "the-token"
_VERSION = {"X-Influxdb-Version": "v2.7.12"}


@contextmanager
def influx2_shim(behind: Influxd) -> Iterator[AnsweringServer]:
    """The server to speak version 2 to."""
    with httpx.Client(base_url=behind.url, timeout=30.0) as client:

        def answer(request: Request) -> Reply:
            if request.path == "/ping":
                return Reply(204, headers=_VERSION)
            if request.headers.get("authorization") != f"Token {TOKEN}":
                return Reply(401, json.dumps({"code": "unauthorized", "message": "unauthorized access"}).encode())
            return _write(client, request) if request.path == "/api/v2/write" else _query(client, request)

        with AnsweringServer(answer) as server:
            yield server


def _write(client: httpx.Client, request: Request) -> Reply:
    where = {"db": request.parameters["bucket"], "precision": request.parameters["precision"]}
    headers = {name: value for name, value in request.headers.items() if name == "content-encoding"}
    answer = client.post("/write", params=where, content=request.body, headers=headers)
    if answer.status_code == 204:
        return Reply(204)
    message = {"code": "invalid", "message": answer.json()["error"]}
    return Reply(answer.status_code, json.dumps(message).encode())


def _query(client: httpx.Client, request: Request) -> Reply:
    answer = client.post(
        request.path,
        params=request.parameters,
        content=request.body,
        headers={"Content-Type": request.headers.get("content-type", "text/plain")},
    )
    return Reply(answer.status_code, answer.content)
