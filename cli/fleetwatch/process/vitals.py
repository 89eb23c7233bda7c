"""The process's own health as samples: `fleetwatch_*` of each part, stored under the name of the host it runs on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import structlog
from fleetwatch_storage.errors import StorageError
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.store import StoreReader

log = structlog.get_logger(__name__)

Vitals = Callable[[], Mapping[str, float]]
"""Reads one part's figures; may ask a database, so it is called on a thread."""
Write = Callable[[list[Frame]], None]
"""Stores frames; blocks, so it is called on a thread."""


def read(parts: Mapping[str, Vitals]) -> dict[str, dict[str, float]]:
    """Measurement to fields of every part that has something to say."""
    return {name: fields for name, vitals in parts.items() if (fields := dict(vitals()))}


@runtime_checkable
class WithVitals(Protocol):
    """A store that knows more about itself than the seam asks for."""

    def vitals(self) -> Mapping[str, float]:
        """The fields of `fleetwatch_store`."""


def of_store(store: StoreReader) -> dict[str, float]:
    """What can be said of any store, and what this one says of itself."""
    own = store.vitals() if isinstance(store, WithVitals) else {}
    return {"writable": float(store.health().writable), **own}


def prometheus(parts: Mapping[str, Vitals]) -> bytes:
    """The figures of all parts as Prometheus text."""
    from fleetwatch_dashboard.metrics import prometheus_text

    return prometheus_text(read(parts)).encode()


def to_frame(measurement: str, host: str, fields: Mapping[str, float], now_ms: int) -> Frame:
    """One row without tags."""
    zero = np.zeros(1, np.int32)
    columns = {name: np.array([value], np.float64) for name, value in fields.items()}
    return Frame(measurement, np.array([now_ms], np.int64), zero, (host,), zero, ((),), columns)


@dataclass(slots=True)
class VitalsWriter:
    """Stores what the parts say about themselves every `interval_s`; a store that is away is logged once."""

    parts: Mapping[str, Vitals]
    host: str
    write: Write
    interval_s: float
    _failing: bool = False

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self.interval_s)
            await self.write_once(time.time_ns() // 1_000_000)

    async def write_once(self, now_ms: int) -> None:
        """Reads every part and stores one row each."""
        try:
            await asyncio.to_thread(self._store, now_ms)
        except StorageError as error:
            self._report(str(error))
        except Exception:  # noqa: BLE001 - one part's figures must not end the process
            self._report("a part could not say how it is", exc_info=True)
        else:
            self._failing = False

    def _store(self, now_ms: int) -> None:
        self.write([to_frame(name, self.host, fields, now_ms) for name, fields in read(self.parts).items()])

    def _report(self, error: str, *, exc_info: bool = False) -> None:
        if not self._failing:
            log.warning("the process cannot store its own measurements", error=error, exc_info=exc_info)
        self._failing = True
