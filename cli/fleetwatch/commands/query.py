"""`fleetwatch query`: stored series as a table with sparklines, JSON or CSV."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from fleetwatch.commands.options import collector_options
from fleetwatch.console import formats, print_csv, print_json, print_table

FIGURES = ("last", "min", "avg", "max")


@click.command("query")
@click.argument("metric")
@click.option("--host", "hosts", multiple=True, help="Only this host; may be given several times.")
@click.option("--tag", "tags", multiple=True, metavar="K=V", help="Only series with this tag (=, !=, =~, !~).")
@click.option("--since", default="1h", show_default=True, help="Start: 1h (ago), a time, or unix seconds.")
@click.option("--until", default="", help="End, likewise; default: now.")
@click.option("--step", default="", help="Width of a value, 1m; raw: samples as stored; default: sixty steps.")
@click.option("--agg", "aggregates", default="avg", show_default=True, help="avg, min, max, p95 ...; a,b for several.")
@click.option("--transform", default="none", type=click.Choice(["none", "rate", "increase", "delta", "deriv"]))
@click.option("--group-by", help="Combine series that share these tags: host, or a,b; '' for all into one.")
@click.option("--group-agg", "group_aggregate", default="avg", show_default=True, help="How they are combined.")
@click.option("--top", default=0, help="Only the N series with the largest mean.")
@click.option("--bottom", default=0, help="Only the N series with the smallest mean.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Read this folder's store; nothing may run on it.")
@collector_options
@formats("table", "json", "csv")
def query_command(output: str, config: Path | None, data_dir: Path | None, **options: Any) -> None:
    """Asks the stored series. METRIC is measurement.field, or measurement.field,field.

    \b
    fleetwatch query cpu.usage_active --host web-1 --since 1h --step 1m --agg avg
    fleetwatch query cpu.usage_active --tag cpu=cpu-total --top 10
    fleetwatch query net.bytes_recv --transform rate --group-by host --format csv
    """
    from fleetwatch import answer
    from fleetwatch.question import Asked, to_query
    from fleetwatch.reader import open_reader

    reach = {name: options.pop(name) for name in ("collector", "collector_token_file", "collector_ca_file")}
    options["aggregates"] = tuple(options["aggregates"].split(","))
    try:
        query = to_query(Asked(**options), time.time_ns() // 1_000_000)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    with open_reader(config, data_dir, reach) as reader:
        frame = reader.read(query)
    if output == "json":
        print_json(answer.to_json(frame))
    elif output == "csv":
        print_csv(*answer.csv_rows(frame))
    elif len(frame):
        print_table(answer.SUMMARY_COLUMNS, answer.summary_rows(frame), right=FIGURES)
    else:
        click.echo("no values in this range; `fleetwatch hosts` says who sends, --since widens the range", err=True)
