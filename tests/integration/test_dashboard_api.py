"""The HTTP API: the shapes other programs rely on, limits, errors."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fleetwatch_dashboard.settings import DashboardSettings
from fleetwatch_storage.errors import QueryFailed, StoreUnavailable
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.query import Query

from tests.support.conditions import wait_until_async
from tests.support.dashboard import NOW_MS, Bench, bench


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path) as made:
        yield made


async def get(rig: Bench, address: str, status: int = 200, **headers: str) -> Any:
    async with rig.client(**headers) as client:
        answer = await client.get(address)
    assert answer.status_code == status, answer.text[:500]
    return answer.json()


async def ask(rig: Bench, body: dict[str, Any], status: int = 200, **headers: str) -> Any:
    async with rig.client(**headers) as client:
        answer = await client.post("/api/v1/query", json=body)
    assert answer.status_code == status, answer.text[:500]
    return answer


async def test_hosts_have_the_promised_shape(rig: Bench) -> None:
    found = await get(rig, "/api/v1/hosts")

    host = next(one for one in found["hosts"] if one["name"] == "web-3")
    assert found["next"] is None
    assert {key: host[key] for key in ("id", "name", "status", "tags", "completeness")} == {
        "id": "web-3",
        "name": "web-3",
        "status": "critical",
        "tags": {"env": "prod", "role": "web", "site": "ams"},
        "completeness": pytest.approx(8621 / 8640),
    }
    assert host["age_s"] == NOW_MS / 1000 - host["last_seen"]
    assert host["latest"]["cpu.usage_active"] == 97.0


async def test_hosts_come_in_pages_without_gap_or_repetition(rig: Bench) -> None:
    names: list[str] = []
    cursor = ""
    while True:
        found = await get(rig, f"/api/v1/hosts?limit=4&cursor={cursor}")
        names += [host["name"] for host in found["hosts"]]
        if not (cursor := found["next"] or ""):
            break

    assert names == sorted(host.name for host in rig.made)


async def test_one_host_has_facts_and_counts(rig: Bench) -> None:
    host = await get(rig, "/api/v1/hosts/web-3")

    assert host["facts"]["os"] == "Debian 12.7"
    assert host["batches"]["lost"] == 0
    assert (await get(rig, "/api/v1/hosts/nobody", 404))["errors"][0] == {
        "field": "host",
        "value": "nobody",
        "message": "no host of this name",
    }


async def test_series_are_columns_on_a_regular_grid_with_gaps_as_null(rig: Bench) -> None:
    found = await get(
        rig, "/api/v1/series?host=web-3&metric=cpu.usage_active&tag.cpu=cpu-total&from=-1h&to=now&points=600"
    )

    (series,) = found["series"]
    assert (series["metric"], series["tags"], series["unit"]) == ("cpu.usage_active", {"cpu": "cpu-total"}, "percent")
    assert found["resolution_s"] == 10
    assert len(found["t"]) == len(series["avg"]) == len(series["min"]) == len(series["max"]) == 360
    assert set(np.diff(found["t"]).tolist()) == {10.0}
    assert 15 <= sum(value is None for value in series["avg"]) <= 25  # three minutes of a stopped agent
    assert found["gap_s"] == 25


async def test_counters_come_per_second(rig: Bench) -> None:
    found = await get(
        rig, "/api/v1/series?host=web-1&metric=net.bytes_recv&metric=net.bytes_sent&tag.interface=eth0&stats=avg"
    )

    received = found["series"][0]
    assert received["unit"] == "bytes/s"
    assert "min" not in received
    assert np.nanmedian([value for value in received["avg"] if value is not None]) == pytest.approx(81e6 / 8, rel=0.2)


async def test_counters_and_gauges_of_one_measurement_can_be_asked_for_together(rig: Bench) -> None:
    found = await get(rig, "/api/v1/series?host=web-1&metric=diskio.read_bytes&metric=diskio.io_util&points=60")

    assert {one["metric"] for one in found["series"]} == {"diskio.read_bytes", "diskio.io_util"}


async def test_wider_steps_keep_the_extremes(rig: Bench) -> None:
    fine = await get(rig, "/api/v1/series?host=web-3&metric=cpu.usage_active&tag.cpu=cpu-total&points=600")
    wide = await get(rig, "/api/v1/series?host=web-3&metric=cpu.usage_active&tag.cpu=cpu-total&points=12")

    most = [max(value for value in found["series"][0]["max"] if value is not None) for found in (fine, wide)]

    assert len(wide["t"]) <= 13
    assert most[0] == most[1]


async def test_a_measurement_outside_the_catalogue_has_series_too(rig: Bench) -> None:
    found = await get(rig, "/api/v1/series?host=web-3&metric=shop_queue.depth")

    assert [one["tags"] for one in found["series"]] == [{"queue": "mail"}, {"queue": "video"}]
    assert found["gap_s"] == 150  # sent once a minute: nothing is missing in between


async def test_an_unknown_host_or_metric_has_no_series(rig: Bench) -> None:
    assert (await get(rig, "/api/v1/series?host=nobody&metric=cpu.usage_active"))["series"] == []
    assert (await get(rig, "/api/v1/series?host=web-3&metric=nothing.here"))["series"] == []


async def test_a_browser_that_has_the_series_is_told_so(rig: Bench) -> None:
    address = "/api/v1/series?host=web-3&metric=mem.used&from=1795165200&to=1795167000"
    async with rig.client() as client:
        first = await client.get(address)
        second = await client.get(address, headers={"if-none-match": first.headers["etag"]})
        rig.store.frames["mem"].fields["used"][-60:] += 1e9
        third = await client.get(
            address.replace("1795167000", "1795168800"), headers={"if-none-match": first.headers["etag"]}
        )

    assert (first.status_code, second.status_code, second.content, third.status_code) == (200, 304, b"", 200)


@pytest.mark.parametrize(
    ("address", "field"),
    [
        ("/api/v1/series?host=a&metric=cpu", "metric"),
        ("/api/v1/series?host=a&metric=cpu.x&metric=mem.y", "metric"),
        ("/api/v1/series?host=a", "metric"),
        ("/api/v1/series?metric=cpu.x", "host"),
        ("/api/v1/series?host=a&metric=cpu.x&points=2001", "points"),
        ("/api/v1/series?host=a&metric=cpu.x&points=many", "points"),
        ("/api/v1/series?host=a&metric=cpu.x&from=tomorrow", "from"),
        ("/api/v1/series?host=a&metric=cpu.x&from=now&to=-1h", "to"),
        ("/api/v1/series?host=a&metric=cpu.x&stats=avg,best", "stats"),
        ("/api/v1/series?host=a&metric=cpu.x&rate=maybe", "rate"),
        ("/api/v1/hosts?limit=0", "limit"),
        ("/api/v1/alerts?state=odd", "state"),
        ("/api/v1/processes?host=a&at=x", "at"),
    ],
)
async def test_errors_are_problem_documents_that_name_the_field(rig: Bench, address: str, field: str) -> None:
    problem = await get(rig, address, 400)

    assert (problem["status"], problem["title"], problem["errors"][0]["field"]) == (400, "Bad Request", field)


async def test_the_processes_of_a_past_moment(rig: Bench) -> None:
    calm = await get(rig, f"/api/v1/processes?host=web-3&at={NOW_MS / 1000 - 1800}")
    gone = await get(rig, f"/api/v1/processes?host=web-3&at={NOW_MS / 1000 - 90_000}")

    assert calm["processes"][0]["name"] == "php-fpm8.3"
    assert calm["t"] <= NOW_MS / 1000 - 1800
    assert (gone["t"], gone["processes"]) == (None, [])


async def test_a_query_is_answered_as_columns(rig: Bench) -> None:
    body = {
        "measurement": "cpu",
        "fields": ["usage_active"],
        "from": "-10m",
        "step": "1m",
        "where": [{"tag": "cpu", "value": "cpu-total"}],
        "group_by": ["role"],
        "group_aggregate": "max",
    }

    found = (await ask(rig, body)).json()

    assert {"role": "db"} in found["tagsets"]
    assert len(found["t"]) == len(found["fields"]["usage_active"]) == len(found["tagset"])


async def test_a_query_is_answered_as_csv_in_which_no_cell_is_a_formula(rig: Bench) -> None:
    names = rig.store.frames["process_top"].fields["name"]
    names[:] = '=HYPERLINK("http://x")'
    body = {
        "measurement": "process_top",
        "fields": ["name", "pid"],
        "from": "-15s",
        "where": [{"tag": "host", "value": "web-1"}],
    }

    answer = await ask(rig, body, accept="text/csv")

    lines = answer.text.splitlines()
    assert answer.headers["content-type"].startswith("text/csv")
    assert lines[0] == "time,host,rank,name,pid"
    assert '"\'=HYPERLINK(""http://x"")"' in lines[1]
    assert lines[1].startswith("2026-11-20T09:59:")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"fields": []}, "fields"),
        ({"step": "fast"}, "step"),
        ({"from": "x"}, "from"),
        ({"colour": 1}, "colour"),
        ({"where": [{"tag": "a", "op": "~", "value": ""}]}, "where.0.op"),
        ({"transform": "square"}, "transform"),
    ],
)
async def test_a_query_that_cannot_be_asked_names_its_field(rig: Bench, changes: dict[str, Any], named: str) -> None:
    problem = (await ask(rig, {"measurement": "cpu", "fields": ["usage_active"]} | changes, 400)).json()

    assert problem["errors"][0]["field"] == named


async def test_what_the_store_refuses_is_said_in_its_words(rig: Bench) -> None:
    problem = (await ask(rig, {"measurement": "cpu", "fields": ["x"], "aggregates": ["best"]}, 400)).json()
    rig.store.fail = QueryFailed("asks for too much")
    refused = (await ask(rig, {"measurement": "cpu", "fields": ["x"]}, 400)).json()

    assert "unknown aggregate 'best'" in problem["detail"]
    assert refused["detail"] == "asks for too much"


async def test_an_answer_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with bench(tmp_path, settings=DashboardSettings(query_values=100)) as rig:
        problem = (await ask(rig, {"measurement": "cpu", "fields": ["usage_active"]}, 400)).json()

        assert "more than 100" in problem["detail"]


async def test_a_store_that_is_away_is_answered_with_when_to_try_again(rig: Bench) -> None:
    rig.store.fail = StoreUnavailable("busy", reason="busy", retry_after_s=7)

    async with rig.client() as client:
        answer = await client.get("/api/v1/hosts")

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert answer.headers["content-type"] == "application/problem+json"


class Slow:
    """Makes every read wait until it is let go."""

    def __init__(self, rig: Bench) -> None:
        self.waiting = 0
        self.go = threading.Event()
        self._read = rig.store.read
        rig.store.read = self.read  # type: ignore[method-assign]

    def read(self, query: Query) -> Frame:
        self.waiting += 1
        self.go.wait(20)
        return self._read(query)


async def test_a_query_more_than_allowed_at_once_is_told_to_come_back(tmp_path: Path) -> None:
    with bench(tmp_path, settings=DashboardSettings(query_at_once=2)) as rig:
        slow, body = Slow(rig), {"measurement": "cpu", "fields": ["usage_active"], "step": "5m"}
        held = [asyncio.create_task(ask(rig, body)) for _ in range(2)]
        await wait_until_async(lambda: slow.waiting == 2)

        problem = (await ask(rig, body, 429)).json()
        slow.go.set()
        await asyncio.gather(*held)

        assert "2 queries" in problem["detail"]
        await ask(rig, body)


async def test_a_store_that_hangs_is_given_up_and_the_page_is_not_blocked(tmp_path: Path) -> None:
    with bench(tmp_path, settings=DashboardSettings(query_timeout=0.2)) as rig:
        slow = Slow(rig)

        problem = await get(rig, "/api/v1/series?host=web-3&metric=cpu.usage_active", 504)
        alive = rig.client()
        answer = await alive.get("/healthz")
        slow.go.set()

        assert "within 0.2 s" in problem["detail"]
        assert answer.text == "ok\n"


async def test_a_store_that_hangs_takes_no_more_threads_than_there_are(tmp_path: Path) -> None:
    with bench(tmp_path, settings=DashboardSettings(query_timeout=0.2, dashboard_threads=2)) as rig:
        slow = Slow(rig)

        for _ in range(3):
            await asyncio.gather(*(get(rig, "/api/v1/series?host=a&metric=cpu.x", 504) for _ in range(3)))
        waiting = slow.waiting
        slow.go.set()

        assert waiting == 2
        await wait_until_async(lambda: rig.app.state.sources.threads._work_queue.empty())
        await get(rig, "/api/v1/series?host=a&metric=cpu.x")


async def test_the_catalogue_lists_what_hosts_sent_beyond_it(rig: Bench) -> None:
    found = await get(rig, "/api/v1/catalog")

    assert found["custom"] == [{"name": "shop_queue", "tags": ["queue"], "fields": ["consumers", "depth"]}]
    assert next(one for one in found["measurements"] if one["name"] == "cpu")["fields"][0]["unit"] == "percent"


async def test_alerts_have_the_promised_shape(rig: Bench) -> None:
    found = await get(rig, "/api/v1/alerts?state=firing&host=web-3")

    (alert,) = found["alerts"]
    promised = {
        "fingerprint",
        "rule",
        "state",
        "level",
        "health",
        "labels",
        "value",
        "threshold",
        "active_at",
        "fired_at",
        "resolved_at",
        "suppressed_by",
    }
    assert promised <= set(alert)
    assert (alert["fired_at"], alert["resolved_at"]) == (NOW_MS / 1000 - 840, None)
    assert len((await get(rig, "/api/v1/alerts"))["alerts"]) == 5
    assert [one["rule"] for one in (await get(rig, "/api/v1/alerts?state=inactive"))["alerts"]] == ["HighCPU"]


async def test_one_alert_says_who_was_told(rig: Bench) -> None:
    fingerprint = (await get(rig, "/api/v1/alerts?host=web-3"))["alerts"][0]["fingerprint"]

    alert = await get(rig, f"/api/v1/alerts/{fingerprint}")

    assert [one["receiver"] for one in alert["told"]] == ["slack-ops"]
    await get(rig, "/api/v1/alerts/ffff", 404)


async def test_ready_says_in_words_what_is_wrong(tmp_path: Path) -> None:
    checks = {"collector": lambda: "cannot be reached", "database": lambda: ""}
    with bench(tmp_path, ready=checks) as rig:
        wrong = await get(rig, "/readyz", 503)
        rig.store.fail = StoreUnavailable("no disk")
        worse = await get(rig, "/readyz", 503)

        assert wrong["problems"] == {"collector": "cannot be reached"}
        assert worse["problems"] == {"store": "no disk", "collector": "cannot be reached"}


async def test_alive_does_not_depend_on_the_store(rig: Bench) -> None:
    assert (await get(rig, "/readyz"))["ready"] is True
    rig.store.fail = StoreUnavailable("away")

    async with rig.client() as client:
        assert (await client.get("/healthz")).status_code == 200


async def test_metrics_are_prometheus_text(tmp_path: Path) -> None:
    with bench(tmp_path, vitals=lambda: {"fleetwatch_store": {"series": 12.0}}) as rig:
        async with rig.client() as client:
            answer = await client.get("/metrics")

        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert "fleetwatch_store_series 12.0" in answer.text


async def test_the_openapi_document_names_every_call(rig: Bench) -> None:
    paths = (await get(rig, "/api/openapi.json"))["paths"]

    assert {"/api/v1/hosts", "/api/v1/series", "/api/v1/query", "/api/v1/catalog", "/api/v1/alerts", "/healthz"} <= set(
        paths
    )
