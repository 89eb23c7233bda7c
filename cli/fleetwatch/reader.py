"""The stored series for a command: through a running collector, or straight from a data folder that nobody has open."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetwatch_storage.errors import StoreUnavailable

from fleetwatch.console import Problem
from fleetwatch.settings import Source, source

if TYPE_CHECKING:
    from fleetwatch_storage.remote import RemoteStore
    from fleetwatch_storage.settings import StoreSettings
    from fleetwatch_storage.store import StoreReader


@contextlib.contextmanager
def open_reader(config: Path | None, data_dir: Path | None, given: Mapping[str, Any]) -> Iterator[StoreReader]:
    """A reader that is closed afterwards; with `data_dir` the folder's own store, else a collector's.

    Raises:
        Problem: there is no store in the folder, or nobody answers.
        ConfigError: the folder's store cannot be opened.
    """
    where = source(config, {**given, "data_dir": data_dir})
    opened = _of_folder(where, data_dir) if data_dir else collector_store(remote_settings(where))
    with opened as reader:
        yield reader


def remote_settings(where: Source) -> StoreSettings:
    """How to reach the collector, whatever store this machine's own processes use."""
    from fleetwatch_storage.settings import StoreSettings

    return replace(where.read(StoreSettings), store="remote")


@contextlib.contextmanager
def _of_folder(where: Source, data_dir: Path) -> Iterator[StoreReader]:
    from fleetwatch.process.foundation import foundation

    if not (data_dir / "metadata.sqlite").exists():
        raise Problem(f"{data_dir}: there is no fleetwatch store in this folder")
    with foundation(where) as opened:
        yield opened.store


@contextlib.contextmanager
def collector_store(settings: StoreSettings) -> Iterator[RemoteStore]:
    """The store behind a collector, closed afterwards; what it cannot do is said in words for the user."""
    from fleetwatch_storage.remote import RemoteStore, remote_options

    store = RemoteStore(settings.collector, remote_options(settings))
    try:
        yield store
    except StoreUnavailable as error:
        raise Problem(unreachable(settings.collector, error)) from error
    finally:
        store.close()


def somebody_listens(address: str) -> bool:
    """Whether a connection is taken: then it is the collector's store that does not answer, not the collector."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=2.0):
            return True
    except (OSError, ValueError):
        return False


def unreachable(address: str, error: StoreUnavailable) -> str:
    """What to say when a collector does not answer, and what to do."""
    if somebody_listens(address):
        return str(error)
    return f"no collector answers at {address}: start one with `fleetwatch up`, or name it with --collector HOST:PORT"
