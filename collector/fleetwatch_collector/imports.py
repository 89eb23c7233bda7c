"""The Import service: line protocol in, answered when it is durable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from fleetwatch_proto.v1.import_pb2 import WriteChunk, WriteReply
from fleetwatch_storage.lineprotocol.parse import PRECISIONS

from fleetwatch_collector.batcher import Batcher
from fleetwatch_collector.clock import now_ms
from fleetwatch_collector.errors import CallRefused, Why
from fleetwatch_collector.identity import CALLER, Identity
from fleetwatch_collector.limits import Budget
from fleetwatch_collector.lines import Import, LinePieces
from fleetwatch_collector.metrics import Tally
from fleetwatch_collector.settings import CollectorSettings
from fleetwatch_collector.writers import Writers

_BYTES_IN_FRAMES = 4
"""What a byte of text becomes, about, as frames: counted against the budget."""


class ImportService:
    """Takes lines piece by piece; good ones are stored, bad ones named by number."""

    def __init__(self, settings: CollectorSettings, batcher: Batcher, budget: Budget, tally: Tally) -> None:
        self._settings, self._batcher, self._budget, self._tally = settings, batcher, budget, tally
        self._writers = Writers(settings)

    async def write(self, chunks: AsyncIterator[WriteChunk], _context: Any) -> WriteReply:
        """Stores the lines of all chunks."""
        caller = CALLER.get()
        if not caller.host:
            raise CallRefused(Why.UNAUTHENTICATED, "a writer must say its host in the call metadata")
        pieces = LinePieces()
        writing: Import | None = None
        async for chunk in chunks:
            if writing is None:
                writing = self._begin(caller, chunk.precision)
            await self._store(writing, pieces.add(chunk.lines))
        if writing is None:
            return WriteReply()
        await self._store(writing, pieces.end())
        return writing.reply()

    def _begin(self, caller: Identity, precision: str) -> Import:
        if precision and precision not in PRECISIONS:
            raise CallRefused(Why.INVALID, f"precision is one of {', '.join(PRECISIONS)}, not {precision[:16]!r}")
        series = self._writers.of((caller.address, caller.host), time.monotonic())
        return Import(caller.host, precision or "ns", series, self._settings)

    async def _store(self, writing: Import, text: bytes) -> None:
        if not text:
            return
        await self._budget.room()
        size = len(text) * _BYTES_IN_FRAMES
        self._budget.take(size)
        try:
            at_ms, lines = now_ms(), writing.lines
            frames = await asyncio.to_thread(writing.take, text, at_ms, time.monotonic())
            if frames and (refused := await self._batcher.submit(frames)) is not None:
                await asyncio.to_thread(writing.refused_by_store, text, refused, at_ms)
            self._tally.imported_lines += writing.lines - lines
        finally:
            self._budget.give_back(size)
