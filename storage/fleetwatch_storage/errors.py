"""What storage raises; each answers whether trying again helps."""

from __future__ import annotations

from dataclasses import dataclass


class StorageError(Exception):
    """Anything this package raises on purpose."""


class StoreUnavailable(StorageError):
    """The store cannot take or answer now: try the same again later.

    `retry_after_s` is set when the store said when.     `reason` is one word for metrics and health: "down",
    "full", "auth", "missing", "busy", "locked", "newer" or "corrupt".
    """

    def __init__(self, message: str, *, reason: str = "down", retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """One row that the store will never take, and why. `line` is its line protocol text, cut at 1,000 characters."""

    measurement: str
    line: str
    reason: str


class WriteRejected(StorageError):
    """Some rows were refused for good, all others are durable: set the rows aside, acknowledge the rest."""

    def __init__(self, rows: list[RejectedRow], *, count: int | None = None) -> None:
        self.rows = rows
        self.count = len(rows) if count is None else count
        super().__init__(f"{self.count} rows refused, first: {rows[0].reason if rows else 'unknown'}")


class QueryFailed(StorageError):
    """The question cannot be answered as asked: an unknown aggregate, a bad pattern, a limit. Do not ask again."""
