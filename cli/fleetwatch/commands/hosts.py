"""`fleetwatch hosts`: who is known, who is connected, how complete their data is."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleetwatch.commands.options import collector_options
from fleetwatch.console import formats, print_json, print_table, tag_text

if TYPE_CHECKING:
    from fleetwatch_storage.hosts import Host

COLUMNS = ("host", "state", "seen", "every", "complete", "lost", "agent", "system", "tags")


@click.command("hosts")
@collector_options
@formats("table", "json")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Read this folder's store; nothing may run on it.")
def hosts_command(output: str, config: Path | None, data_dir: Path | None, **reach: Any) -> None:
    """Lists the hosts of the fleet.

    \b
    fleetwatch hosts
    fleetwatch hosts --collector monitor-1:7400 --token-file token --format json
    """
    from fleetwatch.reader import open_reader

    with open_reader(config, data_dir, reach) as reader:
        found = reader.hosts()
    now_ms = time.time_ns() // 1_000_000
    if output == "json":
        print_json([to_json(host) for host in found])
    elif found:
        print_table(COLUMNS, [row(host, now_ms) for host in found], right=("seen", "every", "complete", "lost"))
    else:
        click.echo("no host has sent anything yet: fleetwatch agent run --collector HOST:PORT", err=True)


def row(host: Host, now_ms: int) -> list[str]:
    """One line of the table."""
    return [
        host.name,
        state(host, now_ms),
        f"{ago(now_ms - host.last_seen_ms)} ago" if host.last_seen_ms else "never",
        f"{host.interval_ms / 1000:g} s",
        f"{host.completeness.share:.2%}",
        str(host.completeness.lost),
        host.agent_version,
        host.facts.os,
        tag_text(host.tags),
    ]


def state(host: Host, now_ms: int) -> str:
    """One word for where a host is."""
    if host.connected:
        return "connected"
    return "stopped" if host.goodbye_until_ms > now_ms else "away"


def ago(ms: int) -> str:
    """A duration with one unit."""
    seconds = max(ms, 0) // 1000
    for width, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= width:
            return f"{seconds // width} {unit}"
    return f"{seconds} s"


def to_json(host: Host) -> dict[str, Any]:
    """Everything known of a host."""
    return asdict(host) | {"tags": dict(host.tags), "completeness_share": host.completeness.share}
