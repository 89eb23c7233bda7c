"""The command `fleetwatch-agent`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fleetwatch_proto.settings import ConfigError, load

from fleetwatch_agent import __version__, logs, output
from fleetwatch_agent.settings import AgentSettings
from fleetwatch_agent.spool.errors import SpoolNewer


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns 0 when all is well, 1 when something failed, 2 on wrong usage or settings."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "version":
            sys.stdout.write(f"fleetwatch-agent {__version__}\n")
            return 0
        settings = load(AgentSettings, file=options.config, overrides=_overrides(options))
        return _COMMANDS[options.command](settings, options)
    except (ConfigError, SpoolNewer) as error:
        sys.stderr.write(f"fleetwatch-agent: {error}\n")
        return 2


def _run(settings: AgentSettings, options: argparse.Namespace) -> int:
    # gRPC brings its own TLS; Python's OpenSSL, which asyncio and hashlib load when it is there, would cost 5 of 46 MB
    # and never be used.
    for unused in ("_ssl", "_hashlib"):
        sys.modules.setdefault(unused, None)  # type: ignore[arg-type]
    from fleetwatch_agent.agent import run

    logs.set_up(settings.log_level)
    run(settings)
    return 0


def _once(settings: AgentSettings, options: argparse.Namespace) -> int:
    from fleetwatch_agent.agent import one_sample

    logs.set_up("warning")
    time_ms, rows, processes = one_sample(settings)
    if options.format == "json":
        text = output.as_json(time_ms, settings.host_name, rows, processes)
    elif options.format == "line":
        text = output.as_lines(time_ms, settings.host_name, rows)
    else:
        text = output.as_table(rows, processes)
    sys.stdout.write(text + "\n")
    return 0


def _explain(settings: AgentSettings, options: argparse.Namespace) -> int:
    from fleetwatch_agent.explain import text
    from fleetwatch_agent.readers import subsystems

    sys.stdout.write(text(settings, subsystems()) + "\n")
    return 0


_COMMANDS = {"run": _run, "once": _once, "explain": _explain}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fleetwatch-agent", description="Reads this host and sends it to a collector."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="read this host and send it until stopped")
    once = commands.add_parser("once", help="read this host once and print it")
    once.add_argument("--format", choices=("table", "json", "line"), default="table")
    explain = commands.add_parser("explain", help="print every file and socket that is read and all that is sent")
    commands.add_parser("version", help="print the version")
    for command in (run, once, explain):
        command.add_argument("--config", type=Path, metavar="FILE", help="settings, TOML")
        command.add_argument("--host", metavar="NAME", help="name of this host")
        command.add_argument("--collector", metavar="HOST:PORT[,...]", help="collectors, used in turn")
        command.add_argument("--state-dir", metavar="DIR", help="folder of the spool")
    run.add_argument("--interval", metavar="TIME", help="time between samples, 1s to 1h; default 10s")
    run.add_argument("--tag", action="append", metavar="KEY=VALUE", help="tag of this host; may be repeated")
    run.add_argument("--token-file", metavar="FILE", help="file with the collector's token, mode 0600")
    run.add_argument("--log-level", choices=("debug", "info", "warning", "error"))
    return parser


def _overrides(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line sets, by the name of the setting; None where it says nothing."""
    names = ("host", "collector", "state_dir", "interval", "token_file", "log_level")
    given = {name: getattr(options, name, None) for name in names}
    return given | {"tags": getattr(options, "tag", None)}


if __name__ == "__main__":
    sys.exit(main())
