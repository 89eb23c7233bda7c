"""Addresses, data folders, default places and vitals of a server process."""

from __future__ import annotations

import errno
import socket
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from fleetwatch.process import folder
from fleetwatch.process.addresses import bind, check_free, in_words, shown, split_address
from fleetwatch.process.machine_http import MachineHttp
from fleetwatch.process.vitals import VitalsWriter
from fleetwatch.settings import default_data_dir
from fleetwatch_proto.settings import ConfigError
from fleetwatch_storage.errors import StoreUnavailable
from fleetwatch_storage.frames import Frame


@pytest.mark.parametrize(
    ("text", "expected"), [("127.0.0.1:7400", ("127.0.0.1", 7400)), ("[::1]:0", ("::1", 0)), ("a.b:1", ("a.b", 1))]
)
def test_addresses_are_read(text: str, expected: tuple[str, int]) -> None:
    assert split_address(text, "grpc") == expected


@pytest.mark.parametrize("text", ["7400", ":7400", "a:", "a:x", "a:65536", ""])
def test_what_is_not_an_address_is_named_with_its_setting(text: str) -> None:
    with pytest.raises(ConfigError, match=r"grpc = .*write address:port"):
        split_address(text, "grpc")


def test_a_taken_port_is_explained() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        with pytest.raises(ConfigError, match="the port is taken, perhaps by another fleetwatch") as caught:
            check_free(address, "http")

    assert "choose another with --http" in str(caught.value)
    check_free(address, "http")


def test_an_address_of_another_machine_is_explained() -> None:
    with pytest.raises(ConfigError, match="this machine does not have that address"):
        bind("192.0.2.1", 0, "grpc")


def test_a_forbidden_port_is_explained() -> None:
    assert "need root" in in_words(PermissionError(errno.EACCES, "denied"), 80, "http")


def test_an_address_is_shown_with_the_port_that_was_taken() -> None:
    assert shown("[::1]:0", 1234) == "[::1]:1234"


def test_a_data_folder_is_made_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"

    folder.prepare(path)

    assert path.stat().st_mode & 0o007 == 0
    assert list(path.iterdir()) == []


def test_a_file_in_place_of_the_data_folder_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match=r"data_dir = .*it is not a folder"):
        folder.prepare(tmp_path / "file" / "data")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EACCES, "may not write there"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "cannot be used"),
    ],
)
def test_every_way_a_folder_fails_has_words(number: int, words: str, tmp_path: Path) -> None:
    assert words in folder.in_words(OSError(number, "what the system says"), tmp_path)


def test_the_default_data_folder_follows_the_user() -> None:
    assert default_data_dir({}, is_root=True) == Path("/var/lib/fleetwatch")
    assert default_data_dir({"HOME": "/home/a"}, is_root=False) == Path("/home/a/.local/state/fleetwatch")
    assert default_data_dir({"XDG_STATE_HOME": "/s", "HOME": "/h"}, is_root=False) == Path("/s/fleetwatch")


def test_without_a_home_the_data_folder_has_to_be_named() -> None:
    with pytest.raises(ConfigError, match="name a folder with --data-dir"):
        default_data_dir({}, is_root=False)


class Stored:
    """Takes frames; away while `away` is set."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.away = False

    def write(self, frames: list[Frame]) -> None:
        if self.away:
            raise StoreUnavailable("gone")
        self.frames += frames


async def test_vitals_of_every_part_are_one_row_under_the_hosts_name() -> None:
    stored = Stored()
    parts = {"fleetwatch_collector": lambda: {"agents": 3.0}, "fleetwatch_alerting": dict[str, float]}

    await VitalsWriter(parts, "monitor", stored.write, 10.0).write_once(1000)

    (frame,) = stored.frames
    assert (frame.measurement, frame.hosts, list(frame.time)) == ("fleetwatch_collector", ("monitor",), [1000])
    assert frame.fields["agents"][0] == 3.0


async def test_vitals_go_on_after_the_store_was_away() -> None:
    stored = Stored()
    writer = VitalsWriter({"fleetwatch_store": lambda: {"series": 1.0}}, "monitor", stored.write, 10.0)
    stored.away = True

    await writer.write_once(1000)
    stored.away = False
    await writer.write_once(2000)

    assert [int(frame.time[0]) for frame in stored.frames] == [2000]


async def test_a_part_that_fails_to_say_how_it_is_does_not_end_the_writer() -> None:
    stored = Stored()

    def broken() -> dict[str, float]:
        raise RuntimeError("no figures")

    await VitalsWriter({"fleetwatch_store": broken}, "monitor", stored.write, 10.0).write_once(1000)

    assert stored.frames == []


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_machine_endpoints_answer_and_say_in_words_what_is_wrong() -> None:
    state = (False, "the store is away")
    server = MachineHttp("127.0.0.1:0", lambda: b"figures 1\n", lambda: state)
    try:
        answers = [get(server.port, path) for path in ("/metrics", "/healthz", "/readyz", "/other")]
        state = (True, "")
        ready = get(server.port, "/readyz?x=1")
    finally:
        server.close()

    assert answers[0] == (200, "figures 1\n")
    assert answers[1] == (200, "ok\n")
    assert answers[2] == (503, "the store is away\n")
    assert answers[3][0] == 404
    assert ready == (200, "ready\n")
    assert "machine http" not in [thread.name for thread in threading.enumerate()]
