"""A circuit breaker: after `threshold` failures in a row it fails at once, and lets one probe through now and then."""

import time
from collections.abc import Callable


class Breaker:
    """Closed, open, half-open. Time in seconds from `clock`; not thread-safe, made for one event loop."""

    def __init__(self, threshold: int = 5, open_s: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._threshold, self._open_s, self._clock = threshold, open_s, clock
        self._failures = 0
        self._opened_at: float | None = None
        self._probing = False

    @property
    def state(self) -> str:
        """`half_open` from the moment on when the next call may go out as a probe."""
        if self._opened_at is None:
            return "closed"
        return "half_open" if self._probing or self._clock() - self._opened_at >= self._open_s else "open"

    def enter(self) -> bool:
        """Whether this call may go out; each True is followed by exactly one of `succeeded`, `failed`, `abandoned`."""
        state = self.state
        if state == "closed":
            return True
        if self._probing or state == "open":
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        self._failures, self._opened_at, self._probing = 0, None, False

    def failed(self) -> None:
        self._failures += 1
        self._probing = False
        if self._opened_at is not None or self._failures >= self._threshold:
            self._opened_at = self._clock()

    def abandoned(self) -> None:
        """The call was given up by the caller: it says nothing about who was called."""
        self._probing = False
