"""`fleetwatch rules`: what can be said about a rule file before it is used."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from fleetwatch.console import formats, print_json


@click.group("rules")
def rules_command() -> None:
    """Checks alert rules."""


@rules_command.command("check")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True, readable=True))
@formats("text", "json")
@click.pass_context
def check_command(context: click.Context, file: Path, output: str) -> None:
    """Says everything that is wrong with a rule file, by line and column.

    \b
    fleetwatch rules check rules.yaml
    fleetwatch rules check rules.yaml --format json

    Exit codes: 0 it can be used, 1 it has problems, 2 it cannot be read.
    """
    from fleetwatch_alerting.rules import check

    problems = check(file)
    if output == "json":
        print_json([asdict(problem) for problem in problems])
    else:
        for problem in problems:
            click.echo(str(problem))
        click.echo(_verdict(file, len(problems)), err=bool(problems))
    context.exit(1 if problems else 0)


def _verdict(file: Path, problems: int) -> str:
    if problems:
        return f"{file}: {_counted(problems, 'problem')}"
    from fleetwatch_alerting.rules import load

    found = load(file)
    return f"{file}: {_counted(len(found.rules), 'rule')} and {_counted(len(found.receivers), 'receiver')}, no problems"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
