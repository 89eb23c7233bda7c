"""Requests to the process that has the data folder open, over the socket in it."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fleetwatch.console import Problem
from fleetwatch.process.control import NAME, ControlServer, ask
from fleetwatch_storage.errors import StoreUnavailable
from fleetwatch_storage.store import Progress


def backup(request: Mapping[str, Any], progress: Progress) -> Mapping[str, Any]:
    for done in range(3):
        progress(done, 2)
    return {"file": request["file"]}


def full(request: Mapping[str, Any], progress: Progress) -> Mapping[str, Any]:
    raise StoreUnavailable("the disk is full", reason="full")


def broken(request: Mapping[str, Any], progress: Progress) -> Mapping[str, Any]:
    raise RuntimeError("a secret path")


JOBS = {"backup": backup, "full": full, "broken": broken}


async def asked(folder: Path, request: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, list[tuple[int, int]]]:
    """What a request gives while a server runs, and the progress that was told."""
    server, told = ControlServer(folder, JOBS), list[tuple[int, int]]()
    await server.start()
    try:
        return await asyncio.to_thread(ask, folder, request, lambda done, total: told.append((done, total))), told
    finally:
        await server.stop()


async def test_a_request_tells_how_far_it_is_and_then_its_result(tmp_path: Path) -> None:
    result, told = await asked(tmp_path, {"do": "backup", "file": "x"})

    assert result == {"file": "x"}
    assert told == [(0, 2), (1, 2), (2, 2)]


async def test_a_folder_nested_deeper_than_a_socket_address_is_long(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 40)
    folder.mkdir()

    result, _ = await asked(folder, {"do": "backup", "file": "x"})

    assert result == {"file": "x"}


@pytest.mark.parametrize(
    ("do", "words"), [("full", "the disk is full"), ("broken", "nobody foresaw"), ("reboot", "cannot do 'reboot'")]
)
async def test_what_fails_is_said_in_words(tmp_path: Path, do: str, words: str) -> None:
    with pytest.raises(Problem, match=words) as caught:
        await asked(tmp_path, {"do": do})

    assert "secret" not in str(caught.value)


async def test_nobody_is_there_when_no_process_runs(tmp_path: Path) -> None:
    assert await asyncio.to_thread(ask, tmp_path, {"do": "backup"}, lambda done, total: None) is None


async def test_a_socket_that_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    first = ControlServer(tmp_path, JOBS)
    await first.start()

    result, _ = await asked(tmp_path, {"do": "backup", "file": "x"})

    assert result == {"file": "x"}


async def test_only_its_own_user_may_connect(tmp_path: Path) -> None:
    server = ControlServer(tmp_path, JOBS)
    await server.start()

    mode = (tmp_path / NAME).stat().st_mode
    await server.stop()

    assert stat.S_IMODE(mode) == 0o600
    assert not (tmp_path / NAME).exists()
