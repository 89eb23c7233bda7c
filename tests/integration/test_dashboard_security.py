"""Hostile text, hostile requests, and what every answer carries."""

from __future__ import annotations

import html.parser
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from fleetwatch_dashboard import security
from fleetwatch_dashboard.pages import templating
from fleetwatch_dashboard.settings import DashboardSettings
from fleetwatch_storage.hosts import Facts, Host
from fleetwatch_storage.metadata.hosts import Event
from jinja2 import Environment

from tests.support import fleet
from tests.support.dashboard import NOW_MS, Bench, bench

POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'"
STATIC = Path(security.__file__).parent / "static"
PAYLOADS = (
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    '"><img src=x onerror=alert(3)>',
    "'><svg/onload=alert(4)>",
    "' onmouseover='alert(5)",
    '" autofocus onfocus="alert(6)',
    "{{7*7}}{% raw %}",
    "javascript:alert(8)",
    "</title></style></textarea><script>alert(9)</script>",
    "<!--<script>alert(10)//",
    "\u2028alert(11)\u2029",
    "&lt;script&gt;alert(12)&lt;/script&gt;",
    "a/b?c=d&e=f#g",
    "../../etc/passwd",
    "%3Cscript%3Ealert(15)",
    "\u202eevil",
)


class Seen(html.parser.HTMLParser):
    """Elements and attributes of a page as a browser would have them."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, fleet.made_hosts(3)) as made:
        yield made


def poison(rig: Bench, text: str) -> str:
    """Puts the text everywhere an agent, an alert or an operator can put one; answers the host's name."""
    made = fleet.made_hosts(1)[0]
    bad = replace(made, name=text, tags={"role": text}, mount="/" + text, process=text)
    rig.directory.put(
        Host(
            text,
            text,
            {"role": text, "x": text},
            Facts(os=text, kernel=text, cpu_model=text, address=text, virtualization=text),
            text,
            NOW_MS - 1,
            NOW_MS - 1,
            goodbye_until_ms=0,
        )
    )
    frames = {frame.measurement: frame for frame in fleet.samples([bad], NOW_MS)}
    for name, frame in frames.items():
        if name not in ("cpu", "pressure"):
            frames[name] = replace(
                frame, tagsets=tuple(tuple((key, text) for key, _ in tags) for tags in frame.tagsets)
            )
    top = frames["process_top"]
    frames["process_top"] = replace(
        top, fields={**top.fields, "user": np.full(len(top), text, object), "name": np.full(len(top), text, object)}
    )
    frames[text] = replace(frames["temp"], measurement=text, fields={text: frames["temp"].fields["temp"]})
    rig.store.frames = frames
    labels = {"host": text, "path": text}
    for state, metric in (("firing", "disk.used_percent"), ("pending", text), ("inactive", text)):
        fleet.put_alert(
            rig.database,
            text,
            text + state,
            state=state,
            labels=labels | {"n": state},
            annotations={"summary": text},
            metric=metric,
            unit=text,
            value=1.0,
            active_at_ms=NOW_MS - 5000,
            fired_at_ms=NOW_MS - 4000,
            resolved_at_ms=NOW_MS - 1 if state == "inactive" else None,
        )
    rig.directory.record([Event(NOW_MS - 5, text, text, text)])
    return text


def dangers(page: str) -> list[str]:
    """Everything on a page that could run or load something it should not."""
    found = []
    for tag, attributes in Seen(page).tags:
        if tag == "script" and not (
            str(attributes.get("src", "")).startswith("/static/") or attributes.get("type") == "application/json"
        ):
            found.append(f"script {attributes}")
        if tag in ("img", "iframe", "object", "embed", "base", "style", "textarea"):
            found.append(tag)
        found += [f"{tag} {name}" for name in attributes if name.startswith("on") or name == "style"]
        found += [
            f"{tag} {name}={value}"
            for name, value in attributes.items()
            if name in ("href", "src", "action") and not _local(value or "")
        ]
    return found


def _local(address: str) -> bool:
    return address.startswith(("/", "#", "?")) and not address.startswith("//")


@pytest.mark.parametrize("text", PAYLOADS)
async def test_hostile_text_never_becomes_markup(rig: Bench, text: str) -> None:
    name = poison(rig, text)

    async with rig.client(accept="text/html") as client:
        pages = [
            await client.get("/"),
            await client.get("/", params={"q": text, "sort": "cpu"}),
            await client.get("/hosts/" + templating._path(name)),
            await client.get("/alerts"),
            await client.get("/hosts/" + templating._path(name + "x")),
            await client.get("/", params={"sort": text}),
        ]

    assert [page.status_code for page in pages] == [200, 200, 200, 200, 404, 400]
    assert [dangers(page.text) for page in pages] == [[]] * 6


async def test_the_check_above_sees_markup_where_escaping_is_off(rig: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Environment.__init__
    monkeypatch.setattr(Environment, "__init__", lambda self, **options: plain(self, **options | {"autoescape": False}))
    unsafe = templating.Templates(title="t", static="/static/x")
    rig.app.state.templates = unsafe
    poison(rig, "<script>alert(1)</script>")

    async with rig.client(accept="text/html") as client:
        page = await client.get("/")

    assert dangers(page.text)


@pytest.mark.parametrize("text", PAYLOADS[:6])
async def test_hostile_text_in_the_data_of_the_script_stays_text(rig: Bench, text: str) -> None:
    name = poison(rig, text)

    async with rig.client(accept="text/html") as client:
        page = (await client.get("/hosts/" + templating._path(name))).text

    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert block is not None
    assert json.loads(block[1])["host"] == text


async def test_every_answer_carries_the_policy(rig: Bench) -> None:
    async with rig.client() as client:
        answers = [
            await client.get(path)
            for path in ("/", "/hosts/web-3", "/api/v1/hosts", "/nothing", "/healthz", "/api/v1/series")
        ]
        answers.append(await client.post("/api/v1/query", content="{"))

    for answer in answers:
        assert answer.headers["content-security-policy"].startswith(POLICY + "; frame-ancestors 'none'")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "unsafe" not in answer.headers["content-security-policy"]


async def test_answers_are_not_kept_by_caches_but_static_files_are(rig: Bench) -> None:
    async with rig.client() as client:
        page = await client.get("/")
        style = await client.get(re.search(r'href="(/static/[^"]+\.css)"', page.text)[1])  # type: ignore[index]

    assert page.headers["cache-control"] == "no-store"
    assert "immutable" in style.headers["cache-control"]
    assert style.headers["content-security-policy"]


@pytest.mark.parametrize("name", ["evil.example", "evil.example:80", "localhost.evil.example", ""])
async def test_a_page_is_only_given_to_a_browser_that_asked_for_us_by_name(rig: Bench, name: str) -> None:
    async with rig.client() as client:
        assert (await client.get("/", headers={"host": name})).status_code == 400


@pytest.mark.parametrize("name", ["127.0.0.1:7480", "localhost", "[::1]:7480"])
async def test_our_own_names_are_answered(rig: Bench, name: str) -> None:
    async with rig.client() as client:
        assert (await client.get("/healthz", headers={"host": name})).status_code == 200


async def test_a_body_that_is_too_large_or_has_no_length_is_not_read(tmp_path: Path) -> None:
    with bench(tmp_path, settings=DashboardSettings(body_bytes=100)) as rig:

        async def pieces() -> object:  # type: ignore[misc]
            yield b"{}"

        async with rig.client() as client:
            large = await client.post("/api/v1/query", content=b"x" * 101)
            endless = await client.post("/api/v1/query", content=pieces())  # type: ignore[arg-type]

        assert (large.status_code, endless.status_code) == (413, 411)
        assert large.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/", "/hosts/web-3", "/api/v1/hosts", "/api/v1/alerts"])
async def test_nothing_can_be_changed(rig: Bench, method: str, path: str) -> None:
    async with rig.client() as client:
        answer: httpx.Response = await client.request(method, path)

    assert answer.status_code == 405


@pytest.mark.parametrize(
    "path", ["/static/../settings.py", "/static/%2e%2e/settings.py", "/static/x/css/fleetwatch.css", "/static"]
)
async def test_nothing_but_our_static_files_can_be_read(rig: Bench, path: str) -> None:
    async with rig.client() as client:
        assert (await client.get(path)).status_code == 404
        version = re.search(r"/static/(\w+)/", (await client.get("/")).text)[1]  # type: ignore[index]
        assert (await client.get(f"/static/{version}/..%2f..%2fsettings.py")).status_code == 404


def test_scripts_put_text_into_pages_only_as_text() -> None:
    risky = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\('(on|style)"
    )

    found = [file.name for file in (STATIC / "js").glob("*.js") if risky.search(file.read_text())]

    assert found == []


def test_the_style_sheet_and_the_templates_load_nothing_from_elsewhere() -> None:
    files = [*(STATIC / "css").glob("*"), *(STATIC / "js").glob("*"), *templating.FOLDER.glob("*.j2")]
    outside = re.compile(r"""(src|href|url\(|import|fetch\()\s*=?\s*["'(]?\s*(https?:)?//""")

    assert [file.name for file in files if outside.search(file.read_text())] == []
    assert [
        file.name for file in templating.FOLDER.glob("*.j2") if re.search(r'\sstyle="|\son\w+="', file.read_text())
    ] == []
