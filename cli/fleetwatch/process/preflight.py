"""What keeps a process from starting, found before anything heavy is imported: the user is answered at once."""

from __future__ import annotations

from fleetwatch_alerting.settings import AlertingSettings
from fleetwatch_collector.settings import CollectorSettings
from fleetwatch_dashboard.settings import DashboardSettings, listen_address
from fleetwatch_storage.settings import StoreSettings

from fleetwatch.process.addresses import check_free
from fleetwatch.process.folder import prepare
from fleetwatch.settings import ProcessSettings, Source


def check_settings(source: Source) -> ProcessSettings:
    """Reads the settings of every part, so that a mistake in any of them is found.

    Raises:
        ConfigError: an unknown key, a value that cannot be used.
    """
    for cls in (StoreSettings, CollectorSettings, AlertingSettings):
        source.read(cls)
    listen_address(source.read(DashboardSettings))
    return source.read(ProcessSettings)


def check_collector(source: Source) -> None:
    """The address where agents connect.

    Raises:
        ConfigError: it is taken or not ours.
    """
    check_free(source.read(CollectorSettings).grpc, "grpc")


def check_dashboard(source: Source) -> None:
    """The address of the pages.

    Raises:
        ConfigError: it is taken or not ours.
    """
    check_free(source.read(DashboardSettings).http, "http")


def check_rules(source: Source) -> None:
    """The rule file, when one is named.

    Raises:
        RuleFileError: it cannot be used; with all that is wrong.
    """
    file = source.read(AlertingSettings).rules
    if file is not None:
        from fleetwatch_alerting.rules import load

        load(file)


def check_folder(source: Source) -> None:
    """The data folder.

    Raises:
        ConfigError: it cannot be made or written to.
    """
    prepare(source.read(StoreSettings).data_dir)
