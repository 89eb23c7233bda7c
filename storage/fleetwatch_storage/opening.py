"""Opens the store that the settings name. Engines are imported only when they are opened: each is heavy."""

from __future__ import annotations

from fleetwatch_storage.metadata.hosts import HostDirectory
from fleetwatch_storage.settings import StoreSettings
from fleetwatch_storage.store import Store


def open_store(settings: StoreSettings, directory: HostDirectory) -> Store:
    """The store of these settings; the caller closes it.

    `directory` is how the store knows hosts and their tags; the remote store asks the collector instead.

    Raises:
        StoreUnavailable: the embedded store is in use, of a newer version or corrupt. The others open without their
            server and say in `health()` what is wrong.
        ConfigError: a secret file that cannot be used.
    """
    if settings.store == "influx":
        return _open_influx(settings, directory)
    if settings.store == "remote":
        return _open_remote(settings)
    return _open_embedded(settings, directory)


def _open_embedded(settings: StoreSettings, directory: HostDirectory) -> Store:
    from fleetwatch_storage.embedded.store import EmbeddedStore

    return EmbeddedStore(settings.data_dir / "store", directory, settings)


def _open_influx(settings: StoreSettings, directory: HostDirectory) -> Store:
    from fleetwatch_storage.influx.store import InfluxStore

    return InfluxStore(settings, directory)


def _open_remote(settings: StoreSettings) -> Store:
    from fleetwatch_storage.remote import RemoteStore, remote_options

    return RemoteStore(settings.collector, remote_options(settings))
