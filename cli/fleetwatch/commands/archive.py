"""`fleetwatch backup`, `restore`, `export`, `import`: the store as files."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleetwatch.commands.options import collector_options
from fleetwatch.console import formats, print_json, printable, progress_bar

if TYPE_CHECKING:
    from fleetwatch_storage.store import Store
    from fleetwatch_storage.textfiles import Imported

NAMED_LINES = 20
"""How many refused lines `import` names; `--format json` has them all."""


@click.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--since", default="30d", show_default=True, help="Start: 1h (ago), a time, or unix seconds.")
@click.option("--until", default="now", show_default=True, help="End, likewise.")
@click.option("--measurement", "measurements", multiple=True, help="Only this one; may be given several times.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Read this folder's store; nothing may run on it.")
@collector_options
def export_command(
    file: Path,
    since: str,
    until: str,
    measurements: tuple[str, ...],
    config: Path | None,
    data_dir: Path | None,
    **reach: Any,
) -> None:
    """Writes stored samples to FILE as InfluxDB line protocol; .gz compresses.

    \b
    fleetwatch export samples.lp.gz --since 7d
    fleetwatch export cpu.lp --measurement cpu --since 2026-01-01 --until 2026-01-02
    """
    from fleetwatch_storage.textfiles import export_lines

    from fleetwatch.question import moment_ms
    from fleetwatch.reader import open_reader

    now_ms = time.time_ns() // 1_000_000
    try:
        start_ms, end_ms = moment_ms(since, now_ms), moment_ms(until, now_ms)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    with open_reader(config, data_dir, reach) as reader, progress_bar("exporting") as progress:
        points = export_lines(reader, file, start_ms, end_ms, measurements, progress)
    click.echo(f"{points} values written to {file}")


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--precision", default="ns", type=click.Choice(["ns", "us", "ms", "s"]), help="Where FILE does not say.")
@click.option("--host", default=socket.gethostname, help="Host of lines that have none; default: this one.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Into this folder's store; nothing may run on it.")
@collector_options
@formats("text", "json")
@click.pass_context
def import_command(
    context: click.Context,
    /,
    file: Path,
    precision: str,
    host: str,
    config: Path | None,
    data_dir: Path | None,
    output: str,
    **reach: Any,
) -> None:
    """Stores the samples of FILE: line protocol, compressed or not.

    \b
    fleetwatch import samples.lp.gz
    fleetwatch import --data-dir /var/lib/fleetwatch --precision s old.lp

    Importing the same file twice changes nothing. Wrong lines are named by number, the others are stored.

    Exit codes: 0 every line is stored, 1 some are not.
    """
    from fleetwatch_storage.textfiles import import_lines

    now_ms = time.time_ns() // 1_000_000
    with _writable(config, data_dir, reach) as store, progress_bar("importing") as progress:
        done = import_lines(store, file, progress, default_host=host, now_ms=now_ms, precision=precision)
    _report(done, output)
    context.exit(1 if done.rejected_lines else 0)


@contextlib.contextmanager
def _writable(config: Path | None, data_dir: Path | None, reach: dict[str, Any]) -> Iterator[Store]:
    from fleetwatch.process.foundation import foundation
    from fleetwatch.reader import collector_store, remote_settings
    from fleetwatch.settings import source

    where = source(config, {**reach, "data_dir": data_dir})
    if data_dir is None:
        with collector_store(remote_settings(where)) as remote:
            yield remote
    else:
        with foundation(where) as opened:
            yield opened.store


def _report(done: Imported, output: str) -> None:
    if output == "json":
        rejected = [{"line": one.number, "reason": one.reason} for one in done.rejected]
        print_json({"lines": done.lines, "rejected_lines": done.rejected_lines, "rejected": rejected})
        return
    for one in done.rejected[:NAMED_LINES]:
        click.echo(f"line {one.number}: {printable(one.reason)}", err=True)
    click.echo(f"{done.lines} lines stored, {done.rejected_lines} refused")
