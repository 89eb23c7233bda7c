"""Settings, identity, output and the command line of the agent."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import grpc
import pytest
from fleetwatch_agent import agent as wiring
from fleetwatch_agent import logs, output
from fleetwatch_agent.__main__ import main
from fleetwatch_agent.explain import text
from fleetwatch_agent.facts import facts, virtualization
from fleetwatch_agent.identity import agent_id, take_lock
from fleetwatch_agent.readers import LINUX
from fleetwatch_agent.readers.source import Files
from fleetwatch_agent.sender.troubles import ending
from fleetwatch_agent.settings import AgentSettings, is_loopback
from fleetwatch_proto.settings import ConfigError, load
from fleetwatch_proto.v1 import ingest_pb2 as pb

from tests.support.agent_host import FakeHost


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"interval": "500ms"}, "must be from 1s"),
        ({"interval": "5"}, "duration needs a unit"),
        ({"collector": "nowhere"}, "must be host:port"),
        ({"collector": "host:99999"}, "must be host:port"),
        ({"host": "a b"}, "ASCII characters without spaces"),
        ({"spool_bytes": "5k"}, "at least"),
        ({"processes_every": "0s"}, "at least 1s"),
        ({"log_level": "loud"}, "log_level"),
        ({"tags": ["novalue"]}, "not key=value"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(overrides: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(AgentSettings, environment={}, overrides=overrides)


def test_an_unknown_setting_in_the_file_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('colector = ["a:1"]\n')

    with pytest.raises(ConfigError, match="did you mean 'collector'"):
        load(AgentSettings, file=file, environment={})


def test_command_line_comes_before_environment_before_file(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('interval = "30s"\nhost = "from-file"\ntags = {env = "prod"}\n')

    settings = load(AgentSettings, file=file, environment={"FLEETWATCH_INTERVAL": "20s"}, overrides={"interval": "5s"})

    assert (settings.interval, settings.host, settings.tags) == (5.0, "from-file", {"env": "prod"})


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1:1", True), ("localhost:1", True), ("[::1]:1", True), ("10.0.0.1:1", False), ("127.evil.org:1", False)],
)
def test_loopback_addresses_are_told_from_others(address: str, expected: bool) -> None:
    assert is_loopback(address) is expected


def test_a_collector_elsewhere_without_a_token_is_refused_in_words() -> None:
    with pytest.raises(ConfigError, match="--token-file"):
        wiring.check(AgentSettings(collector=("collector.example:7400",)))


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    token.chmod(0o644)

    with pytest.raises(ConfigError, match="chmod 600"):
        wiring.check(AgentSettings(collector=("collector.example:7400",), token_file=token))


def test_an_unknown_reader_in_readers_off_is_named(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, readers_off=("cpus",))

    with pytest.raises(ConfigError, match="no such reader"):
        wiring.machine_readers(host.settings, host.files, host.clock.clocks)


def test_the_agent_id_stays_and_a_damaged_one_is_replaced(tmp_path: Path) -> None:
    first = agent_id(tmp_path, "")

    assert agent_id(tmp_path, "") == first
    (tmp_path / "agent-id").write_text("nonsense")
    assert agent_id(tmp_path, "") != first
    assert (tmp_path / "agent-id").stat().st_mode & 0o777 == 0o600


def test_an_agent_that_cannot_write_goes_by_the_machine_s_id(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    assert agent_id(tmp_path / "file", "machine") == agent_id(tmp_path / "file", "machine")
    assert agent_id(tmp_path / "file", "machine") != agent_id(tmp_path / "file", "other")


def test_a_second_agent_on_a_state_folder_is_refused(tmp_path: Path) -> None:
    held = take_lock(tmp_path)

    with pytest.raises(ConfigError, match="another agent is running"):
        take_lock(tmp_path)
    assert held is not None


def test_facts_of_a_host(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.write("etc/os-release", 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
    host.write(
        "proc/cpuinfo",
        "processor\t: 0\nmodel name\t: AMD EPYC\nphysical id\t: 0\ncore id\t\t: 0\nflags\t: hypervisor\n",
    )
    host.write("sys/class/dmi/id/sys_vendor", "QEMU\n")

    found = facts(host.files)

    assert (found.os, found.cpu_model, found.virtualization) == ("Debian GNU/Linux 12 (bookworm)", "AMD EPYC", "kvm")
    assert (found.memory_bytes, found.boot_time_ms) == (16_000_000 * 1024, 1_700_000_000_000)
    host.write(".dockerenv", "")
    assert virtualization(Files(tmp_path), "") == "docker"


def test_a_host_that_goes_down_says_that_it_will_be_back(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)

    assert wiring.farewell(host.files) == (pb.Goodbye.STOP, 0)
    host.write("run/nologin", "")
    reason, back_s = wiring.farewell(host.files)
    assert reason == pb.Goodbye.REBOOT
    assert back_s > 0


@pytest.mark.parametrize(
    ("code", "details", "words", "expected"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, "no", "--token-file", False),
        (grpc.StatusCode.UNIMPLEMENTED, "unknown service", "not a fleetwatch collector", False),
        (grpc.StatusCode.FAILED_PRECONDITION, "agent is newer", "agent is newer", False),
        (grpc.StatusCode.PERMISSION_DENIED, "revoked", "refuses this agent: revoked", False),
        (grpc.StatusCode.UNAVAILABLE, "Connection refused", "not reachable", False),
        (grpc.StatusCode.UNAVAILABLE, "max connection age", "", True),
        (grpc.StatusCode.INTERNAL, "oops", "INTERNAL", False),
        (grpc.StatusCode.OK, "", "closed", True),
    ],
)
def test_an_ended_stream_is_put_into_words(code: grpc.StatusCode, details: str, words: str, expected: bool) -> None:
    found = ending(code, details, "collector:7400")

    assert words in found.text
    assert found.expected is expected


def test_log_lines_are_logfmt_and_stay_one_line() -> None:
    record = logging.makeLogRecord({"name": "a", "levelname": "INFO", "msg": "reader failed", "why": 'line\n"two"'})
    try:
        raise ValueError("deep")
    except ValueError:
        record.exc_info = sys.exc_info()

    line = logs.LogfmtFormatter().format(record)

    assert 'level=info event="reader failed"' in line
    assert 'why="line\\n\\"two\\""' in line
    assert "\n" not in line
    assert "ValueError: deep" in line


def test_one_sample_is_printed_as_table_json_and_lines(capsys: pytest.CaptureFixture[str]) -> None:
    answers = {}
    for form in ("table", "json", "line"):
        assert main(["once", "--format", form, "--host", "web 1".replace(" ", "-")]) == 0
        answers[form] = capsys.readouterr().out

    parsed = json.loads(answers["json"])
    assert "usage_active" in answers["table"]
    assert parsed["host"] == "web-1"
    assert {"cpu", "mem", "disk"} <= {one["measurement"] for one in parsed["series"]}
    assert parsed["processes"]
    assert any(line.startswith("mem,host=web-1 total=") for line in answers["line"].splitlines())


def test_lines_escape_what_separates() -> None:
    line = output.as_lines(1, "h", [("disk", {"path": "/a b,c=d"}, {"used": 1.0}), ("cpu", {}, {})])

    assert line == r"disk,host=h,path=/a\ b\,c\=d used=1.0 1000000"


def test_wrong_usage_and_settings_exit_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--state-dir", str(tmp_path)]) == 2
    assert "no collector" in capsys.readouterr().err
    assert main(["once", "--config", str(tmp_path / "missing.toml")]) == 2
    assert "cannot read settings" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["dance"])
    assert stopped.value.code == 2


def test_version_and_explain(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert main(["explain"]) == 0

    printed = capsys.readouterr().out
    assert printed.startswith("fleetwatch-agent 0.")
    assert all(path in printed for one in LINUX for path in one.reads)
    assert "runs a command" in printed.partition("Never:")[2]


def test_explain_marks_what_is_switched_off() -> None:
    assert "  net (switched off)" in text(AgentSettings(readers_off=("net",)), LINUX)
