"""Negative controls: each guard of the InfluxDB driver switched off, and what it guards against then happens."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fleetwatch_storage.errors import StoreUnavailable, WriteRejected
from fleetwatch_storage.influx import http, influxql, write
from fleetwatch_storage.influx.store import InfluxStore
from fleetwatch_storage.influx.verdict import Meaning, Verdict
from fleetwatch_storage.lineprotocol import encode
from fleetwatch_storage.query import Query
from fleetwatch_storage.settings import InfluxSettings

from tests.support.answering_server import AnsweringServer, Reply, Request
from tests.support.influxd import Influxd, needs_influxd
from tests.support.store_rows import Row, frame
from tests.support.stores import directory

NOW = int(time.time()) * 1000
ATTACK = 'x"; DROP MEASUREMENT "m"; SELECT * FROM "x'


@pytest.fixture
def store(tmp_path: Path) -> Iterator[InfluxStore]:
    with (
        Influxd(tmp_path / "influxd") as server,
        closing(InfluxStore(InfluxSettings(influx_url=server.url), directory(tmp_path, {}))) as opened,
    ):
        opened.write([frame("m", [Row("h", NOW, {"value": 1.0})])])
        yield opened


def rows(store: InfluxStore) -> int:
    return len(store.read(Query("m", ("value",), NOW - 1000, NOW + 1000)))


@needs_influxd
@pytest.mark.parametrize("guarded", [True, False])
def test_a_measurement_name_cannot_end_the_statement(
    store: InfluxStore, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not guarded:
        monkeypatch.setattr(influxql, "identifier", lambda name: f'"{name}"')

    store.read(Query(ATTACK, ("value",), NOW - 1000, NOW + 1000))

    monkeypatch.undo()
    assert rows(store) == (1 if guarded else 0)


@needs_influxd
@pytest.mark.parametrize("guarded", [True, False])
def test_a_line_break_in_a_tag_does_not_break_the_row(
    store: InfluxStore, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not guarded:
        monkeypatch.setattr(encode, "_plain", lambda text: text)

    with contextlib.nullcontext() if guarded else pytest.raises(WriteRejected):
        store.write([frame("n", [Row("h", NOW, {"value": 2.0}, {"t": "x\nm value=9"})])])

    stored = store.read(Query("n", ("value",), NOW - 1000, NOW + 1000))
    assert len(stored) == (1 if guarded else 0)


@pytest.mark.parametrize("guarded", [True, False])
def test_an_overloaded_server_is_no_success(tmp_path: Path, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not guarded:
        monkeypatch.setattr(write, "judge", lambda answer, now: Verdict(Meaning.STORED))
    settings = {"influx_create": False, "influx_dialect": "v1"}

    raised = False
    with (
        AnsweringServer(lambda _: Reply(503)) as server,
        closing(InfluxStore(InfluxSettings(influx_url=server.url, **settings), directory(tmp_path, {}))) as store,  # type: ignore[arg-type]
    ):
        try:
            store.write([frame("m", [Row("h", NOW, {"value": 1.0})])])
        except StoreUnavailable:
            raised = True

    assert raised is guarded


@pytest.mark.parametrize("guarded", [True, False])
def test_a_dripping_answer_ends_at_the_deadline(tmp_path: Path, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not guarded:
        monkeypatch.setattr(http._Deadline, "left_s", lambda _self, timeout: timeout)

    def drip(_: Request) -> Reply:
        return Reply(200, b"x" * 20, drip_s=0.1)

    start, raised = time.monotonic(), False
    with AnsweringServer(drip) as server:
        settings = InfluxSettings(influx_url=server.url, influx_create=False, influx_dialect="v1", influx_timeout=0.4)
        with closing(InfluxStore(settings, directory(tmp_path, {}))) as store:
            try:
                store.write([frame("m", [Row("h", NOW, {"value": 1.0})])])
            except StoreUnavailable:
                raised = True
        took_s = time.monotonic() - start

    assert raised is guarded
    assert (took_s < 1.5) is guarded
