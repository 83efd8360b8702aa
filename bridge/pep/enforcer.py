"""The one thing that an authorization server calls: a wish in, what to mint or a refusal out.

Read in this order: wish.py, batch.py, client.py, reply.py, merge.py, shape.py, refuse.py. Whatever goes wrong is an
EnforcerFault, and an EnforcerFault means: mint nothing. There is no cache, no retry and no fallback, since each
would be a yes that nobody gave.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import uuid4

from bridge.pep import batch, reply
from bridge.pep.client import Client, Pdp
from bridge.pep.fault import EnforcerFault, NoDecision
from bridge.pep.merge import Mint, merge
from bridge.pep.refuse import Refusal
from bridge.pep.shape import Understood
from bridge.pep.wish import Wish

T = TypeVar("T")
_GRACE_S = 1.0


class AsyncEnforcer:
    """Asks `pdp`, for servers on asyncio. `capabilities` are what the PDP is told that this server understands."""

    def __init__(
        self,
        pdp: Pdp,
        understood: Understood | None = None,
        *,
        capabilities: Sequence[str] = (batch.CAPABILITY,),
        max_tuples: int = batch.MAX_TUPLES,
    ) -> None:
        self._understood = understood or Understood()
        self._capabilities, self._max_tuples = tuple(capabilities), max_tuples
        self._client = Client(pdp)

    async def ask(self, wish: Wish) -> Mint | Refusal:
        """What to mint, or what to tell the client. Raises NoDecision or Misuse: then nothing may be minted."""
        try:
            asked = batch.build(wish, capabilities=self._capabilities, max_tuples=self._max_tuples)
            if isinstance(asked, Refusal):
                return asked
            request_id = wish.request_id or str(uuid4())
            body = await self._client.ask(asked.body, single=asked.single, request_id=request_id)
            return merge(wish, asked, reply.read(body, asked), self._understood)
        except EnforcerFault:
            raise
        except Exception as error:  # a defect of ours, or of a validator, must not look like anything else
            raise NoDecision(f"defect: {type(error).__name__}", "server_error") from error

    async def close(self) -> None:
        """Ends the connections."""
        await self._client.close()


class Enforcer:
    """The same for servers with threads: any thread may ask, and connections are shared.

    An event loop in a thread of its own does the work, since only there does the deadline hold against a PDP that
    answers a byte at a time. It starts with the first question, and anew after a fork.
    """

    def __init__(
        self,
        pdp: Pdp,
        understood: Understood | None = None,
        *,
        capabilities: Sequence[str] = (batch.CAPABILITY,),
        max_tuples: int = batch.MAX_TUPLES,
    ) -> None:
        self._make: Callable[[], AsyncEnforcer] = lambda: AsyncEnforcer(
            pdp, understood, capabilities=capabilities, max_tuples=max_tuples
        )
        self._wait_s = pdp.deadline_s + _GRACE_S
        self._lock = threading.Lock()
        self._running: _Running | None = None

    def ask(self, wish: Wish) -> Mint | Refusal:
        """What to mint, or what to tell the client. Raises NoDecision or Misuse: then nothing may be minted."""
        running = self._started()
        return running.run(running.enforcer.ask(wish), self._wait_s)

    def close(self) -> None:
        """Ends the connections and the thread."""
        with self._lock:
            running, self._running = self._running, None
        if running is not None and running.pid == os.getpid():
            running.stop(self._wait_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _started(self) -> "_Running":
        with self._lock:
            if self._running is None or self._running.pid != os.getpid():
                self._running = _Running(self._make())
            return self._running


class _Running:
    """An event loop in a thread, in this process."""

    def __init__(self, enforcer: AsyncEnforcer) -> None:
        self.enforcer, self.pid = enforcer, os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="enforcer", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], wait_s: float) -> T:
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # closed by another thread
            work.close()
            raise NoDecision("the enforcer is closed", "server_error") from None
        try:
            return future.result(wait_s)
        except TimeoutError:
            future.cancel()
            raise NoDecision(f"no answer within {wait_s} s") from None

    def stop(self, wait_s: float) -> None:
        try:
            self.run(self.enforcer.close(), wait_s)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(wait_s)
            if not self._thread.is_alive():
                self._loop.close()
