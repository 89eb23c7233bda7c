"""What happens around every call, of all four kinds: who is it, one log line, metrics, refusals in words."""

from __future__ import annotations

import asyncio
import inspect
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, TypeAlias

import grpc
import structlog

from fleetwatch_collector.errors import CallRefused, Why
from fleetwatch_collector.identity import CALLER, identify, is_local, peer_address
from fleetwatch_collector.metrics import CallMetrics

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Around: TypeAlias = Callable[[Context], AbstractContextManager[None]]

STATUS = {
    Why.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Why.PRECONDITION: grpc.StatusCode.FAILED_PRECONDITION,
    Why.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Why.EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Why.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Why.REPLACED: grpc.StatusCode.ABORTED,
    Why.GONE: grpc.StatusCode.CANCELLED,
    Why.STOPPING: grpc.StatusCode.UNAVAILABLE,
    Why.TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
}

OPEN_SERVICES = ("/grpc.health.v1.Health/",)
"""Methods that tell nothing about anybody: probes of load balancers call them without an identity."""

_EXPECTED = frozenset({Why.GONE, Why.REPLACED, Why.STOPPING})
_SAY_AGAIN_S = 60.0
_MOST_SAID = 10_000
_STREAM_OF_AGENT = "/fleetwatch.v1.Ingest/Stream"

_log = structlog.get_logger()


class Doorkeeper(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Stands before every handler of every kind of call."""

    def __init__(self, metrics: CallMetrics, token: str | None, calls_per_address: int) -> None:
        self.metrics = metrics
        self.token = token
        self._most = calls_per_address
        self._open: Counter[str] = Counter()
        self._said: dict[tuple[str, Why], float] = {}

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]], details: grpc.HandlerCallDetails
    ) -> Handler:
        """The handler of the call, wrapped; unknown methods stay unknown."""
        handler = await continuation(details)
        if handler is None:
            return handler
        method = details.method if isinstance(details.method, str) else details.method.decode()
        return wrap(handler, lambda context: Passage(self, method, context))

    def count_in(self, address: str) -> None:
        """A call from this address is open.

        Raises:
            CallRefused: too many are, from an address off this machine.
        """
        if self._open[address] >= self._most and not is_local(address):
            raise CallRefused(Why.EXHAUSTED, f"{self._most} calls are open from {address}; no more are taken")
        self._open[address] += 1

    def count_out(self, address: str) -> None:
        """It is not any more."""
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]

    def ending(self, error: BaseException | None, address: str) -> str:
        """How a call ended, in a word for metrics; failures are logged here, once."""
        if error is None:
            return "ok"
        if isinstance(error, CallRefused):
            log = _log.warning if self._is_news(address, error.why) else _log.debug
            log("call refused", why=error.why.value, detail=error.detail)
            return error.why.value
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            return "cancelled"
        _log.error("call failed", exc_info=error)
        return "failed"

    def _is_news(self, address: str, why: Why) -> bool:
        """Whether this refusal is worth a line: the same for the same address is not, for a minute."""
        if why in _EXPECTED:
            return False
        now_s = time.monotonic()
        if now_s - self._said.get((address, why), -_SAY_AGAIN_S) < _SAY_AGAIN_S:
            return False
        if len(self._said) >= _MOST_SAID:
            self._said.clear()
        self._said[address, why] = now_s
        return True


class Passage:
    """What happens around one call: identity, correlation id, metrics, and one log line when it fails.

    A plain object: ten thousand streams keep theirs for as long as they are open.
    """

    __slots__ = ("_address", "_context", "_counted", "_door", "_method", "_started_s")

    def __init__(self, door: Doorkeeper, method: str, context: Context) -> None:
        self._door, self._method, self._context = door, method, context
        self._address = peer_address(context.peer())
        self._started_s = time.monotonic()
        self._counted = False

    def __enter__(self) -> None:
        structlog.contextvars.bind_contextvars(call=uuid.uuid4().hex[:12], method=self._method, peer=self._address)
        self._door.metrics.open.labels(self._method).inc()
        try:
            self._identify()
        except CallRefused as refused:
            self.__exit__(CallRefused, refused, None)
            raise

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        metrics = self._door.metrics
        metrics.open.labels(self._method).dec()
        metrics.ended.labels(self._method, self._door.ending(error, self._address)).inc()
        if self._method != _STREAM_OF_AGENT:
            metrics.seconds.labels(self._method).observe(time.monotonic() - self._started_s)
        if self._counted:
            self._door.count_out(self._address)

    def _identify(self) -> None:
        if self._method.startswith(OPEN_SERVICES):
            return
        if not self._address:
            raise CallRefused(Why.GONE, "the caller went away before its turn came")
        metadata = list(self._context.invocation_metadata() or ())
        CALLER.set(identify(self._context.peer(), metadata, self._door.token))
        self._door.count_in(self._address)
        self._counted = True


def wrap(handler: Handler, around: Around) -> Handler:
    """A handler of the same kind whose behaviour runs within a context manager, and whose refusals are statuses."""
    kinds: dict[tuple[bool, bool], tuple[str, Any]] = {
        (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
        (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
        (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
        (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
    }
    kind, make = kinds[bool(handler.request_streaming), bool(handler.response_streaming)]
    behaviour = getattr(handler, kind)
    wrapped = _yielding(behaviour, around) if inspect.isasyncgenfunction(behaviour) else _returning(behaviour, around)
    made: Handler = make(wrapped, handler.request_deserializer, handler.response_serializer)
    return made


def _returning(behaviour: Any, around: Around) -> Any:
    async def wrapped(request: Any, context: Context) -> Any:
        try:
            with around(context):
                return await behaviour(request, context)
        except CallRefused as refused:
            await context.abort(STATUS[refused.why], refused.detail)

    return wrapped


def _yielding(behaviour: Any, around: Around) -> Any:
    async def wrapped(request: Any, context: Context) -> AsyncIterator[Any]:
        try:
            with around(context):
                async for response in behaviour(request, context):
                    yield response
        except CallRefused as refused:
            await context.abort(STATUS[refused.why], refused.detail)

    return wrapped
