"""`fleetwatch backup`, `restore`, `export`, `import`: the store as files."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleetwatch.commands.options import collector_options, config_option, data_dir_option
from fleetwatch.console import Problem, formats, print_json, printable, progress_bar

if TYPE_CHECKING:
    from fleetwatch_storage.store import Store
    from fleetwatch_storage.textfiles import Imported

NAMED_LINES = 20
"""How many refused lines `import` names; `--format json` names up to a thousand."""


@click.command("backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@data_dir_option
@config_option
def backup_command(file: Path, config: Path | None, data_dir: Path | None) -> None:
    """Writes samples, hosts and alerts into one FILE, as they are now; also while fleetwatch runs.

    \b
    fleetwatch backup /backups/fleetwatch.tar
    fleetwatch backup --data-dir data fleetwatch.tar
    """
    done = _work("backing up", config, data_dir, {"do": "backup", "file": str(file.absolute())})
    click.echo(f"{file}: {' and '.join(done['parts'])}")


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@data_dir_option
@config_option
def restore_command(file: Path, config: Path | None, data_dir: Path | None) -> None:
    """Makes a data folder from the FILE of a backup. The folder must have no store yet.

    \b
    fleetwatch restore /backups/fleetwatch.tar
    fleetwatch restore --data-dir data fleetwatch.tar
    """
    from fleetwatch_storage.archive import read_archive
    from fleetwatch_storage.settings import StoreSettings

    from fleetwatch.settings import source

    folder = source(config, {"data_dir": data_dir}).read(StoreSettings).data_dir
    with progress_bar("restoring") as progress:
        parts = read_archive(file, folder, progress)
    click.echo(f"{folder}: {' and '.join(parts)}")


@click.command("export")
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--since", default="30d", show_default=True, help="Start: 1h (ago), a time, or unix seconds.")
@click.option("--until", default="now", show_default=True, help="End, likewise.")
@click.option("--measurement", "measurements", multiple=True, help="Only this one; may be given several times.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Of this folder, not through a collector.")
@collector_options
@formats("line", "parquet")
def export_command(
    target: Path,
    since: str,
    until: str,
    measurements: tuple[str, ...],
    output: str,
    config: Path | None,
    data_dir: Path | None,
    **reach: Any,
) -> None:
    """Writes stored samples to TARGET: a file of InfluxDB line protocol (.gz compresses), or a folder of Parquet files.

    \b
    fleetwatch export samples.lp.gz --since 7d
    fleetwatch export cpu.lp --measurement cpu --since 2026-01-01 --until 2026-01-02
    fleetwatch export samples --format parquet --data-dir data
    """
    from fleetwatch.question import moment_ms

    now_ms = time.time_ns() // 1_000_000
    try:
        start_ms, end_ms = moment_ms(since, now_ms), moment_ms(until, now_ms)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if output == "parquet":
        request = {"start_ms": start_ms, "end_ms": end_ms, "measurements": list(measurements)}
        done = _work("exporting", config, data_dir, {"do": "export", "folder": str(target.absolute()), **request})
        click.echo(f"{done['rows']} rows written to {target}")
        return
    from fleetwatch_storage.textfiles import export_lines

    from fleetwatch.reader import open_reader

    with open_reader(config, data_dir, reach) as reader, progress_bar("exporting") as progress:
        points = export_lines(reader, target, start_ms, end_ms, measurements, progress)
    click.echo(f"{points} values written to {target}")


@click.command("import")
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option("--precision", default="ns", type=click.Choice(["ns", "us", "ms", "s"]), help="Where lines do not say.")
@click.option("--host", default=socket.gethostname, help="Host of lines that have none; default: this one.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Into this folder, not through a collector.")
@collector_options
@formats("text", "json")
@click.pass_context
def import_command(
    context: click.Context,
    /,
    path: Path,
    precision: str,
    host: str,
    config: Path | None,
    data_dir: Path | None,
    output: str,
    **reach: Any,
) -> None:
    """Stores the samples of PATH: a file of line protocol, compressed or not, or exported Parquet, a file or a folder.

    \b
    fleetwatch import samples.lp.gz
    fleetwatch import --data-dir /var/lib/fleetwatch --precision s old.lp
    fleetwatch import --data-dir data samples

    Importing the same twice changes nothing. Wrong lines are named by number, the others are stored. Through a
    collector its limits hold (new series per minute, for one); with --data-dir, while nothing runs, they do not.

    Exit codes: 0 everything is stored, 1 some lines are not.
    """
    if path.is_dir() or path.suffix == ".parquet":
        rows = _work("importing", config, data_dir, {"do": "import", "path": str(path.absolute())})["rows"]
        print_json({"rows": rows}) if output == "json" else click.echo(f"{rows} rows stored")
        return
    from fleetwatch_storage.textfiles import import_lines

    now_ms = time.time_ns() // 1_000_000
    with _writable(config, data_dir, reach) as store, progress_bar("importing") as progress:
        done = import_lines(store, path, progress, default_host=host, now_ms=now_ms, precision=precision)
    _report(done, output)
    context.exit(1 if done.rejected_lines else 0)


def _work(what: str, config: Path | None, data_dir: Path | None, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Has the process do it that has the folder open; does it here when there is none."""
    from fleetwatch_storage.settings import StoreSettings

    from fleetwatch.process.control import ask
    from fleetwatch.settings import source

    where = source(config, {"data_dir": data_dir})
    folder = where.read(StoreSettings).data_dir
    if not (folder / "metadata.sqlite").exists():
        raise Problem(f"{folder}: there is no fleetwatch store in this folder; name another with --data-dir")
    with progress_bar(what) as progress:
        done = ask(folder, request, progress)
        if done is not None:
            return done
        from fleetwatch.process.foundation import foundation
        from fleetwatch.process.jobs import jobs

        with foundation(where) as base:
            return jobs(base)[request["do"]](request, progress)


@contextlib.contextmanager
def _writable(config: Path | None, data_dir: Path | None, reach: dict[str, Any]) -> Iterator[Store]:
    from fleetwatch.reader import collector_store, remote_settings
    from fleetwatch.settings import source

    where = source(config, {**reach, "data_dir": data_dir})
    if data_dir is None:
        with collector_store(remote_settings(where)) as remote:
            yield remote
        return
    from fleetwatch.process.folder import prepare
    from fleetwatch.process.foundation import foundation

    prepare(data_dir)
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
