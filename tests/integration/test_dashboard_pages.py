"""The pages over a made-up fleet: what they say, what they ask the store, what happens on bad days."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleetwatch_dashboard.settings import DashboardSettings
from fleetwatch_storage.errors import StoreUnavailable

from tests.support import fleet
from tests.support.dashboard import NOW_MS, Bench, bench


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path) as made:
        yield made


async def page(rig: Bench, address: str, status: int = 200) -> str:
    async with rig.client(accept="text/html") as client:
        answer = await client.get(address)
    assert answer.status_code == status, answer.text[:500]
    return answer.text


def text_of(page: str) -> str:
    """What a reader sees: no tags, blanks as one."""
    return (
        " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())
        .replace(" .", ".")
        .replace(" ,", ",")
        .replace("( ", "(")
        .replace(" )", ")")
    )


def hosts_in(page: str) -> list[str]:
    return re.findall(r'<tr data-status="\w+" data-host="([^"]+)">', page)


async def test_the_fleet_page_counts_states_and_puts_the_worst_first(rig: Bench) -> None:
    found = await page(rig, "/")

    assert hosts_in(found)[:5] == ["web-3", "db-1", "db-2", "edge-ams-2", "build-4"]
    assert "1 Critical" in text_of(found)
    assert "2 Warning" in text_of(found)
    assert "16 OK" in text_of(found)


async def test_a_row_says_why_under_its_name_and_a_silent_host_gets_a_sentence(rig: Bench) -> None:
    seen = text_of(await page(rig, "/"))

    assert "web-3 HighCPU, 14 m" in seen
    assert "edge-ams-2 HostDown pending, 1 m Last sample 09:58:46." in seen
    assert "build-4 agent stopped, back by 10:15 UTC" in seen


async def test_incidents_say_what_where_since_when_and_who_was_told(rig: Bench) -> None:
    seen = text_of(await page(rig, "/"))

    assert "CPU 97.4 % on web-3 HighCPU, above 95 % Host web-3 Since 09:46 14 m Top process ffmpeg" in seen
    assert "Disk /var/lib/postgresql on 2 hosts DiskFilling, above 84 % Hosts db-1, db-2" in seen
    assert "Told slack-ops ✓" in seen


async def test_a_page_asks_the_store_three_questions_however_many_hosts(rig: Bench) -> None:
    await page(rig, "/")

    assert sorted(query.measurement for query in rig.store.asked) == ["cpu", "mem", "net"]


async def test_the_filter_narrows_the_table_and_says_what_it_did_not_understand(rig: Bench) -> None:
    found = await page(rig, "/?q=tag:db+speed>3")

    assert hosts_in(found) == ["db-1", "db-2"]
    assert "speed>3: no column speed" in text_of(found)
    assert "No host fits this filter" in text_of(await page(rig, "/?q=nothing-like-it"))


async def test_columns_sort_and_long_tables_have_pages(tmp_path: Path) -> None:
    with bench(tmp_path, settings=DashboardSettings(page_hosts=5)) as rig:
        by_cpu = await page(rig, "/?sort=cpu")
        second = await page(rig, "/?sort=name&page=2")
        past_the_end = await page(rig, "/?sort=name&page=99")

        assert hosts_in(by_cpu)[:2] == ["web-3", "build-1"]
        assert (
            hosts_in(second) == ["cache-1", "cache-2", "db-1", "db-2", "edge-ams-2"][-5:] or len(hosts_in(second)) == 5
        )
        assert "page 2 of 5" in text_of(second)
        assert len(hosts_in(past_the_end)) == 1


@pytest.mark.parametrize(
    "address", ["/?sort=colour", "/?page=x", "/?page=0", "/?range=5", "/?from=yesterday", "/hosts/web-3?range=1y"]
)
async def test_what_a_page_cannot_understand_is_a_page_that_says_so(rig: Bench, address: str) -> None:
    found = await page(rig, address, 400)

    assert "Bad Request" in text_of(found)
    assert "<script type=module" not in found


async def test_an_empty_fleet_says_what_to_do(tmp_path: Path) -> None:
    with bench(tmp_path, []) as rig:
        seen = text_of(await page(rig, "/"))

        assert "No hosts yet" in seen
        assert "fleetwatch agent run --collector" in seen


async def test_the_host_page_shows_facts_firing_tiles_disks_processes_and_events(rig: Bench) -> None:
    seen = text_of(await page(rig, "/hosts/web-3"))

    assert "99.78 % complete, 0 lost" in seen
    assert "Address 10.20.4.13 OS Debian 12.7" in seen
    assert "HighCPU critical 97.4 %, above 95 % since 09:46:00 (14 m)." in seen
    assert "I/O pressure some, 10 s" in seen
    assert "Disk space 2 mounts" in seen
    assert "ffmpeg www-data" in seen
    assert "Agent stopped upgrade 0.0.9 to 0.1.0 by apt" in seen
    assert "HighCPU firing CPU 97.4 %, above 95 %" in seen


async def test_the_host_page_has_a_card_for_everything_the_host_sends(rig: Bench) -> None:
    found = await page(rig, "/hosts/web-3")

    cards = re.findall(r'id="card-([^"]+)"', found)

    assert cards == [
        "cpu",
        "mem",
        "pressure",
        "load",
        "disk",
        "diskio",
        "net",
        "temp",
        "custom-shop_queue",
        "processes",
        "events",
    ]


async def test_the_page_tells_its_script_what_to_draw(rig: Bench) -> None:
    found = await page(rig, "/hosts/web-3")

    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', found, re.S)[1])  # type: ignore[index]

    assert data["thresholds"]["cpu.usage_active"] == [
        {"level": "warn", "at": 85.0, "below": False},
        {"level": "crit", "at": 95.0, "below": False},
    ]
    assert [(band["rule"], band["to"]) for band in data["alerts"]] == [("HighCPU", None)]
    assert {event["kind"] for event in data["events"]} == {"agent_stopped", "agent_started", "clock_step"}
    assert data["span"]["range"] == "1h"


async def test_a_fixed_range_shows_the_processes_of_its_end(rig: Bench) -> None:
    end = (NOW_MS - 30 * 60_000) // 1000

    found = await page(rig, f"/hosts/web-3?from={end - 600}&to={end}")

    assert "php-fpm8.3 www-data" in text_of(found)
    assert "ffmpeg" not in text_of(found).replace("Processes", "")


async def test_neighbours_go_round_the_fleet_by_name(rig: Bench) -> None:
    found = await page(rig, "/hosts/api-1")

    assert 'data-previous="/hosts/web-4"' in found
    assert 'data-next="/hosts/api-2"' in found


async def test_an_unknown_host_is_a_page_that_says_so(rig: Bench) -> None:
    assert "no host of this name" in text_of(await page(rig, "/hosts/nobody", 404))


async def test_a_host_that_never_sent_anything_has_a_page(tmp_path: Path) -> None:
    with bench(tmp_path, fleet.made_hosts(2)) as rig:
        rig.store.frames.clear()

        seen = text_of(await page(rig, "/hosts/db-1"))

        assert "No process table at this time." in seen
        assert "db-1" in text_of(await page(rig, "/"))


async def test_the_alerts_page_has_three_lists(rig: Bench) -> None:
    seen = text_of(await page(rig, "/alerts"))

    assert "3 firing · 2 pending · 1 ended" in seen
    assert "HighCPU on web-3 97.4 % above 95 %" in seen
    assert "HostDown on edge-ams-2 – no data" in seen
    assert "HighCPU on build-1 98.2 % 6 m" in seen


async def test_the_title_and_the_icon_carry_how_many_fire(rig: Bench) -> None:
    found = await page(rig, "/")

    assert "<title>(3) Fleet · fleetwatch</title>" in found
    assert "favicon-firing.svg" in found


async def test_a_store_that_is_away_is_a_page_that_says_so_and_comes_back(rig: Bench) -> None:
    rig.store.fail = StoreUnavailable("the disk is full", reason="full")
    away = await page(rig, "/", 503)
    rig.store.fail = None

    assert "the disk is full" in text_of(away)
    assert hosts_in(await page(rig, "/"))


async def test_a_fault_of_ours_tells_nothing_about_itself(rig: Bench) -> None:
    rig.store.fail = RuntimeError("secret path /var/lib")

    found = await page(rig, "/", 500)

    assert "secret path" not in found


async def test_the_reference_lists_every_call(rig: Bench) -> None:
    seen = text_of(await page(rig, "/api/docs"))

    assert "GET /api/v1/series" in seen
    assert "POST /api/v1/query" in seen


async def test_times_on_pages_carry_their_zone(rig: Bench) -> None:
    found = await page(rig, "/")

    stamps = re.findall(r'<time datetime="([^"]+)"', found)

    assert stamps and all(stamp.endswith("Z") for stamp in stamps)
