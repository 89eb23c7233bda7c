"""The driver on a real influxd 1.6.7 on its bad days: away, killed, wrong token, no database, no rights, full."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from fleetwatch_proto.settings import ConfigError
from fleetwatch_storage.errors import StoreUnavailable, WriteRejected
from fleetwatch_storage.influx.store import InfluxStore
from fleetwatch_storage.query import Query
from fleetwatch_storage.settings import InfluxSettings
from fleetwatch_storage.store import Store

from tests.support.conditions import wait_until
from tests.support.disks import SmallDisk, needs_root
from tests.support.influxd import ADMIN, PASSWORD, Influxd, needs_influxd
from tests.support.store_rows import Row, frame, rows_of
from tests.support.stores import directory

pytestmark = needs_influxd

NOW = int(time.time()) * 1000
HOUR = 3_600_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Influxd]:
    with Influxd(tmp_path / "influxd") as started:
        yield started


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influxd]:
    """A server that wants a user, with a database and three users of it."""
    with Influxd(tmp_path_factory.mktemp("influxd"), auth=True) as started:
        started.query("CREATE DATABASE fleetwatch")
        for name, right in (("both", "ALL"), ("reader", "READ"), ("writer", "WRITE")):
            started.add_user(name, f"{name}'s word", "fleetwatch", right)
        started.add_user("nobody", "nobody's word")
        yield started


@contextmanager
def opened(server: Influxd, folder: Path, **options: Any) -> Iterator[InfluxStore]:
    options = {"influx_url": server.url, "influx_timeout": 5.0} | options
    with closing(InfluxStore(InfluxSettings(**options), directory(folder, {}))) as store:
        yield store


def as_user(folder: Path, name: str, password: str | None = None) -> dict[str, Any]:
    secret = folder / f"{name}.password"
    secret.touch(0o600)
    secret.write_text(f"{name}'s word" if password is None else password)
    return {"influx_user": name, "influx_password_file": secret}


def rows(count: int = 10, start: int = 0) -> list[Row]:
    return [Row("h", NOW - 60_000 + i, {"value": float(i)}) for i in range(start, start + count)]


def count(store: Store) -> int:
    return len(store.read(Query("m", ("value",), NOW - HOUR, NOW + HOUR)))


def test_the_first_write_makes_the_database_with_its_retention(server: Influxd, tmp_path: Path) -> None:
    with opened(server, tmp_path, influx_raw_retention=172_800.0) as store:
        assert "fleetwatch" in store.health().detail

        store.write([frame("m", rows())])

        assert store.health().writable
    policies = server.query("SHOW RETENTION POLICIES ON fleetwatch")[0]["series"][0]["values"]  # type: ignore[index]
    assert {row[0]: (row[1], row[4]) for row in policies} == {"raw": ("48h0m0s", True), "rollup": ("8760h0m0s", False)}


def test_retention_follows_the_settings_and_is_made_once(server: Influxd, tmp_path: Path) -> None:
    for days in (2, 3, 3):
        with opened(server, tmp_path, influx_raw_retention=days * 86_400.0, influx_rollup_retention=0.0) as store:
            store.write([frame("m", rows())])
    policies = server.query("SHOW RETENTION POLICIES ON fleetwatch")[0]["series"][0]["values"]  # type: ignore[index]

    assert [row[:2] for row in policies] == [["raw", "72h0m0s"]]


def test_a_database_that_was_there_keeps_its_policy(server: Influxd, tmp_path: Path) -> None:
    server.query("CREATE DATABASE fleetwatch WITH DURATION 90d NAME mine")

    with opened(server, tmp_path) as store:
        store.write([frame("m", rows())])

    policies = server.query("SHOW RETENTION POLICIES ON fleetwatch")[0]["series"][0]["values"]  # type: ignore[index]
    assert {row[0]: (row[1], row[4]) for row in policies}["mine"] == ("2160h0m0s", True)


def test_a_missing_database_that_must_not_be_made_is_said_and_used_when_it_comes(
    server: Influxd, tmp_path: Path
) -> None:
    with opened(server, tmp_path, influx_create=False) as store:
        with pytest.raises(StoreUnavailable, match="no database or bucket 'fleetwatch'") as held:
            store.write([frame("m", rows())])
        assert held.value.reason == "missing"
        assert not store.health().ready

        server.query("CREATE DATABASE fleetwatch")

        store.write([frame("m", rows())])
        assert count(store) == 10


def test_a_database_dropped_meanwhile_is_made_again(server: Influxd, tmp_path: Path) -> None:
    with opened(server, tmp_path) as store:
        store.write([frame("m", rows())])
        server.query("DROP DATABASE fleetwatch")

        with pytest.raises(StoreUnavailable):
            store.write([frame("m", rows())])
        store.write([frame("m", rows())])

        assert count(store) == 10


def test_a_server_that_is_away_is_said_and_used_when_it_comes(tmp_path: Path) -> None:
    server = Influxd(tmp_path / "influxd")
    with closing(server), opened(server, tmp_path) as store:
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            store.write([frame("m", rows())])
        assert not store.health().ready
        assert "cannot be reached" in store.health().detail

        server.start()

        store.write([frame("m", rows())])
        assert count(store) == 10


def test_what_was_written_survives_kill_9_and_the_same_store_goes_on(server: Influxd, tmp_path: Path) -> None:
    with opened(server, tmp_path) as store:
        for i in range(5):
            store.write([frame("m", rows(start=i * 10))])
            server.kill()
            with pytest.raises(StoreUnavailable):
                store.write([frame("m", rows())])
            server.start()

        assert count(store) == 50


def test_latest_is_known_again_after_a_restart(server: Influxd, tmp_path: Path) -> None:
    series = [Row(f"h{i}", NOW - 60_000 * i, {"value": i, "other": -i}, {"t": str(i)}) for i in range(80)]
    with opened(server, tmp_path) as store:
        store.write([frame("m", series)])
        before = [rows_of(one) for one in store.latest()]

    with opened(server, tmp_path) as again:
        after = [rows_of(one) for one in again.latest()]

    assert after == before
    assert 50 < len(after[0]) < 65, "none older than an hour"


def test_a_store_that_only_reads_sees_what_others_write(server: Influxd, tmp_path: Path) -> None:
    now = [time.time()]
    settings = InfluxSettings(influx_url=server.url)
    with (
        opened(server, tmp_path) as writer,
        closing(InfluxStore(settings, directory(tmp_path, {}), clock=lambda: now[0])) as reader,
    ):
        writer.write([frame("m", rows(1))])
        assert rows_of(reader.latest(["m"])[0])[0][3] == {"value": 0.0}
        writer.write([frame("m", rows(1, start=5))])
        assert rows_of(reader.latest(["m"])[0])[0][3] == {"value": 0.0}, "not asked again at once"

        now[0] += 6

        assert rows_of(reader.latest(["m"])[0])[0][3] == {"value": 5.0}


def test_a_refused_row_is_not_among_the_latest(server: Influxd, tmp_path: Path) -> None:
    now = [time.time()]
    settings = InfluxSettings(influx_url=server.url)
    with closing(InfluxStore(settings, directory(tmp_path, {}), clock=lambda: now[0])) as store:
        store.write([frame("m", [Row("h", NOW, {"value": 1.0})])])
        store.latest()
        with pytest.raises(WriteRejected):
            store.write([frame("m", [Row("h", NOW + 1, {"value": "text"}), Row("h", NOW + 2, {"other": 2.0})])])
        now[0] += 6

        assert rows_of(store.latest()[0]) == [("h", (), NOW + 2, {"other": 2.0})]


def test_rows_beyond_the_retention_are_refused_by_name_and_the_rest_is_stored(server: Influxd, tmp_path: Path) -> None:
    old = [Row("old", NOW - 30 * 24 * HOUR, {"value": 1.0})]
    with opened(server, tmp_path) as store:
        with pytest.raises(WriteRejected) as refused:
            store.write([frame("m", rows() + old)])

        assert count(store) == 10
    assert refused.value.count == 1
    assert "retention" in refused.value.rows[0].reason
    assert "host=old" in refused.value.rows[0].line


def test_more_tag_values_than_the_server_takes_are_refused_by_name(tmp_path: Path) -> None:
    many = [Row("h", NOW + i, {"value": 1.0}, {"user": str(i)}) for i in range(15)]
    with (
        Influxd(tmp_path / "influxd", index="inmem", data="max-values-per-tag = 10") as server,
        opened(server, tmp_path) as store,
    ):
        store.write([frame("m", many[:10])])
        with pytest.raises(WriteRejected) as refused:
            store.write([frame("m", many)])

        assert refused.value.count == 5
        assert "max-values-per-tag" in refused.value.rows[0].reason


def test_a_wrong_password_is_said_and_nothing_is_dropped(guarded: Influxd, tmp_path: Path) -> None:
    with opened(guarded, tmp_path, **as_user(tmp_path, "both", "wrong")) as store:
        with pytest.raises(StoreUnavailable, match="influx_user") as held:
            store.write([frame("m", rows())])
        health = store.health()

    assert held.value.reason == "auth"
    assert (health.ready, health.writable) == (False, False)
    assert "influx_user" in health.detail


def test_a_user_with_all_rights_on_the_database_reads_and_writes(guarded: Influxd, tmp_path: Path) -> None:
    with opened(guarded, tmp_path, **as_user(tmp_path, "both")) as store:
        store.write([frame("m", rows())])

        assert count(store) == 10
        assert store.health() == store.health()
        assert store.health().writable


def test_a_reader_may_not_write_and_health_says_so(guarded: Influxd, tmp_path: Path) -> None:
    with opened(guarded, tmp_path, **as_user(tmp_path, "reader")) as store:
        with pytest.raises(StoreUnavailable) as held:
            store.write([frame("m", rows())])
        health = store.health()

    assert held.value.reason == "auth"
    assert (health.ready, health.writable) == (True, False)


def test_a_writer_may_not_read_and_health_says_so(guarded: Influxd, tmp_path: Path) -> None:
    with opened(guarded, tmp_path, **as_user(tmp_path, "writer")) as store:
        store.write([frame("m", rows())])
        with pytest.raises(StoreUnavailable) as held:
            count(store)

        assert not store.health().ready
    assert held.value.reason == "auth"


def test_a_user_without_rights_cannot_make_the_database(guarded: Influxd, tmp_path: Path) -> None:
    user = as_user(tmp_path, "nobody")
    with opened(guarded, tmp_path, influx_database="other", **user) as store, pytest.raises(StoreUnavailable) as held:
        store.write([frame("m", rows())])

    assert held.value.reason in ("auth", "missing")


def test_the_administrator_makes_it(guarded: Influxd, tmp_path: Path) -> None:
    user = as_user(tmp_path, ADMIN, PASSWORD)
    with opened(guarded, tmp_path, influx_database='odd "name"', **user) as store:
        store.write([frame("m", rows())])

        assert count(store) == 10


@needs_root
def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    wide = {f"field{i}": float(i) + 0.5 for i in range(50)}
    acknowledged = 0
    with (
        SmallDisk(tmp_path, mebibytes=24) as disk,
        Influxd(tmp_path / "influxd", data_folder=disk.path / "influx") as server,
        opened(server, tmp_path) as store,
    ):
        with pytest.raises(StoreUnavailable) as held:
            for batch in range(10_000):
                at = NOW - 3 * HOUR + batch * 1000
                store.write([frame("m", [Row("h", at + i, {**wide, "value": float(i)}) for i in range(500)])])
                acknowledged += 500
                if batch == 3:
                    disk.fill()
        assert held.value.reason == "full"
        assert "restarted" in str(held.value)
        assert not store.health().writable
        assert "full" in store.health().detail

        disk.heal()
        server.restart()

        last = wait_until(lambda: store.health().ready, within_s=20)
        assert last
        store.write([frame("m", rows())])
        found = store.read(
            Query("m", ("value",), NOW - 4 * HOUR, NOW - 2 * HOUR, step_ms=4 * HOUR, aggregates=("count",))
        )
        assert sum(found.fields["value"]) >= acknowledged
        assert store.health().writable


def test_secrets_that_others_can_read_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("x")
    secret.chmod(0o644)

    with pytest.raises(ConfigError, match="chmod 600"):
        InfluxStore(InfluxSettings(influx_token_file=secret), directory(tmp_path, {}))


@pytest.mark.parametrize("url", ["localhost:8086", "ftp://x", "http://"])
def test_an_address_that_is_none_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="influx_url"):
        InfluxStore(InfluxSettings(influx_url=url), directory(tmp_path, {}))


def test_compressed_writes_are_understood(server: Influxd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleetwatch_storage.influx.server._NEARBY", ())

    with opened(server, tmp_path) as store:
        store.write([frame("m", rows(1000))])

        assert count(store) == 1000
