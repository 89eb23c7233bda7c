"""The embedded engine: DuckDB for what is hot, Parquet for what is sealed.

The store is imported when it is asked for: settings are read by commands that must not wait for DuckDB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetwatch_storage.embedded.settings import EmbeddedSettings

if TYPE_CHECKING:
    from fleetwatch_storage.embedded.store import EmbeddedStore

__all__ = ["EmbeddedSettings", "EmbeddedStore"]


def __getattr__(name: str) -> object:
    if name != "EmbeddedStore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fleetwatch_storage.embedded.store import EmbeddedStore

    return EmbeddedStore
