"""`fleetwatch up` as a real process: first values, stopping, history, and everything that keeps it from starting."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleetwatch_storage.archive import read_archive

from tests.support.conditions import wait_until
from tests.support.disks import SmallDisk, needs_root
from tests.support.up import Up, alive, fleetwatch

FIRST_VALUE_CPU_S = 8.0
"""Of all processes together. A quiet machine needs less than half; a busy one counts more for the same work."""
STOP_S = 10.0
HOST = socket.gethostname()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One `fleetwatch up` for the tests that only look, with a first live value."""
    up = Up(tmp_path_factory.mktemp("up"))
    try:
        up.start()
        wait_until(up.live, within_s=60, every_s=0.1, what="a live value of this host")
        yield up
    finally:
        up.close()


def test_the_first_live_value_takes_little_processor_time(running: Up) -> None:
    assert running.usage().cpu_s < FIRST_VALUE_CPU_S


def test_the_page_and_the_machine_endpoints_answer(running: Up) -> None:
    assert "<html" in running.get("/")
    assert running.get("/healthz") == "ok\n"
    assert running.get("/readyz")["ready"] is True
    assert "fleetwatch_collector_agents" in running.get("/metrics")


def test_the_host_is_listed_by_the_command_line(running: Up) -> None:
    wait_until(running.live, within_s=20, what="a live value of this host")

    done = fleetwatch("hosts", "--collector", f"127.0.0.1:{running.grpc}")

    assert done.returncode == 0
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:]] == [[HOST, "connected"]]


def test_the_process_stores_its_own_measurements_under_its_hosts_name(running: Up) -> None:
    def stored() -> list[str]:
        done = fleetwatch(
            "query", "fleetwatch_collector.agents", "--step", "raw", "--collector", f"127.0.0.1:{running.grpc}",
            "--format", "csv",
        )  # fmt: skip
        return done.stdout.splitlines()[1:]

    rows = wait_until(stored, within_s=30, every_s=0.5, what="a stored row of fleetwatch_collector")

    assert rows[0].split(",")[1:] == [HOST, "1.0"]


def test_written_lines_are_stored_and_wrong_ones_named_by_number(running: Up) -> None:
    collector = ("--collector", f"127.0.0.1:{running.grpc}")
    lines = b"backup,job=a duration=1\nbackup,job=b\n\n# a comment\nbackup,job=c duration=3i,ok=true\nno fields here\n"

    done = fleetwatch("write", *collector, "--format", "json", given=lines)
    asked = fleetwatch("query", "backup.duration", *collector, "--step", "raw", "--format", "csv")

    said = json.loads(done.stdout)
    assert done.returncode == 1
    assert (said["lines"], said["points"]) == (2, 3)
    assert [one["line"] for one in said["rejected"]] == [2, 6]
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == ["line 2", "line 6"]
    rows = [line.split(",")[1:] for line in asked.stdout.splitlines()]
    assert rows == [["host", "job", "duration"], [HOST, "a", "1.0"], [HOST, "c", "3.0"]]


def test_right_lines_alone_are_exit_code_0(running: Up) -> None:
    done = fleetwatch("write", "--collector", f"127.0.0.1:{running.grpc}", given=b"backup,job=d duration=4")

    assert (done.returncode, done.stdout, done.stderr) == (0, "1 lines stored (1 values), 0 refused\n", "")


def test_a_backup_is_made_while_it_runs(running: Up, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar"

    done = fleetwatch("backup", "--data-dir", str(running.data_dir), str(file))

    assert (done.returncode, done.stdout) == (0, f"{file}: metadata.sqlite and store.tar\n"), done.stderr
    assert read_archive(file, tmp_path / "again", lambda done, total: None) == ["metadata.sqlite", "store.tar"]


def doctor(running: Up, *options: str) -> tuple[int, dict[str, list[str]]]:
    """Exit code, and subjects by verdict."""
    where = (
        "--data-dir",
        str(running.data_dir),
        "--http",
        f"127.0.0.1:{running.http}",
        "--grpc",
        f"127.0.0.1:{running.grpc}",
    )
    done = fleetwatch("doctor", *where, "--collector", f"127.0.0.1:{running.grpc}", "--format", "json", *options)
    found: dict[str, list[str]] = {}
    for one in json.loads(done.stdout):
        found.setdefault(one["verdict"], []).append(one["subject"])
    return done.returncode, found


def test_the_doctor_finds_nothing_wrong_with_a_running_fleetwatch(running: Up) -> None:
    code, found = doctor(running)

    assert code == 0
    assert "wrong" not in found
    assert {"settings", "data folder", "permissions", "disk", "pages", "collector", "store"} <= set(found["ok"])


def test_the_doctor_says_what_is_wrong(running: Up, tmp_path: Path) -> None:
    rules, token = tmp_path / "rules.yaml", tmp_path / "token"
    rules.write_text("version: 1\nrulez: []\n")
    token.write_text("secret\n")
    token.chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, found = doctor(
            running, "--http", f"127.0.0.1:{taken.getsockname()[1]}", "--rules", str(rules), "--token-file", str(token)
        )

    assert code == 1
    assert {"pages", "rules", "secrets"} <= set(found["wrong"])


def test_an_agent_that_dies_is_started_again(running: Up) -> None:
    (first,) = wait_until(running.agents, what="the local agent")

    os.kill(first, signal.SIGKILL)
    (second,) = wait_until(lambda: [pid for pid in running.agents() if pid != first], what="another local agent")

    assert alive(second)


def stopped_by(up: Up, number: signal.Signals) -> float:
    """Seconds until it has ended, cleanly and with its agent."""
    agents = wait_until(up.agents, what="the local agent")
    asked = time.monotonic()
    os.kill(up.pid, number)
    code = up.wait(STOP_S + 5)
    assert code == 0, up.log
    assert not any(map(alive, agents))
    return time.monotonic() - asked


def test_signals_stop_everything_cleanly_and_the_next_start_shows_the_history(tmp_path: Path) -> None:
    up = Up(tmp_path)
    try:
        up.start()
        wait_until(up.live, within_s=60, every_s=0.1, what="a live value of this host")
        after_interrupt_s = stopped_by(up, signal.SIGINT)
        up.start()
        stored = fleetwatch(
            "query", "system.load1", "--step", "raw", "--collector", f"127.0.0.1:{up.grpc}", "--format", "csv"
        )
        after_term_s = stopped_by(up, signal.SIGTERM)
    finally:
        up.close()

    assert max(after_interrupt_s, after_term_s) < STOP_S
    assert len(stored.stdout.splitlines()) > 1
    assert "Traceback" not in up.log
    assert "leaked" not in up.log


def test_kill_9_takes_the_agent_along(tmp_path: Path) -> None:
    up = Up(tmp_path)
    try:
        up.start()
        agents = wait_until(up.agents, what="the local agent")
        up.kill()
        wait_until(lambda: not any(map(alive, agents)), what="the agent's end")
    finally:
        up.close()


def test_an_agent_that_hangs_does_not_keep_the_others_from_stopping(tmp_path: Path) -> None:
    up = Up(tmp_path)
    try:
        up.start()
        for agent in wait_until(up.agents, what="the local agent"):
            os.kill(agent, signal.SIGSTOP)
        took_s = stopped_by(up, signal.SIGTERM)
    finally:
        up.close()

    assert took_s < STOP_S
    assert "was killed" in up.log


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    up = Up(tmp_path)
    agents: list[int] = []
    try:
        up.start()
        agents = wait_until(up.agents, what="the local agent")
        for agent in agents:
            os.kill(agent, signal.SIGSTOP)  # so that stopping in order takes its time
        os.kill(up.pid, signal.SIGINT)
        wait_until(lambda: "stopping" in up.log, what="the first signal")
        asked = time.monotonic()
        os.kill(up.pid, signal.SIGINT)
        code = up.wait(STOP_S)
        took_s = time.monotonic() - asked
    finally:
        up.close()
        for agent in agents:
            os.kill(agent, signal.SIGKILL)  # stopped as it is, it cannot follow its parent

    assert code == 1
    assert took_s < 2


def refusal(*options: str, **environment: str) -> str:
    """The one sentence with which `fleetwatch up` refuses to start."""
    done = fleetwatch("up", "--no-agent", *options, **environment)
    assert done.returncode == 2, done.stderr
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("fleetwatch: ")]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return sentence


@pytest.mark.parametrize("option", ["http", "grpc"])
def test_a_taken_port_is_one_sentence(tmp_path: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        other = "grpc" if option == "http" else "http"

        said = refusal("--data-dir", str(tmp_path), f"--{option}", address, f"--{other}", "127.0.0.1:0")

    assert f"{option} = '{address}': the port is taken" in said


def test_a_second_process_on_the_same_store_is_refused(running: Up) -> None:
    said = refusal("--data-dir", str(running.data_dir), "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0")

    assert str(running.data_dir) in said
    assert "another process" in said


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    said = refusal("--data-dir", str(tmp_path / "file" / "data"), "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0")

    assert "it is not a folder" in said


def test_a_read_only_place_is_one_sentence() -> None:
    said = refusal("--data-dir", "/proc/fleetwatch", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0")

    assert "data_dir = '/proc/fleetwatch'" in said


@pytest.mark.parametrize("file", ["metadata.sqlite", "store/hot.duckdb"])
def test_a_corrupt_file_is_one_sentence(tmp_path: Path, file: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(b"this is not a database, and never was one\n" * 1000)

    said = refusal("--data-dir", str(tmp_path), "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0")

    assert file in said


def test_a_store_of_a_newer_version_is_one_sentence(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "metadata.sqlite")) as database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("INSERT INTO alembic_version VALUES ('9999')")
        database.commit()

    said = refusal("--data-dir", str(tmp_path), "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0")

    assert "written by a newer fleetwatch" in said


@needs_root
def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    with SmallDisk(tmp_path, mebibytes=2) as disk:
        disk.fill()

        said = refusal("--data-dir", str(disk.path), "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0")

    assert "the disk is full" in said


def test_an_unknown_setting_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "fleetwatch.toml"
    file.write_text("log_levle = 'info'\n")

    assert refusal("--config", str(file)) == (
        f"fleetwatch: {file}: unknown setting 'log_levle'; did you mean 'log_level'?"
    )


def test_a_bad_value_in_the_environment_is_one_sentence(tmp_path: Path) -> None:
    said = refusal("--data-dir", str(tmp_path), FLEETWATCH_VITALS_INTERVAL="soon")

    assert "environment: FLEETWATCH_VITALS_INTERVAL = 'soon'" in said


def test_a_wrong_rule_file_is_named_by_line(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("version: 1\nrulez: []\n")

    done = fleetwatch(
        "up", "--no-agent", "--data-dir", str(tmp_path / "data"), "--rules", str(file),
        "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0",
    )  # fmt: skip

    assert done.returncode == 2
    assert f"{file}:2:1:" in done.stderr


def test_an_address_that_others_can_reach_is_refused_without_a_token(tmp_path: Path) -> None:
    said = refusal("--data-dir", str(tmp_path), "--grpc", "0.0.0.0:0", "--http", "127.0.0.1:0")

    assert "token_file" in said


def test_without_a_collector_questions_say_so() -> None:
    done = fleetwatch("query", "cpu.usage_active", "--collector", "127.0.0.1:1")

    assert done.returncode == 1
    assert done.stderr == (
        "fleetwatch: no collector answers at 127.0.0.1:1: start one with `fleetwatch up`, "
        "or name it with --collector HOST:PORT\n"
    )
