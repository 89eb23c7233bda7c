"""The pages in a real browser: drawing, live values, zoom, themes, keys, phone width; no complaint is tolerated.

Pictures go to the folder FLEETWATCH_SCREENSHOTS names, else to the test's own.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fleetwatch_storage.frames import Frame
from playwright.sync_api import BrowserContext, Page, Playwright, expect, sync_playwright

from tests.support import fleet
from tests.support.browser import CHROMIUM, PHONE, WIDE, Complaints, Served, browser, screenshots
from tests.support.dashboard import Bench, bench

pytestmark = pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="chromium is not installed")

_TICKS = itertools.count(1)
CHARTS = ("cpu", "mem", "pressure", "load", "diskio", "net", "temp", "custom-shop_queue")


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = fleet.made_hosts(30)
    with bench(tmp_path_factory.mktemp("fleet"), made, now_ms=fleet.now_ms()) as found:
        yield found


@pytest.fixture(scope="module")
def served(rig: Bench) -> Iterator[Served]:
    server = Served(rig.app)
    yield server
    server.close()


@pytest.fixture
def wide(playwright: Playwright, tmp_path: Path) -> Iterator[BrowserContext]:
    with browser(playwright, tmp_path / "profile", WIDE) as context:
        yield context


@pytest.fixture
def phone(playwright: Playwright, tmp_path: Path) -> Iterator[BrowserContext]:
    with browser(playwright, tmp_path / "profile", PHONE, has_touch=True) as context:
        yield context


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    found = Complaints()
    yield found
    assert found.found == []


def opened(context: BrowserContext, complaints: Complaints, address: str) -> Page:
    page = context.new_page()
    complaints.watch(page)
    page.goto(address)
    return page


def drawn(page: Page, card: str) -> None:
    """Waits until a card has drawn something."""
    page.locator(f"#card-{card}").scroll_into_view_if_needed()
    expect(page.locator(f"#card-{card} .legend b").first).not_to_have_text("")
    expect(page.locator(f"#card-{card} canvas")).to_have_count(1)


def push(rig: Bench, served: Served, change: Callable[[str, str, Any], Any]) -> None:
    frames: list[Frame] = fleet.next_tick(rig.store, rig.now_ms + next(_TICKS) * 1000, change)
    served.call(lambda: rig.live.push(frames))


def plot(page: Page, card: str = "cpu") -> dict[str, float]:
    box = page.locator(f"#card-{card} .u-over").bounding_box()
    assert box is not None
    return dict(box)


def drag(page: Page, from_share: float, to_share: float) -> None:
    box = plot(page)
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * from_share, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * to_share, y, steps=6)
    page.mouse.up()


def no_wider_than_the_screen(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def colour(page: Page, selector: str) -> str:
    return str(page.eval_on_selector(selector, "el => getComputedStyle(el).backgroundColor"))


def test_the_fleet_page_is_drawn(wide: BrowserContext, served: Served, complaints: Complaints, tmp_path: Path) -> None:
    page = opened(wide, complaints, served.url)

    expect(page.locator("#live .word")).to_have_text("Live")
    expect(page.locator("tr[data-host]")).to_have_count(30)
    assert page.locator("tr[data-host] .spark polyline").count() > 50
    assert no_wider_than_the_screen(page)
    page.screenshot(path=screenshots(tmp_path) / "fleet-light-1440.png")


def test_every_chart_of_the_host_page_is_drawn(
    wide: BrowserContext, served: Served, complaints: Complaints, tmp_path: Path
) -> None:
    page = opened(wide, complaints, f"{served.url}/hosts/web-3")

    for card in CHARTS:
        drawn(page, card)

    label = page.locator("#card-cpu .chart").get_attribute("aria-label") or ""
    assert re.match(r"\d\d:\d\d:\d\d: user \d+(\.\d+)? %, system", label)
    page.set_viewport_size({"width": 1440, "height": page.evaluate("document.documentElement.scrollHeight")})
    page.screenshot(path=screenshots(tmp_path) / "host-light-1440.png")


def test_a_live_value_changes_on_the_fleet_page(
    wide: BrowserContext, served: Served, rig: Bench, complaints: Complaints
) -> None:
    page = opened(wide, complaints, served.url)
    expect(page.locator("#live .word")).to_have_text("Live")

    push(rig, served, lambda _measurement, field, value: value * 0 + 43 if field == "usage_active" else value)

    row = page.locator('tr[data-host="api-1"]')
    expect(row.locator("[data-v=cpu]")).to_have_text("43")
    expect(row.locator("[data-m=cpu]")).to_have_attribute("width", "43.0")
    expect(row.locator(".age")).to_have_text(re.compile(r"^[0-5] s$"))


def test_live_values_reach_tiles_charts_and_processes_of_the_host_page(
    wide: BrowserContext, served: Served, rig: Bench, complaints: Complaints
) -> None:
    page = opened(wide, complaints, f"{served.url}/hosts/web-1")
    drawn(page, "cpu")
    expect(page.locator("#live .word")).to_have_text("Live")

    def change(_measurement: str, field: str, value: Any) -> Any:
        if field == "name":
            value[:] = "brand-new"
            return value
        return value * 0 + 12.5 if field in ("usage_active", "usage_user") else value

    push(rig, served, change)

    expect(page.locator(".tile [data-metric='cpu.usage_active']")).to_have_text("12.5 %")
    expect(page.locator("#card-cpu .legend b").first).to_have_text("12.5 %")
    expect(page.locator("#processes tbody tr").first).to_contain_text("brand-new")


def test_a_paused_page_stands_still(wide: BrowserContext, served: Served, rig: Bench, complaints: Complaints) -> None:
    page = opened(wide, complaints, served.url)
    expect(page.locator("#live .word")).to_have_text("Live")
    cell = page.locator('tr[data-host="api-2"] [data-v=cpu]')
    page.click("#live")
    expect(page.locator("#live .word")).to_have_text("Paused")
    before = cell.text_content()

    push(rig, served, lambda _measurement, field, value: value * 0 + 77 if field == "usage_active" else value)
    page.click("#live")
    push(rig, served, lambda _measurement, field, value: value * 0 + 78 if field == "usage_active" else value)

    expect(cell).to_have_text("78")
    assert before not in ("77", "78")


def test_dragging_zooms_the_whole_page_into_the_address_and_back_works(
    wide: BrowserContext, served: Served, complaints: Complaints
) -> None:
    page = opened(wide, complaints, f"{served.url}/hosts/web-3")
    drawn(page, "cpu")

    drag(page, 0.4, 0.6)

    page.wait_for_url(re.compile(r"from=\d+&to=\d+"))
    start, end = map(int, re.findall(r"(?:from|to)=(\d+)", page.url))
    assert 600 < end - start < 900
    expect(page.locator("#live .word")).to_have_text("Past")
    expect(page.locator("#range summary")).to_contain_text("1")
    expect(page.locator("#moment")).to_be_visible()
    page.go_back()
    page.wait_for_url(f"{served.url}/hosts/web-3")
    expect(page.locator("#live .word")).to_have_text("Live")


def test_a_double_click_goes_back_to_the_range_before(
    wide: BrowserContext, served: Served, complaints: Complaints
) -> None:
    page = opened(wide, complaints, f"{served.url}/hosts/web-3")
    drawn(page, "cpu")
    drag(page, 0.2, 0.5)
    page.wait_for_url(re.compile(r"from="))
    drawn(page, "cpu")
    box = plot(page)

    page.mouse.dblclick(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    page.wait_for_url(f"{served.url}/hosts/web-3")


def test_a_click_locks_the_moment_and_shows_its_processes(
    wide: BrowserContext, served: Served, complaints: Complaints, tmp_path: Path
) -> None:
    page = opened(wide, complaints, f"{served.url}/hosts/web-3")
    drawn(page, "cpu")
    expect(page.locator("#processes tbody tr").first).to_contain_text("ffmpeg")
    box = plot(page)

    with page.expect_response(re.compile(r"/api/v1/processes\?")) as asked:
        page.mouse.click(box["x"] + box["width"] * 0.1, box["y"] + 60)

    assert asked.value.ok
    expect(page.locator("#moment")).to_contain_text("at ")
    expect(page.locator("#processes tbody tr").first).to_contain_text("php-fpm8.3")
    page.screenshot(path=screenshots(tmp_path) / "host-locked-1440.png")
    page.keyboard.press("Escape")
    expect(page.locator("#moment")).to_be_hidden()
    expect(page.locator("#processes tbody tr").first).to_contain_text("ffmpeg")


def test_a_link_may_carry_the_locked_moment(
    wide: BrowserContext, served: Served, rig: Bench, complaints: Complaints
) -> None:
    at = rig.now_ms // 1000 - 3000

    page = opened(wide, complaints, f"{served.url}/hosts/web-3?range=1h&at={at}")

    expect(page.locator("#unlock")).to_be_visible()
    expect(page.locator("#processes tbody tr").first).to_contain_text("php-fpm8.3")


def test_processes_sort_by_what_is_asked_for(wide: BrowserContext, served: Served, complaints: Complaints) -> None:
    page = opened(wide, complaints, f"{served.url}/hosts/db-2")

    page.locator("#card-processes").scroll_into_view_if_needed()
    page.click("[data-key=rss]")

    expect(page.locator("#processes tbody tr").first).to_contain_text("2.8 GiB")
    expect(page.locator("#processes th[aria-sort]")).to_have_text("RSS")


def test_the_theme_changes_stays_and_redraws(
    wide: BrowserContext, served: Served, complaints: Complaints, tmp_path: Path
) -> None:
    page = opened(wide, complaints, f"{served.url}/hosts/web-3")
    drawn(page, "cpu")
    light = colour(page, "body")

    page.keyboard.press("t")
    page.keyboard.press("t")
    dark = colour(page, "body")
    page.reload()

    assert (light, dark) == ("rgb(244, 245, 247)", "rgb(12, 15, 20)")
    assert colour(page, "body") == dark
    drawn(page, "cpu")
    page.screenshot(path=screenshots(tmp_path) / "host-dark-1440.png")
    page.goto(served.url)
    page.screenshot(path=screenshots(tmp_path) / "fleet-dark-1440.png")


def test_keys_lead_through_the_pages(wide: BrowserContext, served: Served, complaints: Complaints) -> None:
    page = opened(wide, complaints, served.url)
    page.keyboard.press("/")
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.type("tag:db")
    expect(page.locator("tr[data-host]")).to_have_count(2)
    assert "q=tag%3Adb" in page.url

    page.goto(f"{served.url}/hosts/api-1")
    page.keyboard.press("j")
    page.wait_for_url(f"{served.url}/hosts/api-2")
    page.keyboard.press("k")
    page.wait_for_url(f"{served.url}/hosts/api-1")
    page.keyboard.press("3")
    page.wait_for_url(re.compile(r"range=6h"))
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()


def test_cards_switch_devices_and_views_and_show_their_values(
    wide: BrowserContext, served: Served, complaints: Complaints
) -> None:
    page = opened(wide, complaints, f"{served.url}/hosts/web-1")
    drawn(page, "net")
    card = page.locator("#card-net")

    card.locator("select").select_option("lo")
    expect(card.locator(".legend b").first).to_contain_text("kbit/s")
    card.locator("[data-view='1']").click()
    expect(card.locator(".legend li")).to_have_count(4)
    card.locator("[data-do=table]").click()

    assert card.locator(".values tbody tr").count() > 50


def test_gaps_are_hatched_and_named(wide: BrowserContext, served: Served, complaints: Complaints) -> None:
    page = opened(wide, complaints, f"{served.url}/hosts/web-3")
    drawn(page, "cpu")
    box = plot(page)

    page.mouse.move(box["x"] + box["width"] * (1 - 39.5 / 60), box["y"] + 60)

    expect(page.locator("#card-cpu .tip footer")).to_have_text(re.compile("agent stopped 3 m"))


def test_the_pages_fit_a_phone(phone: BrowserContext, served: Served, complaints: Complaints, tmp_path: Path) -> None:
    page = opened(phone, complaints, served.url)
    expect(page.locator(".tabbar")).to_be_visible()
    assert no_wider_than_the_screen(page)
    expect(page.locator("#live .word")).to_have_text("Live")
    assert no_wider_than_the_screen(page)
    page.screenshot(path=screenshots(tmp_path) / "fleet-light-390.png")

    page.goto(f"{served.url}/hosts/web-3")
    for card in CHARTS:
        drawn(page, card)
    assert no_wider_than_the_screen(page)
    page.screenshot(path=screenshots(tmp_path) / "host-light-390.png", full_page=True)

    page.goto(f"{served.url}/alerts")
    assert no_wider_than_the_screen(page)


def test_tables_and_numbers_work_without_a_script(playwright: Playwright, served: Served, tmp_path: Path) -> None:
    with browser(playwright, tmp_path / "profile", WIDE, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(f"{served.url}/?sort=cpu")
        first = page.locator("tr[data-host] a.host").first.text_content()
        page.goto(f"{served.url}/hosts/web-3")

        assert first == "web-3"
        assert "ffmpeg" in (page.locator("#processes").text_content() or "")
        assert page.locator("noscript").count() == 1


def test_a_page_goes_on_by_polling_when_the_connection_cannot_be_made(playwright: Playwright, tmp_path: Path) -> None:
    with bench(tmp_path / "", fleet.made_hosts(3), now_ms=fleet.now_ms(), live=False) as rig:
        server = Served(rig.app)
        try:
            with browser(playwright, tmp_path / "profile", WIDE) as context:
                page = context.new_page()
                page.goto(server.url)

                expect(page.locator("#live .word")).to_have_text("Polling", timeout=20_000)
        finally:
            server.close()


def test_a_page_comes_back_by_itself_when_the_connection_was_lost(
    wide: BrowserContext, served: Served, rig: Bench, complaints: Complaints
) -> None:
    page = opened(wide, complaints, f"{served.url}/hosts/api-2")
    drawn(page, "cpu")
    expect(page.locator("#live .word")).to_have_text("Live")

    with page.expect_response(re.compile(r"/api/v1/series\?")):
        served.call(lambda: rig.live.push([None]))  # type: ignore[list-item]  # breaks every watch

    expect(page.locator("#live .word")).to_have_text("Live")
    shown = page.locator("#card-cpu .legend b").first
    for _ in range(20):  # what is pushed before the page has subscribed again is not for it
        push(rig, served, lambda _measurement, field, value: value * 0 + 9.5 if field == "usage_user" else value)
        page.wait_for_timeout(500)
        if shown.inner_text() == "9.5 %":
            break
    expect(shown).to_have_text("9.5 %")


def test_hostile_names_run_nothing(playwright: Playwright, tmp_path: Path) -> None:
    bad = "\"'><img src=x onerror=document.title='pwned'><script>document.title='pwned'</script>"
    made = [fleet.Made(bad, {"role": bad}, 5, 5, "/" + bad, 5, 5, 5, 5, 0.1, 40, bad, 1)]
    with bench(tmp_path, made, now_ms=fleet.now_ms(), incidents=False) as rig:
        fleet.put_alert(
            rig.database,
            bad,
            bad,
            metric="disk.used_percent",
            value=1.0,
            fired_at_ms=rig.now_ms,
            annotations={"summary": bad},
        )
        server, complaints = Served(rig.app), Complaints()
        try:
            with browser(playwright, tmp_path / "profile", WIDE) as context:
                page = opened(context, complaints, server.url)
                page.click("tr[data-host] a.host")
                drawn(page, "cpu")
                push(rig, server, lambda _measurement, _field, value: value)
                page.goto(f"{server.url}/alerts")

                assert "pwned" not in page.title()
                assert page.locator("img").count() == 0
        finally:
            server.close()
    assert complaints.found == []
