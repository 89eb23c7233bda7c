"""Which addresses the dashboard listens on while it has no login, and its health as Prometheus text."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from fleetwatch_dashboard.metrics import prometheus_text
from fleetwatch_dashboard.server import DashboardServer
from fleetwatch_dashboard.settings import DashboardSettings, listen_address
from fleetwatch_proto.settings import ConfigError


@pytest.mark.parametrize(
    ("http", "address"),
    [
        ("127.0.0.1:7480", ("127.0.0.1", 7480)),
        ("[::1]:80", ("::1", 80)),
        ("localhost:0", ("localhost", 0)),
        ("127.9.9.9:1", ("127.9.9.9", 1)),
    ],
)
def test_loopback_addresses_are_listened_on(http: str, address: tuple[str, int]) -> None:
    assert listen_address(DashboardSettings(http=http)) == address


@pytest.mark.parametrize("http", ["0.0.0.0:7480", "[::]:7480", "192.0.2.7:80", "mon.example.com:80"])
def test_any_other_address_is_refused_in_words_until_a_proxy_asks_for_a_login(http: str) -> None:
    with pytest.raises(ConfigError, match="no login yet"):
        listen_address(DashboardSettings(http=http))

    assert listen_address(DashboardSettings(http=http, proxy_authenticates=True))[1] in (80, 7480)


@pytest.mark.parametrize("http", ["7480", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:70000", ":80"])
def test_what_is_no_address_is_refused(http: str) -> None:
    with pytest.raises(ConfigError, match="write address:port"):
        listen_address(DashboardSettings(http=http))


def test_a_taken_port_is_named() -> None:
    app = FastAPI()
    app.state.sources = SimpleNamespace(threads=None)

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}: cannot listen there"):
            DashboardServer(app, DashboardSettings(http=f"127.0.0.1:{port}"))


def test_vitals_become_prometheus_text_with_types_from_the_catalogue() -> None:
    text = prometheus_text({"fleetwatch_collector": {"agents": 3.0, "points": 12.0}, "fleetwatch_new": {"odd": 1.0}})

    assert "# TYPE fleetwatch_collector_agents gauge\nfleetwatch_collector_agents 3.0\n" in text
    assert "# HELP fleetwatch_collector_points_total taken\n" in text
    assert "# TYPE fleetwatch_collector_points_total counter\nfleetwatch_collector_points_total 12.0\n" in text
