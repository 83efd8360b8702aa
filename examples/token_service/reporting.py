"""Reports of minted tokens on their way to the bridge: each is kept until the bridge has it, or refuses it for good.

In memory, like all of this server: one that must not lose a report writes it down before the token goes out.
"""

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

PAUSES_S = (0.1, 0.5, 1.0, 5.0)
log = logging.getLogger("token_service")

Report = dict[str, Any]
Send = Callable[[Report], bool]
"""Whether the report is done with; when not, it is sent again."""


class Outbox:
    """Sends reports one after the other, on a thread of its own, so that no client waits for them."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._reports: queue.SimpleQueue[Report | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)
        self._thread.start()

    def put(self, report: Report) -> None:
        """Takes a report and returns at once."""
        self._reports.put(report)

    def close(self, within_s: float = 5.0) -> None:
        """Tries once more to send what is left."""
        self._closing.set()
        self._reports.put(None)
        self._thread.join(within_s)

    def _run(self) -> None:
        while (report := self._reports.get()) is not None:
            attempt = 0
            while not self._send(report):
                if self._closing.is_set():
                    log.error("the token for decision %s is not reported", report["decision_id"])
                    break
                self._closing.wait(PAUSES_S[min(attempt, len(PAUSES_S) - 1)])
                attempt += 1
