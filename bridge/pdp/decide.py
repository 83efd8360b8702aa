"""The road of a request: admit, gather, evaluate, combine, record, prove. Read this page first.

A denial is a value and comes back as a decision. A fault is an exception, and here every fault becomes a denial that
is on record; only where the log itself is the fault is there no entry (`evidence_unavailable`, see prove.py).
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import structlog

from bridge.errors import EngineFault, EngineTimeout, PolicyMismatch
from bridge.model.decision import Code, Decision, deny_all
from bridge.model.mask import SecretMask
from bridge.model.scope import is_scope_token
from bridge.model.times import now_ms, uuid7
from bridge.ops.metrics import Metrics
from bridge.pdp.admit import Admission
from bridge.pdp.combine import Question, combine
from bridge.pdp.evaluate import Verdicts, evaluate
from bridge.pdp.gather import Asking, encode, gather
from bridge.pdp.prove import Prover, given_up, note
from bridge.pdp.record import Facts, Recorder
from bridge.ports import Engine, Receipt, Record

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for the whole request and for one query; the operator's ceiling on lifetimes (s), if any."""

    deadline_s: float = 1.0
    query_s: float = 0.25
    max_token_lifetime_s: int | None = None

    @property
    def evaluate_s(self) -> float:
        """What evaluation may take; the rest is kept for writing its outcome down."""
        return self.deadline_s - min(0.25, self.deadline_s / 4)

    @property
    def give_up_s(self) -> float:
        """When an engine is no longer waited for that does not keep to its deadlines."""
        return (self.evaluate_s + self.deadline_s) / 2


@dataclass(frozen=True, slots=True)
class Answered:
    """What a door answers with. No receipt: the denial has no entry of its own (overloaded, log down, log too slow)."""

    id: str
    time_ms: int
    decision: Decision
    receipt: Receipt | None


class Decide:
    """Answers issuance requests, for every door alike."""

    def __init__(
        self,
        engine: Engine,
        admission: Admission,
        recorder: Recorder,
        prover: Prover,
        mask: SecretMask,
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        self._engine, self._admission, self._recorder, self._prover = engine, admission, recorder, prover
        self._mask, self._limits, self._metrics = mask, limits, metrics

    async def __call__(self, asking: Asking) -> Answered:
        """The decision on one request. Never raises for a fault of engine, policy or log: those are denials."""
        started, at = time.monotonic(), now_ms()
        decision_id = uuid7(at)
        if not self._admission.enter():
            self._admission.refuse(asking.caller, asking.door)
            answered = Answered(decision_id, at, deny_all(asking.request.scopes, Code.OVERLOADED), None)
        else:
            try:
                answered = await self._decide(asking, decision_id, at, started)
            finally:
                self._admission.leave()
        note(self._metrics.decided, asking.door, answered.decision, time.monotonic() - started)
        return answered

    def unsaid(self, asking: Asking, answered: Answered) -> None:
        """The door could not make a reply of the decision: the caller got an error, and the log tells so."""
        if answered.receipt is not None:
            self._prover.overrule(answered.decision, asking, answered.id, None)

    async def _decide(self, asking: Asking, decision_id: str, at: int, started: float) -> Answered:
        try:
            document = gather(asking, decision_id, at, self._mask, salted=self._recorder.salted)
            raw = encode(document)
            decision, verdicts, fault, engine_s = await self._evaluate(document, raw, at, started)
            facts = Facts(
                document=document,
                document_bytes=raw,
                engine=self._engine.status(),
                request_id=asking.request_id,
                verdicts=verdicts,
                fault=fault,
                duration_us=int((time.monotonic() - started) * 1e6),
                engine_us=int(engine_s * 1e6),
            )
            decision, records = self._recorder.record(decision, facts)
        except (Exception, asyncio.CancelledError) as error:
            if given_up():
                raise
            log.exception("decision_defect", decision_id=decision_id)
            decision, records = self._defect(asking, decision_id, at, type(error).__name__)
        until = started + self._limits.deadline_s
        decision, receipt = await self._prover(decision, records, asking, decision_id, until=until)
        return Answered(decision_id, at, decision, receipt)

    async def _evaluate(
        self, document: dict[str, Any], raw: bytes, at: int, started: float
    ) -> tuple[Decision, Verdicts | None, str | None, float]:
        """The decision by policy; or the denial that stands for a fault, with what to tell the operator."""
        limits, scopes = self._limits, tuple(document["scopes"])
        askable = tuple(scope for scope in scopes if is_scope_token(scope))
        asked = time.monotonic()
        verdicts, code, fault = None, None, None
        try:
            deadline = started + limits.evaluate_s
            async with asyncio.timeout(started + limits.give_up_s - asked):
                verdicts = await evaluate(self._engine, raw, askable, at, deadline=deadline, query_s=limits.query_s)
        except (EngineTimeout, TimeoutError) as error:
            code, fault = Code.DEADLINE, str(error) or "the engine did not keep to its deadline"
        except PolicyMismatch as error:
            code, fault = Code.POLICY_MISMATCH, str(error)
        except EngineFault as error:
            code, fault = Code.ENGINE_UNAVAILABLE, str(error)
        except (Exception, asyncio.CancelledError) as error:  # a defect of ours must not look like an answer either
            if given_up():
                raise
            log.exception("evaluation_defect", decision_id=document["id"])
            code, fault = Code.ENGINE_UNAVAILABLE, f"defect: {type(error).__name__}"
        engine_s = time.monotonic() - asked
        note(self._metrics.step, "engine", engine_s)
        if verdicts is None or code is not None:
            return deny_all(scopes, code or Code.ENGINE_UNAVAILABLE), None, fault, engine_s
        try:
            question = Question(document, at, limits.max_token_lifetime_s)
            return combine(question, verdicts.gate, verdicts.scopes), verdicts, None, engine_s
        except Exception as error:
            log.exception("merging_defect", decision_id=document["id"])
            return deny_all(scopes, Code.POLICY_ERROR), verdicts, f"defect: {type(error).__name__}", engine_s

    def _defect(self, asking: Asking, decision_id: str, at: int, name: str) -> tuple[Decision, tuple[Record, ...]]:
        """The denial for a defect of ours, and its record; none when not even that can be made."""
        try:
            return self._recorder.defect(asking, decision_id, at, name)
        except Exception:
            log.exception("recording_defect", decision_id=decision_id)
            return deny_all(list(dict.fromkeys(asking.request.scopes)), Code.ENGINE_UNAVAILABLE), ()
