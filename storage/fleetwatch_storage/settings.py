"""Settings of the store: which engine, where it is, and what it keeps.

The classes are not slotted because `StoreSettings` inherits from several.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fleetwatch_proto.settings import setting

from fleetwatch_storage.embedded.settings import EmbeddedSettings


@dataclass(frozen=True)
class InfluxSettings:
    """What the InfluxDB driver needs."""

    influx_url: str = setting("http://127.0.0.1:8086", "where InfluxDB answers")
    influx_database: str = setting("fleetwatch", "database of InfluxDB 1, bucket of 2 and 3")
    influx_dialect: Literal["auto", "v1", "v2"] = setting(
        "auto", "how to write: v1 is /write, v2 is /api/v2/write; auto asks the server for its version"
    )
    influx_org: str = setting("", "organisation, InfluxDB 2 only")
    influx_token_file: Path | None = setting(None, "file with the API token, InfluxDB 2 and 3")
    influx_user: str = setting("", "user name, InfluxDB 1 with authentication")
    influx_password_file: Path | None = setting(None, "file with that user's password")
    influx_create: bool = setting(True, "create the database, its retention policies and roll-ups where missing")
    influx_raw_retention: float = setting(7 * 86400.0, "how long InfluxDB keeps samples; 0: for ever", "duration")
    influx_rollup_retention: float = setting(365 * 86400.0, "how long it keeps 5-minute roll-ups; 0: none", "duration")
    influx_timeout: float = setting(10.0, "longest wait for an answer", "duration")
    influx_query_rows: int = setting(2_000_000, "most rows a query may read before it is refused")


@dataclass(frozen=True)
class RemoteSettings:
    """How to reach the store of another process: the collector's Query service."""

    collector: str = setting("127.0.0.1:7400", "address of the collector whose store is read")
    collector_token_file: Path | None = setting(None, "file with the shared token, needed off loopback")
    collector_ca_file: Path | None = setting(None, "certificate of the collector's authority; without it no TLS")


@dataclass(frozen=True)
class StoreSettings(EmbeddedSettings, InfluxSettings, RemoteSettings):
    """Which store, and the settings of each engine."""

    store: Literal["embedded", "influx", "remote"] = setting(
        "embedded", "embedded: DuckDB in the data folder; influx: InfluxDB; remote: the collector's, to read"
    )
    data_dir: Path = setting(Path("data"), "folder of the embedded store and the metadata")
