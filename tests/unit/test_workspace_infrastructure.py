"""Units, images and example settings: what can be known of them without running them."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest
from fleetwatch.main import COMMANDS
from fleetwatch.settings import Source, server_settings_classes
from fleetwatch_agent.settings import AgentSettings
from fleetwatch_proto.settings import ConfigError, load

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "infrastructure/examples").glob("*.toml"))
UNITS = sorted((ROOT / "infrastructure/systemd").glob("*.service"))
DOCKER = ROOT / "infrastructure/docker"
HARDENING = {
    "CapabilityBoundingSet": "",
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "PrivateDevices": "yes",
    "ProtectKernelModules": "yes",
    "RestrictNamespaces": "yes",
    "SystemCallFilter": "@system-service",
}


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_an_example_settings_file_loads(file: Path) -> None:
    if file.name == "agent.toml":
        assert load(AgentSettings, file=file, environment={}).collector
    else:
        for cls in server_settings_classes():
            Source(file, {}, {}).read(cls)


def test_a_misspelt_key_in_an_example_is_found(tmp_path: Path) -> None:
    wrong = tmp_path / "fleetwatch.toml"
    wrong.write_text(EXAMPLES[-1].read_text() + '\nlog_levle = "info"\n')

    with pytest.raises(ConfigError, match=r"unknown setting 'log_levle'; did you mean 'log_level'\?"):
        for cls in server_settings_classes():
            Source(wrong, {}, {}).read(cls)


@pytest.mark.parametrize("file", UNITS, ids=lambda file: file.name)
def test_a_unit_is_hardened_and_runs_a_command_that_exists(file: Path) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]  # keys of units keep their case
    unit.read(file)
    service = unit["Service"]

    assert {key: service[key] for key in HARDENING} == HARDENING
    assert service["User"] not in ("", "root")
    program, command, *rest = service["ExecStart"].split()
    assert program == "/opt/fleetwatch/bin/fleetwatch-agent" or command in COMMANDS
    assert (ROOT / "infrastructure/examples" / Path(rest[-1]).name).exists()


def test_the_images_install_every_distribution_by_the_locked_hashes() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (\w+) \1$", text, re.MULTILINE)

    assert copied == ["proto", "agents", "storage", "collector", "alerting", "dashboard", "cli"]
    assert "--require-hashes -r requirements.lock" in text
    assert re.search(r"^USER \d+$", text, re.MULTILINE)


def test_the_agents_image_has_all_that_the_agent_requires() -> None:
    wanted = re.search(r"\(grpcio\|([^)]*)\)==", (DOCKER / "agent.Dockerfile").read_text())
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))

    assert wanted is not None
    assert set(wanted[1].split("|")) == {"protobuf", "psutil", "typing-extensions"}
    assert set(wanted[1].split("|")) <= locked


def test_every_setting_that_the_compose_file_gives_exists() -> None:
    given = set(re.findall(r"FLEETWATCH_([A-Z_]+):", (DOCKER / "compose.yaml").read_text()))
    known = {name for cls in (*server_settings_classes(), AgentSettings) for name in cls.__dataclass_fields__}

    assert given
    assert {name.lower() for name in given} <= known
