"""Options that several commands have, and the metrics, times and sizes they take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

config_option = click.option(
    "--config",
    "config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Settings file (TOML); FLEETWATCH_CONFIG names it too.",
)
data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the store; default: /var/lib/fleetwatch for root, else ~/.local/state/fleetwatch.",
)


def log_options(function: F) -> F:
    """`--log-level` and `--log-format`."""
    for option in (
        click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="What is logged."),
        click.option(
            "--log-format",
            type=click.Choice(["auto", "logfmt", "json"]),
            help="Default: auto, colours on a terminal, logfmt elsewhere.",
        ),
    ):
        function = option(function)
    return function


def collector_options(function: F) -> F:
    """Where a running collector is reached and what it asks for."""
    for option in (
        click.option("--collector", metavar="HOST:PORT", help="A running collector; default: 127.0.0.1:7400."),
        click.option(
            "--token-file",
            "collector_token_file",
            type=click.Path(path_type=Path, dir_okay=False),
            help="File with the collector's token, needed off loopback.",
        ),
        click.option(
            "--ca-file",
            "collector_ca_file",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Certificate of the collector's authority: connects with TLS.",
        ),
        config_option,
    ):
        function = option(function)
    return function
