"""WS /api/v1/live: frames as they arrive, for pages and programs.

The client says what it wants in one message, and may say it again:
`{"hosts": [...], "select": {"cpu": {"fields": ["usage_active"], "tags": {"cpu": "cpu-total"}}}, "fast": false,
"since": 1700000000.0}`. Empty or absent `hosts` and `select` mean all; `since` (unix seconds) asks for what was missed
of the fields that are named, up to ten minutes. The server sends `{"type": "frames", "frames": [...]}` with columnar
frames, `{"type": "skipped", "count": n}` when the client was too slow, `{"type": "heartbeat"}` when there is nothing to
say, and `{"type": "error", "detail": ...}`; `t` in each is the server's time.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import anyio
import structlog
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from fleetwatch_storage.errors import StorageError
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.query import Matcher, Op, Query
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fleetwatch_dashboard import charts, questions
from fleetwatch_dashboard.problems import Problem
from fleetwatch_dashboard.sources import Sources, socket_sources

router = APIRouter()
log = structlog.get_logger()

HEARTBEAT_S = 10.0
FIRST_WORD_S = 10.0
PENDING = 64
RESUME_MS = 600_000
MESSAGE_BYTES = 65_536
TRY_LATER, REFUSED = 1013, 1008


class Selection(BaseModel):
    """Which fields (all when empty) of which series of a measurement."""

    model_config = ConfigDict(extra="forbid")
    fields: list[str] = Field([], max_length=64)
    tags: dict[str, str] = Field({}, max_length=16)


class Subscription(BaseModel):
    """What a client wants to see."""

    model_config = ConfigDict(extra="forbid")
    hosts: list[str] = Field([], max_length=2000)
    select: dict[str, Selection] = Field({}, max_length=64)
    fast: bool = False
    since: float = Field(0.0, ge=0)


@dataclass(slots=True)
class Outbox:
    """Messages a client has not taken yet, bounded: the oldest are dropped and counted."""

    messages: deque[list[dict[str, Any]]] = field(default_factory=lambda: deque(maxlen=PENDING))
    skipped: int = 0
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, frames: list[dict[str, Any]]) -> None:
        """Adds a message; a full outbox loses its oldest one."""
        if len(self.messages) == PENDING:
            self.skipped += 1
        self.messages.append(frames)
        self.ready.set()

    async def take(self, timeout_s: float) -> dict[str, Any] | None:
        """The next thing to tell, None when there was nothing for so long."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.ready.wait(), timeout_s)
        if self.skipped:
            count, self.skipped = self.skipped, 0
            return {"type": "skipped", "count": count}
        frames = self.messages.popleft() if self.messages else None
        if not self.messages:
            self.ready.clear()
        return {"type": "frames", "frames": frames} if frames is not None else None


@router.websocket("/api/v1/live")
async def live(socket: WebSocket) -> None:
    """Holds one watcher until it leaves."""
    found = socket_sources(socket)
    if not _same_origin(socket):
        await socket.close(REFUSED, "cross-origin")
        return
    async with AsyncExitStack() as place:
        if not await _seated(socket, found, place):
            return
        with suppress(WebSocketDisconnect):
            await _serve(socket, found)


async def _seated(socket: WebSocket, found: Sources, place: AsyncExitStack) -> bool:
    await socket.accept()
    if found.live is None:
        await socket.close(TRY_LATER, "this process has no live source")
        return False
    watchers: anyio.CapacityLimiter = socket.app.state.watchers
    try:
        watchers.acquire_on_behalf_of_nowait(socket)
    except anyio.WouldBlock:
        await socket.close(TRY_LATER, "too many live connections")
        return False
    place.callback(watchers.release_on_behalf_of, socket)
    return True


async def _serve(socket: WebSocket, found: Sources) -> None:
    """Runs one subscription after the other until the client leaves."""
    wanted = await _hear(socket, FIRST_WORD_S)
    while wanted is not None:
        outbox = Outbox()
        working = [
            asyncio.create_task(_collect(found, wanted, outbox)),
            asyncio.create_task(_tell(socket, found, outbox)),
        ]
        hearing = asyncio.create_task(_hear(socket, None))
        try:
            done, _ = await asyncio.wait([*working, hearing], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*working, hearing):
                task.cancel()
            await asyncio.gather(*working, hearing, return_exceptions=True)
        if hearing not in done:
            await _part(socket, [task for task in working if task in done])
            return
        wanted = hearing.result()


async def _part(socket: WebSocket, ended: Sequence[asyncio.Task[None]]) -> None:
    """Says why a subscription ended that the client did not end: the source stopped, or something broke."""
    for task in ended:
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, WebSocketDisconnect):
            log.warning("live watch ended", error=repr(error))
    with suppress(WebSocketDisconnect, RuntimeError):
        await socket.close(TRY_LATER, "the live source ended")


async def _hear(socket: WebSocket, timeout_s: float | None) -> Subscription | None:
    """The next subscription; None when the client left or does not speak our language (it is told so)."""
    try:
        text = await asyncio.wait_for(socket.receive_text(), timeout_s)
        if len(text) > MESSAGE_BYTES:
            raise ValueError(f"longer than {MESSAGE_BYTES} characters")
        return Subscription.model_validate_json(text)
    except (WebSocketDisconnect, KeyError):
        return None
    except TimeoutError:
        await socket.close(REFUSED, "no subscription")
    except (ValidationError, ValueError) as error:
        detail = f"not a subscription: {str(error)[:300]}"
        with suppress(WebSocketDisconnect, RuntimeError):
            await socket.send_text(json.dumps({"type": "error", "detail": detail}))
            await socket.close(REFUSED, "not a subscription")
    return None


async def _collect(found: Sources, wanted: Subscription, outbox: Outbox) -> None:
    """Takes frames as they come, so that only the outbox of a slow client overflows. What was missed comes first: the
    watch is open before the store is asked, so nothing falls between."""
    async for frames in _watch(found, wanted, outbox):
        if kept := [charts.columnar(part) for part in _selected(frames, wanted)]:
            outbox.put(kept)


async def _watch(found: Sources, wanted: Subscription, outbox: Outbox) -> AsyncIterator[list[Frame]]:
    if found.live is None:
        return
    stream = aiter(found.live.watch(frozenset(wanted.hosts), frozenset(wanted.select), fast=wanted.fast))
    coming = asyncio.ensure_future(anext(stream))
    try:
        if wanted.since:
            for frame in await _missed(found, wanted):
                outbox.put([charts.columnar(frame)])
        while True:
            yield await coming
            coming = asyncio.ensure_future(anext(stream))
    except StopAsyncIteration:
        return
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        await stream.aclose()  # type: ignore[attr-defined]  # watch is an async generator wherever it is implemented


async def _tell(socket: WebSocket, found: Sources, outbox: Outbox) -> None:
    message: dict[str, Any] | None = None
    while True:
        stamped = (message or {"type": "heartbeat"}) | {"t": found.now_ms() / 1000}
        await socket.send_text(json.dumps(stamped, separators=(",", ":"), allow_nan=False))
        message = await outbox.take(HEARTBEAT_S)


async def _missed(found: Sources, wanted: Subscription) -> list[Frame]:
    """Stored rows since the client's last time."""
    now_ms = found.now_ms()
    start = max(int(wanted.since * 1000) + 1, now_ms - RESUME_MS)
    out = []
    for name, selection in wanted.select.items():
        if not selection.fields or start >= now_ms:
            continue
        where = [Matcher(key, Op.EQ, value) for key, value in selection.tags.items()]
        query = Query(
            name, tuple(selection.fields), start, now_ms + RESUME_MS, where=(*where, *questions.among(wanted.hosts))
        )
        try:
            frame = await found.ask(partial(found.store.read, query))
        except (StorageError, Problem) as error:
            log.warning("live resume failed", measurement=name, error=str(error))
            continue
        if len(frame):
            out.append(frame)
    return out


def _selected(frames: list[Frame], wanted: Subscription) -> list[Frame]:
    out = []
    for frame in frames:
        selection = wanted.select.get(frame.measurement)
        if wanted.select and selection is None:
            continue
        part = charts.selected(frame, selection.fields, selection.tags) if selection else frame
        if part is not None:
            out.append(part)
    return out


def _same_origin(socket: WebSocket) -> bool:
    """Browsers send the page's origin; other programs send none. A page from elsewhere may not listen."""
    origin = socket.headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == socket.headers.get("host", "").lower()
