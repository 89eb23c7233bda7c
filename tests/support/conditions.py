"""Waiting for a condition instead of sleeping: polls until it holds or a deadline passes."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class DeadlinePassed(AssertionError):
    """The condition did not hold in time; the message says what was waited for and what was seen last."""


def wait_until(
    condition: Callable[[], T], *, within_s: float = 10.0, every_s: float = 0.02, what: str = "condition"
) -> T:
    """The first true value of `condition()`.

    Raises:
        DeadlinePassed: none within `within_s` seconds.
    """
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        if time.monotonic() >= deadline:
            raise DeadlinePassed(f"{what} did not hold within {within_s:g} s; last seen: {value!r}")
        time.sleep(every_s)
    return value


async def wait_until_async(
    condition: Callable[[], T | Awaitable[T]], *, within_s: float = 10.0, every_s: float = 0.02, what: str = "condition"
) -> T:
    """As `wait_until`, without blocking the event loop; `condition` may be a coroutine function."""
    deadline = time.monotonic() + within_s
    while True:
        answer = condition()
        value: T = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if time.monotonic() >= deadline:
            raise DeadlinePassed(f"{what} did not hold within {within_s:g} s; last seen: {value!r}")
        await asyncio.sleep(every_s)
