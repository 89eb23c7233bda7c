"""`fleetwatch agent`: becomes the agent's own program, so that it stays as small as one started alone."""

from __future__ import annotations

import os
import sys

import click


@click.command(
    "agent",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def agent_command(arguments: tuple[str, ...]) -> None:
    """Reads this host and sends it to a collector.

    \b
    fleetwatch agent run --collector HOST:7400   read, keep on disk, send
    fleetwatch agent once                        one sample of this host, printed
    fleetwatch agent explain                     every file it reads, every class of byte it sends
    """
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "fleetwatch_agent", *(arguments or ("--help",))])  # noqa: S606 - no shell
