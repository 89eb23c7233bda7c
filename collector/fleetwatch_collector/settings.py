"""Every setting of the collector, with its unit, default and meaning."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from fleetwatch_proto.settings import ConfigError, setting

_MiB = 1024 * 1024
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class CollectorSettings:
    """Settings of the collector.

    Raises:
        ConfigError: an address, size or time that cannot be used; a non-loopback address without a token file.
    """

    grpc: str = setting("127.0.0.1:7400", "address agents and readers connect to, HOST:PORT; port 0 takes a free one")
    token_file: Path | None = setting(None, "file with the secret callers send; needed for any address off loopback")
    data_dir: Path = setting(Path("data"), "folder of the quarantine file")

    flush_interval: float = setting(1.0, "longest time received samples wait for their commit", "duration")
    flush_bytes: int = setting(16 * _MiB, "received and decoded bytes that start a commit sooner", "bytes")
    commit_bytes: int = setting(64 * _MiB, "most bytes of one commit", "bytes")
    byte_budget: int = setting(256 * _MiB, "received and not yet durable; when used up nothing is read", "bytes")
    quarantine_bytes: int = setting(16 * _MiB, "size of the quarantine file; the oldest half goes first", "bytes")
    retry_max: float = setting(30.0, "longest pause before a failed commit is repeated", "duration")

    window_batches: int = setting(64, "unacknowledged batches an agent may have in flight")
    window_bytes: int = setting(4 * _MiB, "unacknowledged decoded bytes of one agent; reading stops above it", "bytes")
    max_message: int = setting(1 * _MiB, "largest message taken", "bytes")
    max_inflated: int = setting(4 * _MiB, "largest batch after decoding", "bytes")
    max_hosts: int = setting(20_000, "hosts and agents known; no new ones are taken beyond")
    max_series: int = setting(5_000, "series of one agent")
    max_measurements: int = setting(64, "measurements of one agent")
    max_fields: int = setting(512, "fields of one measurement")
    max_columns: int = setting(50_000, "columns of one schema")
    new_series_per_minute: int = setting(500, "series an agent may add, beyond those of its first schema")
    import_series_per_minute: int = setting(5_000, "series one writer of line protocol may add")
    import_series: int = setting(20_000, "series of one writer of line protocol")
    points_per_s: float = setting(1_000.0, "points of one agent in the long run; above it its stream is read slower")
    points_burst: int = setting(10_000, "points an agent may send at once above that rate")
    streams_per_address: int = setting(100, "calls open at once from one address off loopback")
    max_future: float = setting(600.0, "samples further in the future go to the quarantine", "duration")
    max_age: float = setting(30 * _DAY_S, "samples older than this are refused as expired", "duration")

    watch_interval: float = setting(1.0, "sample interval asked of agents that somebody watches", "duration")
    watch_queue: int = setting(64, "live updates kept for a slow watcher; beyond, the oldest are skipped")
    watched_hosts: int = setting(50, "hosts that may be asked for fast samples at once")

    query_points: int = setting(20_000_000, "most values of one answer")
    query_timeout: float = setting(10.0, "longest time a query may take", "duration")
    queries_at_once: int = setting(4, "queries of one caller answered at once, others wait")

    hello_timeout: float = setting(10.0, "a stream without a Hello is closed after this", "duration")
    max_connection_age: float = setting(1_800.0, "connections are renewed after this, so that load spreads", "duration")
    directory_interval: float = setting(5.0, "pause between savings of the host directory", "duration")

    def __post_init__(self) -> None:
        for problem in _problems(self):
            raise ConfigError(problem)


def address(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT` or `[V6]:PORT`.

    Raises:
        ConfigError: not an address.
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"grpc = {text!r}: write HOST:PORT, for example 127.0.0.1:7400")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _problems(settings: CollectorSettings) -> Iterator[str]:
    host, _ = address(settings.grpc)
    if not is_loopback(host) and settings.token_file is None:
        yield (
            f"grpc = {settings.grpc!r}: other machines can reach this address, so callers must prove who they are: "
            "set token_file to a file with a secret, or listen on 127.0.0.1"
        )
    may_be_zero = {"new_series_per_minute", "import_series_per_minute"}
    for one in fields(settings):
        value = getattr(settings, one.name)
        if isinstance(value, int | float) and value <= 0 and one.name not in may_be_zero:
            yield f"{one.name} = {value}: must be more than 0"
    if settings.window_bytes < settings.max_inflated:
        yield f"window_bytes = {settings.window_bytes}: must hold one batch of max_inflated = {settings.max_inflated}"
    if settings.byte_budget < 2 * settings.max_inflated:
        yield f"byte_budget = {settings.byte_budget}: must hold two batches of max_inflated = {settings.max_inflated}"
