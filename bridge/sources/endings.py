"""The log as a source: how far the last ending of a client has come, for policies that wait until it is confirmed."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from bridge.errors import BridgeError
from bridge.model.source import Declared, Held, Key, SourceAnswer, answer_of, fall_back

Standing = Callable[[str, str], "dict[str, Any] | None"]
"""(issuer, client) -> `{"ending", "time", "standing"}` of its last ending, None without one. BridgeError: not known."""


class EndingsSource:
    """Nothing is kept: what it says is as new as the log."""

    def __init__(self, declared: Declared, standing: Standing, timeout_s: float) -> None:
        self.declared = declared
        self._standing, self._timeout_s = standing, timeout_s
        self._trouble: str | None = None

    async def start(self) -> None:
        """Nothing to do: the log is opened for each question."""

    async def ask(self, key: Key, until: float) -> SourceAnswer:
        now = time.monotonic()
        issuer, client = key
        try:
            async with asyncio.timeout(min(self._timeout_s, until - now)):
                value = await asyncio.to_thread(self._standing, issuer, client)
        except (BridgeError, TimeoutError) as error:
            self._trouble = str(error) or "the log could not be read in time"
            return fall_back(self.declared, None, now, self._trouble)
        self._trouble = None
        return answer_of(self.declared, Held(value, now, len(json.dumps(value))), now)

    def trouble(self) -> str | None:
        return self._trouble

    async def close(self) -> None:
        """Nothing to do."""
