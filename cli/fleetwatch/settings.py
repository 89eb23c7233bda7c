"""The settings of a server process: one file, one class per part, and where the data folder is when nobody says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from fleetwatch_proto.settings import ConfigError, load, setting

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """What concerns a process as a whole."""

    log_level: Literal["auto", "debug", "info", "warning", "error"] = setting(
        "auto", "less grave events are not logged; auto: info, but warning for `fleetwatch up` on a terminal"
    )
    log_format: Literal["auto", "logfmt", "json"] = setting(
        "auto", "auto: colours on a terminal, logfmt elsewhere; json: one object per line"
    )
    machine_http: str = setting(
        "", "address:port of /metrics, /healthz and /readyz of a collector or alerting process; empty: none"
    )
    database_url: str = setting(
        "", "metadata database; empty: SQLite in the data folder; else sqlite:///FILE or postgresql+psycopg://..."
    )
    vitals_interval: float = setting(10.0, "how often a process stores its own fleetwatch_* measurements", "duration")
    agent: bool = setting(True, "`fleetwatch up` starts an agent for this host")
    agent_interval: float = setting(10.0, "how often that agent samples", "duration")
    agent_tags: Mapping[str, str] = setting((), "host tags of that agent, key=value")
    agent_state_dir: Path | None = setting(None, "its state folder; not given: `agent` in the data folder")


@dataclass(frozen=True, slots=True)
class Location:
    """Only where the data folder is: asked first, because its default depends on who runs the process."""

    data_dir: Path | None = setting(None, "folder of the store, the metadata and the local agent")


@dataclass(frozen=True, slots=True)
class Source:
    """Where settings come from: the file, what the command line gave (None: not given), and the environment."""

    file: Path | None
    given: Mapping[str, Any]
    environment: Mapping[str, str]

    def read(self, cls: type[T]) -> T:
        """The settings of one part.

        Raises:
            ConfigError: an unknown key in the file, a bad value anywhere.
        """
        names = {field.name for field in fields(cls)}  # type: ignore[arg-type]  # every T is a dataclass
        own = {name: value for name, value in self.given.items() if name in names}
        return load(cls, file=self.file, environment=self.environment, overrides=own, known_elsewhere=known_names())


def server_settings_classes() -> tuple[type[Any], ...]:
    """The settings classes that may share one file: every server part of this machine."""
    from fleetwatch_alerting.settings import AlertingSettings
    from fleetwatch_collector.settings import CollectorSettings
    from fleetwatch_dashboard.settings import DashboardSettings
    from fleetwatch_storage.settings import StoreSettings

    return (StoreSettings, CollectorSettings, AlertingSettings, DashboardSettings, ProcessSettings)


def known_names() -> frozenset[str]:
    """Every key that some server part reads."""
    return frozenset(field.name for cls in server_settings_classes() for field in fields(cls))


def source(file: Path | None, given: Mapping[str, Any]) -> Source:
    """Settings from the command line, the environment and a file, with the data folder decided."""
    environment = os.environ
    if file is None and "FLEETWATCH_CONFIG" in environment:
        file = Path(environment["FLEETWATCH_CONFIG"])
    first = Source(file, given, environment)
    data_dir = first.read(Location).data_dir or default_data_dir(environment, is_root=os.geteuid() == 0)
    return Source(file, {**given, "data_dir": data_dir}, environment)


def default_data_dir(environment: Mapping[str, str], *, is_root: bool) -> Path:
    """`/var/lib/fleetwatch` for root, else the state folder of the XDG base directory specification."""
    if is_root:
        return Path("/var/lib/fleetwatch")
    home, state = environment.get("HOME"), environment.get("XDG_STATE_HOME")
    if not state and not home:
        raise ConfigError("data_dir: neither HOME nor XDG_STATE_HOME is set: name a folder with --data-dir")
    return (Path(state) if state else Path(home or "", ".local", "state")) / "fleetwatch"
