"""Waiting for what must happen soon."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
PAUSE_S = 0.05


async def until(condition: Callable[[], Awaitable[T]], within_s: float = 15) -> T:
    """The first true result of `condition`; an AssertionError when there is none in time."""
    deadline = time.monotonic() + within_s
    for _ in itertools.count():
        if result := await condition():
            return result
        assert time.monotonic() < deadline, f"not within {within_s} s: {condition}"
        await asyncio.sleep(PAUSE_S)
    raise AssertionError("unreachable")


def wait_until(condition: Callable[[], T], within_s: float = 15) -> T:
    """As `until`, without an event loop."""
    deadline = time.monotonic() + within_s
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {within_s} s: {condition}"
        time.sleep(PAUSE_S)
    return result
