"""`fleetwatch up`: everything on this machine in one command."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from fleetwatch_proto import VERSION

from fleetwatch.commands.options import config_option, data_dir_option, log_options
from fleetwatch.console import console

if TYPE_CHECKING:
    from fleetwatch.process.everything import Running


@click.command("up")
@data_dir_option
@click.option("--http", metavar="ADDRESS:PORT", help="Pages and HTTP API; default: 127.0.0.1:7480.")
@click.option("--grpc", metavar="ADDRESS:PORT", help="Where agents connect; default: 127.0.0.1:7400.")
@click.option("--store", type=click.Choice(["embedded", "influx"]), help="Where samples are kept; default: embedded.")
@click.option("--rules", type=click.Path(path_type=Path, dir_okay=False), help="Alert rules (YAML).")
@click.option("--no-agent", is_flag=True, help="No agent for this host.")
@log_options
@config_option
def up_command(config: Path | None, no_agent: bool, **given: Any) -> None:
    """Runs collector, store, alerting, dashboard and an agent for this host.

    \b
    fleetwatch up
    fleetwatch up --data-dir data --http 127.0.0.1:8080 --no-agent
    fleetwatch up --store influx --config infrastructure/examples/influx.toml

    Ctrl-C stops all of it; a second one ends it at once.

    Exit codes: 0 stopped as asked, 1 something failed while running, 2 wrong settings, a taken port, a folder or a
    store that cannot be used.
    """
    from fleetwatch.logs import level_of, set_up_logs
    from fleetwatch.process import preflight
    from fleetwatch.settings import source

    where = source(config, {**given, "agent": False if no_agent else None})
    process = preflight.check_settings(where)
    preflight.check_collector(where)
    preflight.check_dashboard(where)
    preflight.check_rules(where)
    preflight.check_folder(where)
    level = level_of(process.log_level, quiet_on_terminal=True)
    set_up_logs(level, process.log_format)
    from fleetwatch.process.everything import run_everything

    asyncio.run(run_everything(where, announce, agent_log_level=level))


def announce(running: Running) -> None:
    """Says where everything is; printed last, when the page answers."""
    out = console()
    out.print(f"fleetwatch {VERSION} runs", style="bold")
    out.print(f"  page    {running.page}", soft_wrap=True)
    out.print(f"  agents  {running.agents}", soft_wrap=True)
    out.print(f"  data    {running.data_dir.resolve()} ({running.engine} store)", soft_wrap=True, markup=False)
    out.print("Ctrl-C stops it")
