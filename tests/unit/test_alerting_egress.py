"""Where receivers may be reached, and that the address that was checked is the one connected to."""

from __future__ import annotations

import ipaddress

import httpx
import pytest
from fleetwatch_alerting import egress
from fleetwatch_alerting.egress import Egress
from fleetwatch_alerting.errors import EgressRefused
from fleetwatch_alerting.outcome import Kind, Outcome
from fleetwatch_alerting.receivers.http import Answer, Sender

from tests.support.receivers import Answer as Scripted
from tests.support.receivers import Receiver

ACCEPTED = Scripted(204, "")

REFUSED = [
    *(
        "127.0.0.1",
        "127.8.9.1",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
    ),
    *("100.64.0.1", "100.127.255.254", "192.0.0.170", "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.9"),
    *("224.0.0.1", "240.0.0.1", "255.255.255.255", "192.88.99.1"),
    *(
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "::7f00:1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2002:7f00:1::",
    ),
    *("2001::1", "2001:db8::1", "fc00::1", "fd12:3456::1", "fe80::1", "fec0::1", "ff02::1", "100::1", "fe80::1%eth0"),
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "192.0.1.1", "2606:4700::1111", "2a00:1450:4001::1"]

SPELLINGS = [
    *("http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/"),
    *("http://0x7f.1/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://localhost/", "http://localhost./"),
    *("http://169.254.169.254/latest/meta-data", "http://a@127.0.0.1/", "http://127.0.0.1:80@127.0.0.1/"),
    *("http://[::ffff:7f00:1]/", "http://0/", "http://0.0.0.0/", "http://[::]/", "http://127.0.0.1%2f@example.com/"),
    *("http://①②⑦.⓪.⓪.①/", "http://127。0。0。1/"),
]


@pytest.mark.parametrize("address", REFUSED)
def test_an_address_inside_is_refused(address: str) -> None:
    with pytest.raises(EgressRefused, match="must not reach"):
        Egress().choose("h", [address])


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address: str) -> None:
    assert str(Egress().choose("h", [address])) == address


def test_one_address_inside_among_the_answers_refuses_all() -> None:
    with pytest.raises(EgressRefused):
        Egress().choose("rebinding.example.com", ["8.8.8.8", "127.0.0.1"])


def test_the_settings_may_allow_a_network() -> None:
    rules = Egress(egress.allow_list(["10.1.0.0/16"]))

    assert str(rules.choose("h", ["10.1.2.3"])) == "10.1.2.3"
    with pytest.raises(EgressRefused):
        rules.choose("h", ["10.2.0.1"])


def test_a_receiver_may_be_allowed_to_be_private() -> None:
    assert str(Egress().choose("h", ["192.168.1.1"], private=True)) == "192.168.1.1"


@pytest.mark.parametrize("url", SPELLINGS)
async def test_no_spelling_of_an_inside_address_connects(url: str) -> None:
    sender = Sender(Egress(), private=False, timeout_s=2)

    outcome = await sender.post(url, {}, {})

    await sender.close()
    assert isinstance(outcome, Outcome)
    assert outcome.kind in (Kind.REFUSED, Kind.RETRY)
    assert outcome.status in ("egress", "network"), "refused, or no address at all; never an answer"


async def test_the_answer_of_the_resolver_is_asked_for_once_and_used() -> None:
    asked = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["127.0.0.1"] if len(asked) == 1 else ["8.8.8.8"]

    with Receiver() as receiver:
        receiver.always = ACCEPTED
        sender = Sender(Egress(egress.allow_list(["127.0.0.0/8"])), private=False, timeout_s=5, resolve=resolve)
        answer = await sender.post(f"http://hooks.example.com:{receiver.port}/x", {}, {})
        await sender.close()

    assert isinstance(answer, Answer)
    assert asked == [("hooks.example.com", receiver.port)]
    assert receiver.requests[0].headers["Host"] == f"hooks.example.com:{receiver.port}"


async def test_a_canary_inside_hears_nothing() -> None:
    with Receiver() as canary:
        sender = Sender(Egress(), private=False, timeout_s=2)
        for host in ("127.0.0.1", "localhost", "[::1]", "2130706433"):
            await sender.post(f"http://{host}:{canary.port}/", {}, {})
        await sender.close()

    assert canary.requests == []


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as proxy, Receiver() as receiver:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        receiver.always = ACCEPTED
        sender = Sender(Egress(), private=True, timeout_s=5)
        await sender.post(receiver.url, {}, {})
        await sender.close()

    assert (len(receiver.requests), len(proxy.requests)) == (1, 0)


async def test_only_the_start_of_an_answer_is_read() -> None:
    with Receiver() as receiver:
        receiver.always = Scripted(418, "x" * 3_000_000)
        sender = Sender(Egress(), private=True, timeout_s=5)
        answer = await sender.post(receiver.url, {}, {})
        await sender.close()

    assert isinstance(answer, Answer)
    assert len(answer.body) == egress.MAX_ANSWER_BYTES


def test_the_name_stays_with_the_request_when_the_address_is_pinned() -> None:
    url, headers, extensions = egress.pinned(
        httpx.URL("https://hooks.example.com:8443/a?b=c"), ipaddress.ip_address("2606:4700::1111")
    )

    assert str(url) == "https://[2606:4700::1111]:8443/a?b=c"
    assert headers == {"Host": "hooks.example.com:8443"}
    assert extensions == {"sni_hostname": "hooks.example.com"}
