"""The collector, and through it the store and the hosts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fleetwatch_proto.settings import ConfigError
from fleetwatch_storage.errors import StorageError

from fleetwatch.doctor import ports
from fleetwatch.doctor.clock import check_skew
from fleetwatch.doctor.findings import Finding, note, ok, wrong
from fleetwatch.reader import remote_settings, somebody_listens

if TYPE_CHECKING:
    from fleetwatch_storage.hosts import Host
    from fleetwatch_storage.store import Health, StoreReader

    from fleetwatch.settings import Source

SILENT_INTERVALS = 6
UNREACHED = "remote"
"""The engine of a remote store that could not ask its collector; an answer names the collector's engine."""


def check(where: Source, listens_at: str) -> Iterator[Finding]:
    """Asks the collector that these settings name; `listens_at` is where one of this machine would listen."""
    from fleetwatch_storage.remote import RemoteStore, remote_options

    settings = remote_settings(where)
    try:
        reader = RemoteStore(settings.collector, remote_options(settings))
    except ConfigError as error:
        yield wrong("collector", f"cannot be asked: {error}")
        return
    try:
        yield from check_collector(reader, where, settings.collector, listens_at)
    finally:
        reader.close()


def check_collector(reader: StoreReader, where: Source, address: str, listens_at: str) -> Iterator[Finding]:
    """Whether a collector answers at `address` and its store works; `listens_at` is where one of ours would listen."""
    health = reader.health()
    if health.engine == UNREACHED:
        text = health.detail if somebody_listens(address) else f"nobody answers at {address}"
        yield wrong("collector", text, "start one: fleetwatch up")
        if address == listens_at:
            yield from ports.could_listen("agents' port", listens_at, "grpc")
        yield from check_store(where)
        return
    yield ok("collector", f"answers at {address}")
    yield store_finding(health)
    yield from _hosts(reader)


def check_store(where: Source) -> Iterator[Finding]:
    """The store of this machine, opened here because no collector answers for it; nothing when there is none yet."""
    from fleetwatch_storage.settings import StoreSettings

    from fleetwatch.process.foundation import foundation

    settings = where.read(StoreSettings)
    if settings.store == "remote" or not (settings.data_dir / "metadata.sqlite").exists():
        return
    try:
        with foundation(where) as opened:
            yield store_finding(opened.store.health())
    except ConfigError as error:
        yield wrong("store", str(error))


def store_finding(health: Health) -> Finding:
    """What a store says of itself."""
    if not health.ready:
        return wrong("store", f"the {health.engine} store cannot be read: {health.detail}")
    if not health.writable:
        return wrong("store", f"the {health.engine} store takes no writes: {health.detail}")
    return ok("store", f"the {health.engine} store reads and writes")


def _hosts(reader: StoreReader) -> Iterator[Finding]:
    try:
        hosts = reader.hosts()
    except StorageError as error:
        yield wrong("hosts", str(error))
        return
    now_ms = time.time_ns() // 1_000_000
    silent = [host.name for host in hosts if is_silent(host, now_ms)]
    if silent:
        yield note(
            "hosts", f"{len(silent)} of {len(hosts)} send nothing: {', '.join(silent[:10])}", "is their agent running?"
        )
    elif hosts:
        yield ok("hosts", f"{len(hosts)} send samples")
    else:
        yield note("hosts", "no host has sent anything yet", "fleetwatch agent run --collector HOST:PORT")
    for host in hosts:
        if host.completeness.lost:
            yield note("hosts", f"{host.name} has lost {host.completeness.lost} batches since it is known")
    yield from check_skew(hosts)


def is_silent(host: Host, now_ms: int) -> bool:
    """Nothing came for several intervals and nobody said goodbye."""
    return host.goodbye_until_ms < now_ms and now_ms - host.last_seen_ms > SILENT_INTERVALS * host.interval_ms
