"""`fleetwatch version`."""

from __future__ import annotations

import platform

import click
from fleetwatch_proto import PROTOCOL, VERSION

from fleetwatch.console import print_json


@click.command("version")
@click.option("--format", "output", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
def version_command(output: str) -> None:
    """Says which version this is.

    \b
    fleetwatch version
    fleetwatch version --format json
    """
    found = {
        "version": VERSION,
        "protocol": PROTOCOL,
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    if output == "json":
        print_json(found)
    else:
        click.echo(f"fleetwatch {VERSION} (protocol {PROTOCOL}, Python {found['python']}, {found['system']})")
