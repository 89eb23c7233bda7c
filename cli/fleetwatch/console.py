"""What a command prints: tables, JSON, CSV, progress. Colours only on a terminal and never when NO_COLOR is set."""

from __future__ import annotations

import contextlib
import csv
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from fleetwatch_storage.store import Progress
    from rich.console import Console

UNLIMITED_COLUMNS = 10_000
"""Width of a table that nobody looks at: a pipe must not cut or wrap cells."""


class Problem(Exception):
    """Something the command was asked to do does not work: one sentence for the user, exit code 1."""


def formats(*names: str) -> Callable[[Any], Any]:
    """The option `--format` with these choices, the first being the default."""
    return click.option(
        "--format", "output", type=click.Choice(names), default=names[0], show_default=True, help="How to print it."
    )


def console(*, err: bool = False) -> Console:
    """A console on standard output or standard error."""
    from rich.console import Console

    stream = sys.stderr if err else sys.stdout
    return Console(
        stderr=err, width=None if stream.isatty() else UNLIMITED_COLUMNS, highlight=False, soft_wrap=False, emoji=False
    )


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Columns of text; those named in `right` are aligned to the right. Cells are text, never markup."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console().print(table)


def print_json(value: object) -> None:
    """The value as JSON, readable by people too."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """RFC 4180 lines with a header."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)


def printable(text: str) -> str:
    """Text without control characters: names come from other machines and must not move our cursor."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def tag_text(tags: Mapping[str, str] | Sequence[tuple[str, str]]) -> str:
    """Tags as `key=value key=value`."""
    pairs = tags.items() if isinstance(tags, Mapping) else tags
    return " ".join(f"{key}={value}" for key, value in pairs)


@contextlib.contextmanager
def progress_bar(what: str) -> Iterator[Progress]:
    """A callable (done, total) that moves a bar on standard error; silent when that is not a terminal."""
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console(err=True), transient=True, disable=not sys.stderr.isatty()) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total or None)
