"""The `fleetwatch` command: finds the subcommand, runs it, turns what goes wrong into one sentence and an exit code."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Sequence

import click
from fleetwatch_alerting.errors import RuleFileError
from fleetwatch_proto.settings import ConfigError
from fleetwatch_storage.errors import StorageError

from fleetwatch.console import Problem

OK, PROBLEMS, USAGE, INTERRUPTED = 0, 1, 2, 130

COMMANDS = {
    "up": "fleetwatch.commands.up",
    "collector": "fleetwatch.commands.parts",
    "alerting": "fleetwatch.commands.parts",
    "dashboard": "fleetwatch.commands.parts",
    "agent": "fleetwatch.commands.agent",
    "hosts": "fleetwatch.commands.hosts",
    "query": "fleetwatch.commands.query",
    "write": "fleetwatch.commands.write",
    "rules": "fleetwatch.commands.rules",
    "doctor": "fleetwatch.commands.doctor",
    "backup": "fleetwatch.commands.archive",
    "restore": "fleetwatch.commands.archive",
    "export": "fleetwatch.commands.archive",
    "import": "fleetwatch.commands.archive",
    "completion": "fleetwatch.commands.completion",
    "version": "fleetwatch.commands.version",
}
"""Command to the module that has it, as `<command>_command`, in the order of `--help`."""


class Commands(click.Group):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, None when there is none."""
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = getattr(importlib.import_module(COMMANDS[cmd_name]), f"{cmd_name}_command")
        return found


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def fleetwatch_command() -> None:
    """Monitoring for a fleet of hosts.

    \b
    fleetwatch up        everything on this machine: the page, the store, alerts, an agent for this host
    fleetwatch doctor    says in words what is wrong

    Exit codes: 0 all is well, 1 problems were found, 2 wrong usage or settings.
    """


def main() -> None:
    """The entry point of the installed command.

    Ends the process without tearing the interpreter down: the poller thread of grpc.aio outlives its servers, and with
    a thread alive DuckDB reports every object of its own as leaked on standard error.
    """
    code = run(sys.argv[1:])
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BrokenPipeError):
            stream.flush()
    os._exit(code)


def run(arguments: Sequence[str]) -> int:
    """Runs one command and returns its exit code; errors are one sentence on standard error."""
    try:
        return int(fleetwatch_command.main(list(arguments), prog_name="fleetwatch", standalone_mode=False) or OK)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _say("interrupted", INTERRUPTED)
    except (ConfigError, RuleFileError) as error:
        return _say(str(error), USAGE)
    except BrokenPipeError:
        return _reader_went_away()
    except OSError as error:
        return _say(f"{error.filename}: {error.strerror}" if error.filename else str(error), PROBLEMS)
    except (Problem, StorageError) as error:
        return _say(str(error), PROBLEMS)


def _say(sentence: str, code: int) -> int:
    click.echo(f"fleetwatch: {sentence}", err=True)
    return code


def _reader_went_away() -> int:
    """`fleetwatch query ... | head` is not an error; the flush at exit must not complain either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return OK
