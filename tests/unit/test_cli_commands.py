"""The commands as they are typed: help, exit codes, sentences on standard error."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from fleetwatch.main import COMMANDS, fleetwatch_command, run

HEAVY = ("numpy", "duckdb", "sqlalchemy", "grpc", "fastapi", "rich", "structlog")
RULES = """\
version: 1
rules:
  - name: ProcessorBusy
    metric: cpu.usage_active
    above: 95
    for: 10m
    severity: warning
"""


def every_command() -> list[tuple[str, ...]]:
    """Every command and subcommand of our own; `agent` is another program."""
    found: list[tuple[str, ...]] = []
    context = click.Context(fleetwatch_command)
    for name in fleetwatch_command.list_commands(context):
        command = fleetwatch_command.get_command(context, name)
        if name != "agent":
            found.append((name,))
        if isinstance(command, click.Group):
            found += [(name, one) for one in command.list_commands(context)]
    return found


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_every_command_explains_itself_with_an_example(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    code = run([*words, "--help"])

    text = capsys.readouterr().out
    assert code == 0
    assert text.startswith(f"Usage: fleetwatch {' '.join(words)}")
    if words != ("rules",):
        assert f"\n  fleetwatch {' '.join(words)}" in text


def test_the_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["--help"])

    listed = [
        line.split()[0] for line in capsys.readouterr().out.partition("Commands:")[2].splitlines() if line.strip()
    ]
    assert code == 0
    assert listed == list(COMMANDS)


@pytest.mark.parametrize("words", [["--help"], ["version"], ["query", "--help"], ["up", "--help"]], ids=" ".join)
def test_help_does_not_wait_for_heavy_libraries(words: list[str]) -> None:
    program = f"import sys; from fleetwatch.main import run; run({words!r}); print(*sys.modules, file=sys.stderr)"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert set(HEAVY) & set(done.stderr.split()) == set()


@pytest.mark.parametrize(
    "words",
    [["nonsense"], ["up", "--nonsense"], ["query"], ["query", "cpu"], ["query", "a.b", "--agg", "x", "--since", "?"]],
)
def test_wrong_usage_is_exit_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_the_version_is_readable_by_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["version", "--format", "json"]) == 0

    assert json.loads(capsys.readouterr().out)["version"] == "0.1.0"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_our_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0

    assert "_FLEETWATCH_COMPLETE" in capsys.readouterr().out


def test_the_shell_completes_commands() -> None:
    environment = {"_FLEETWATCH_COMPLETE": "bash_complete", "COMP_WORDS": "fleetwatch do", "COMP_CWORD": "1"}

    done = subprocess.run(
        [str(Path(sys.executable).parent / "fleetwatch")], env=environment, capture_output=True, text=True
    )

    assert done.stdout.split() == ["plain,doctor"]


def test_an_unknown_setting_is_one_sentence_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "fleetwatch.toml"
    file.write_text("htpp = '127.0.0.1:1'\n")

    code = run(["up", "--config", str(file)])

    assert code == 2
    assert capsys.readouterr().err == f"fleetwatch: {file}: unknown setting 'htpp'; did you mean 'http'?\n"


def test_a_good_rule_file_is_exit_code_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(RULES)

    code = run(["rules", "check", str(file)])

    assert capsys.readouterr().out == f"{file}: 1 rule and 0 receivers, no problems\n"
    assert code == 0


def test_every_problem_of_a_rule_file_is_named_by_line_and_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(RULES.replace("above", "abvoe").replace("10m", "10"))

    code = run(["rules", "check", str(file)])
    lines = capsys.readouterr().out.splitlines()
    again = run(["rules", "check", str(file), "--format", "json"])
    problems = json.loads(capsys.readouterr().out)

    assert (code, again) == (1, 1)
    assert [line.split(": ")[0] for line in lines] == [f"{file}:{one['line']}:{one['column']}" for one in problems]
    assert {5, 6} <= {one["line"] for one in problems}


def test_a_rule_file_that_is_not_there_is_exit_code_2(tmp_path: Path) -> None:
    assert run(["rules", "check", str(tmp_path / "none.yaml")]) == 2
