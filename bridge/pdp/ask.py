"""Asks the engine inside the request's deadline; that nothing usable comes is told as a value."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from bridge.errors import EngineFault, EngineTimeout, PolicyMismatch
from bridge.model.decision import Code
from bridge.pdp.evaluate import Answers, Ask, evaluate
from bridge.pdp.prove import given_up
from bridge.ports import Engine

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for the whole request and for one query; the operator's ceiling on lifetimes (s), if any."""

    deadline_s: float = 1.0
    query_s: float = 0.25
    max_token_lifetime_s: int | None = None

    def within(self, patience_s: float | None) -> "Limits":
        """The same for a caller who waits no longer than that."""
        if patience_s is None or patience_s >= self.deadline_s:
            return self
        return replace(self, deadline_s=max(patience_s, 0.0))

    @property
    def evaluate_s(self) -> float:
        """What evaluation may take; the rest is kept for writing its outcome down."""
        return self.deadline_s - min(0.25, self.deadline_s / 4)

    @property
    def enrich_s(self) -> float:
        """When sources are no longer waited for: a whole query must have its time after them."""
        return max(self.evaluate_s - self.query_s, self.evaluate_s / 2)

    @property
    def give_up_s(self) -> float:
        """When an engine is no longer waited for that does not keep to its deadlines."""
        return (self.evaluate_s + self.deadline_s) / 2


@dataclass(frozen=True, slots=True)
class Fault:
    """The code that everything asked is denied with; `text` is for operators."""

    code: Code
    text: str


async def ask(engine: Engine, asks: Sequence[Ask], limits: Limits, started: float) -> Answers | Fault:
    """What the packages say; `started` is when the request came (time.monotonic)."""
    try:
        async with asyncio.timeout(started + limits.give_up_s - time.monotonic()):
            return await evaluate(engine, asks, deadline=started + limits.evaluate_s, query_s=limits.query_s)
    except (EngineTimeout, TimeoutError) as error:
        return Fault(Code.DEADLINE, str(error) or "the engine did not keep to its deadline")
    except PolicyMismatch as error:
        return Fault(Code.POLICY_MISMATCH, str(error))
    except EngineFault as error:
        return Fault(Code.ENGINE_UNAVAILABLE, str(error))
    except (Exception, asyncio.CancelledError) as error:  # a defect of ours must not look like an answer either
        if given_up():
            raise
        log.exception("evaluation_defect")
        return Fault(Code.ENGINE_UNAVAILABLE, f"defect: {type(error).__name__}")
