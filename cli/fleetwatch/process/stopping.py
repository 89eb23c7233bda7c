"""SIGINT and SIGTERM of a server process: the first asks it to stop, the second ends it at once."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import structlog

log = structlog.get_logger(__name__)

STOP_WITHIN_S = 9.5
"""A process that is still there this long after it was asked to stop is ended as kill -9 would: what was acknowledged
is durable, so nothing is lost, and whoever sent SIGTERM gets the ten seconds that were promised."""


@contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """An event that the first signal sets."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    watchdog = threading.Timer(STOP_WITHIN_S, end_now)
    watchdog.daemon = True

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            end_now()
        log.info("stopping; a second signal ends the process at once", signal=number.name)
        stop.set()
        watchdog.start()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield stop
    finally:
        watchdog.cancel()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def end_now() -> None:
    """Ends the process without clean-up; the local agent is tethered and ends too."""
    os._exit(1)


async def stop_within(name: str, stop: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Stops one part; what it raises or how long it takes must not keep the others from stopping."""
    try:
        await asyncio.wait_for(stop(), seconds)
    except TimeoutError:
        log.warning("a part did not stop in time", part=name, waited_s=seconds)
    except Exception:
        log.exception("a part failed to stop", part=name)
