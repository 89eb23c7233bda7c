"""`fleetwatch write`: metrics of one's own from standard input."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleetwatch.commands.options import collector_options
from fleetwatch.console import Problem, formats, print_json, printable

if TYPE_CHECKING:
    from fleetwatch.lines import Written


@click.command("write")
@click.option("--precision", default="ns", type=click.Choice(["ns", "us", "ms", "s"]), help="Unit of the times.")
@collector_options
@formats("text", "json")
@click.pass_context
def write_command(context: click.Context, /, output: str, config: Path | None, precision: str, **reach: Any) -> None:
    """Stores InfluxDB line protocol from standard input; ends when all of it is durable.

    \b
    fleetwatch write < samples.txt
    echo 'backup,job=db duration=12.5,ok=1' | fleetwatch write

    A line without a host tag belongs to this host, one without a time to now. Wrong lines are named by number, the
    others are stored.

    Exit codes: 0 every line is stored, 1 some are not.
    """
    from fleetwatch_storage.errors import StoreUnavailable
    from fleetwatch_storage.remote import RemoteStore, remote_options

    from fleetwatch.lines import Written, write_all
    from fleetwatch.reader import remote_settings, unreachable
    from fleetwatch.settings import source

    settings = remote_settings(source(config, reach))
    store, written = RemoteStore(settings.collector, remote_options(settings)), Written()
    send = functools.partial(store.write_lines, precision=precision)
    stdin = open(sys.stdin.fileno(), "rb", closefd=False)  # noqa: SIM115 - not ours to close, and not a path
    try:
        write_all(stdin, send, _tell, written)
    except StoreUnavailable as error:
        raise Problem(f"{unreachable(settings.collector, error)}; {_uncertain(written)}") from error
    finally:
        store.close()
    _report(written, output)
    context.exit(1 if written.refused else 0)


def _tell(number: int, reason: str) -> None:
    click.echo(f"line {number}: {printable(reason)}", err=True)


def _uncertain(written: Written) -> str:
    return f"{written.lines} lines are stored, write line {written.sent + 1} and those after it again"


def _report(written: Written, output: str) -> None:
    if output == "json":
        wrong = [{"line": number, "reason": reason} for number, reason in written.wrong]
        print_json(
            {"lines": written.lines, "points": written.points, "rejected_lines": written.refused, "rejected": wrong}
        )
    else:
        click.echo(f"{written.lines} lines stored ({written.points} values), {written.refused} refused")
