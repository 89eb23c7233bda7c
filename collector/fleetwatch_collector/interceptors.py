"""What happens around every call, of all four kinds: who is it, one log line, metrics, refusals in words."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, TypeAlias

import grpc
import structlog

from fleetwatch_collector.errors import CallRefused, Why
from fleetwatch_collector.identity import CALLER, identify, is_local, peer_address
from fleetwatch_collector.metrics import CallMetrics

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Around: TypeAlias = Callable[[str, Context], AbstractAsyncContextManager[None]]

STATUS = {
    Why.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Why.PRECONDITION: grpc.StatusCode.FAILED_PRECONDITION,
    Why.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Why.EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Why.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Why.REPLACED: grpc.StatusCode.ABORTED,
    Why.TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
}

OPEN_SERVICES = ("/grpc.health.v1.Health/",)
"""Methods that tell nothing about anybody: probes of load balancers call them without an identity."""

_STREAM_OF_AGENT = "/fleetwatch.v1.Ingest/Stream"

_log = structlog.get_logger()


class AroundCalls(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Runs every call within the given context managers, the first one outermost."""

    def __init__(self, *around: Around) -> None:
        self._around = around

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]], details: grpc.HandlerCallDetails
    ) -> Handler:
        """The handler of the call, wrapped; unknown methods stay unknown."""
        handler = await continuation(details)
        if handler is None:
            return handler
        method = details.method if isinstance(details.method, str) else details.method.decode()

        @contextlib.asynccontextmanager
        async def within(context: Context) -> AsyncIterator[None]:
            async with AsyncExitStack() as stack:
                for around in self._around:
                    await stack.enter_async_context(around(method, context))
                yield

        return wrap(handler, within)


def wrap(handler: Handler, within: Callable[[Context], AbstractAsyncContextManager[None]]) -> Handler:
    """A handler of the same kind whose behaviour runs within a context manager."""
    kinds: dict[tuple[bool, bool], tuple[str, Any]] = {
        (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
        (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
        (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
        (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
    }
    kind, make = kinds[bool(handler.request_streaming), bool(handler.response_streaming)]
    behaviour = getattr(handler, kind)
    wrapped = _yielding(behaviour, within) if inspect.isasyncgenfunction(behaviour) else _returning(behaviour, within)
    made: Handler = make(wrapped, handler.request_deserializer, handler.response_serializer)
    return made


def _returning(behaviour: Any, within: Callable[[Context], AbstractAsyncContextManager[None]]) -> Any:
    async def wrapped(request: Any, context: Context) -> Any:
        async with within(context):
            return await behaviour(request, context)

    return wrapped


def _yielding(behaviour: Any, within: Callable[[Context], AbstractAsyncContextManager[None]]) -> Any:
    async def wrapped(request: Any, context: Context) -> AsyncIterator[Any]:
        async with within(context):
            async for response in behaviour(request, context):
                yield response

    return wrapped


@contextlib.asynccontextmanager
async def refusals(_method: str, context: Context) -> AsyncIterator[None]:
    """Turns a refusal into a gRPC status with its words. Outermost: nothing else knows about statuses."""
    try:
        yield
    except CallRefused as refused:
        await context.abort(STATUS[refused.why], refused.detail)


class Measured:
    """Counts and times calls."""

    def __init__(self, metrics: CallMetrics) -> None:
        self._metrics = metrics

    @contextlib.asynccontextmanager
    async def __call__(self, method: str, _context: Context) -> AsyncIterator[None]:
        started = time.monotonic()
        self._metrics.open.labels(method).inc()
        status = "ok"
        try:
            yield
        except CallRefused as refused:
            status = refused.why.value
            raise
        except (asyncio.CancelledError, GeneratorExit):
            status = "cancelled"
            raise
        except BaseException:
            status = "failed"
            raise
        finally:
            self._metrics.open.labels(method).dec()
            self._metrics.ended.labels(method, status).inc()
            if method != _STREAM_OF_AGENT:
                self._metrics.seconds.labels(method).observe(time.monotonic() - started)


@contextlib.asynccontextmanager
async def logged(method: str, context: Context) -> AsyncIterator[None]:
    """Gives the call an id that all its log lines carry, and logs how it failed, once."""
    structlog.contextvars.bind_contextvars(call=uuid.uuid4().hex[:12], method=method, peer=peer_address(context.peer()))
    try:
        yield
    except CallRefused as refused:
        _log.warning("call refused", why=refused.why.value, detail=refused.detail)
        raise
    except (asyncio.CancelledError, GeneratorExit, grpc.aio.AbortError):
        raise
    except Exception:
        _log.exception("call failed")
        raise


class Identified:
    """Sets the caller's identity, or refuses; bounds how many calls one address has open."""

    def __init__(self, token: str | None, calls_per_address: int) -> None:
        self._token = token
        self._most = calls_per_address
        self._open: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def __call__(self, method: str, context: Context) -> AsyncIterator[None]:
        if method.startswith(OPEN_SERVICES):
            yield
            return
        caller = identify(context.peer(), list(context.invocation_metadata() or ()), self._token)
        CALLER.set(caller)
        if is_local(caller.address):
            yield
            return
        if self._open[caller.address] >= self._most:
            raise CallRefused(Why.EXHAUSTED, f"{self._most} calls are open from {caller.address}; no more are taken")
        self._open[caller.address] += 1
        try:
            yield
        finally:
            self._open[caller.address] -= 1
            if not self._open[caller.address]:
                del self._open[caller.address]
