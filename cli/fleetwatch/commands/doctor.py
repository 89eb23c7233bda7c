"""`fleetwatch doctor`: says in words what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from fleetwatch_proto.settings import ConfigError

from fleetwatch.commands.options import collector_options, data_dir_option
from fleetwatch.console import console, formats, print_json, printable

if TYPE_CHECKING:
    from fleetwatch.doctor.findings import Finding
    from fleetwatch.settings import Source

STYLES = {"ok": "green", "note": "yellow", "wrong": "bold red"}


@click.command("doctor")
@data_dir_option
@click.option("--http", metavar="ADDRESS:PORT", help="Where the pages are or will be; default: 127.0.0.1:7480.")
@click.option("--grpc", metavar="ADDRESS:PORT", help="Where agents connect; default: 127.0.0.1:7400.")
@click.option("--rules", type=click.Path(path_type=Path), help="The rule file.")
@collector_options
@formats("text", "json")
@click.pass_context
def doctor_command(context: click.Context, /, output: str, config: Path | None, **given: Any) -> None:
    """Looks at ports, store, clock, disk, permissions and the collector, and says in words what is wrong.

    \b
    fleetwatch doctor
    fleetwatch doctor --collector monitor-1:7400 --token-file token

    Exit codes: 0 all is well, 1 something is wrong.
    """
    found = list(_findings(config, given))
    if output == "json":
        print_json([asdict(finding) for finding in found])
    else:
        for finding in found:
            _print(finding)
    context.exit(1 if any(finding.verdict == "wrong" for finding in found) else 0)


def _findings(config: Path | None, given: dict[str, Any]) -> Iterator[Finding]:
    from fleetwatch.doctor.findings import ok, wrong
    from fleetwatch.settings import server_settings_classes, source

    try:
        where = source(config, given)
        for cls in server_settings_classes():
            where.read(cls)
    except ConfigError as error:
        yield wrong("settings", str(error))
        return
    yield ok("settings", f"{where.file or 'no file: environment and defaults'}")
    yield from _checks(where)


def _checks(where: Source) -> Iterator[Finding]:
    from fleetwatch_alerting.settings import AlertingSettings
    from fleetwatch_collector.settings import CollectorSettings
    from fleetwatch_dashboard.settings import DashboardSettings

    from fleetwatch.doctor import clock, collector, disk, local, ports
    from fleetwatch.reader import remote_settings

    remote, listens = remote_settings(where), where.read(CollectorSettings)
    yield from disk.check_folder(remote.data_dir)
    yield from clock.check_clock()
    yield from local.check_proc()
    yield from local.check_secret("token_file", listens.token_file)
    yield from local.check_secret("collector_token_file", remote.collector_token_file)
    yield from local.check_rules(where.read(AlertingSettings).rules)
    yield from ports.check_pages(where.read(DashboardSettings).http)
    yield from collector.check(where, listens.grpc)


def _print(finding: Finding) -> None:
    from rich.text import Text

    line = Text()
    line.append(f"{finding.verdict:>6}", style=STYLES[finding.verdict])
    line.append(f"  {finding.subject}: {printable(finding.text)}")
    if finding.advice:
        line.append(f" -> {finding.advice}", style="bold")
    console().print(line, soft_wrap=True)
