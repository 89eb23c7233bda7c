"""`fleetwatch collector`, `fleetwatch alerting`, `fleetwatch dashboard`: the parts as processes of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleetwatch.commands.options import config_option, data_dir_option, log_options

if TYPE_CHECKING:
    from fleetwatch.settings import Source

Check = Callable[["Source"], None]
"""Raises ConfigError or RuleFileError when the process could not start."""

machine_option = click.option(
    "--machine-http", metavar="ADDRESS:PORT", help="Where /metrics, /healthz and /readyz are; default: nowhere."
)
store_option = click.option(
    "--store",
    type=click.Choice(["embedded", "influx", "remote"]),
    help="Default: embedded, which belongs to the collector; the other parts read it through the collector.",
)
collector_option = click.option("--collector", metavar="HOST:PORT", help="The collector whose store is read.")
token_option = click.option(
    "--collector-token-file", type=click.Path(path_type=Path, dir_okay=False), help="The token it asks for."
)


@click.command("collector")
@data_dir_option
@click.option("--grpc", metavar="ADDRESS:PORT", help="Where agents connect; default: 127.0.0.1:7400.")
@click.option("--store", type=click.Choice(["embedded", "influx"]), help="Where samples are kept; default: embedded.")
@click.option("--token-file", type=click.Path(path_type=Path, dir_okay=False), help="What agents must show.")
@machine_option
@log_options
@config_option
def collector_command(config: Path | None, **given: Any) -> None:
    """Takes samples from agents, stores and acknowledges them, answers queries.

    \b
    fleetwatch collector --grpc 0.0.0.0:7400 --token-file /etc/fleetwatch/token
    """
    from fleetwatch.process import preflight

    where = _ready(config, given, preflight.check_collector)
    from fleetwatch.process.apart import run_collector

    asyncio.run(run_collector(where, click.echo))


@click.command("alerting")
@data_dir_option
@click.option("--rules", type=click.Path(path_type=Path, dir_okay=False), help="Alert rules (YAML).")
@store_option
@collector_option
@token_option
@machine_option
@log_options
@config_option
def alerting_command(config: Path | None, **given: Any) -> None:
    """Evaluates rules and sends notifications.

    \b
    fleetwatch alerting --rules rules.yaml --collector monitor-1:7400 --collector-token-file token
    """
    from fleetwatch.process import preflight

    where = _ready(config, given, preflight.check_rules)
    from fleetwatch.process.apart import run_alerting

    asyncio.run(run_alerting(where, click.echo))


@click.command("dashboard")
@data_dir_option
@click.option("--http", metavar="ADDRESS:PORT", help="Pages and HTTP API; default: 127.0.0.1:7480.")
@store_option
@collector_option
@token_option
@log_options
@config_option
def dashboard_command(config: Path | None, **given: Any) -> None:
    """Serves pages and the HTTP API.

    \b
    fleetwatch dashboard --collector 127.0.0.1:7400
    """
    from fleetwatch.process import preflight

    where = _ready(config, given, preflight.check_dashboard)
    from fleetwatch.process.apart import run_dashboard

    asyncio.run(run_dashboard(where, click.echo))


def _ready(config: Path | None, given: dict[str, Any], check: Check) -> Source:
    """The settings, with everything tried that can keep the process from starting, and logs set up."""
    from fleetwatch.logs import level_of, set_up_logs
    from fleetwatch.process import preflight
    from fleetwatch.settings import source

    where = source(config, given)
    process = preflight.check_settings(where)
    check(where)
    preflight.check_folder(where)
    set_up_logs(level_of(process.log_level), process.log_format)
    return where
