"""The embedded engine: DuckDB for what is hot, Parquet for what is sealed."""

from fleetwatch_storage.embedded.settings import EmbeddedSettings
from fleetwatch_storage.embedded.store import EmbeddedStore

__all__ = ["EmbeddedSettings", "EmbeddedStore"]
