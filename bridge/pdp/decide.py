"""The road of a request: admit, gather, evaluate, combine, record. Read this page first.

A denial is a value and comes back as a decision. A fault is an exception, and here every fault becomes a denial that
is on record; only where the log itself is the fault is there no entry (`evidence_unavailable`).
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from bridge.errors import EngineFault, EngineTimeout, EvidenceUnavailable, PolicyMismatch
from bridge.model.decision import Code, Decision, Outcome, deny_all
from bridge.model.mask import SecretMask
from bridge.model.scope import is_scope_token
from bridge.model.times import now_ms, rfc3339, uuid7
from bridge.ops.metrics import Metrics
from bridge.pdp.admit import Admission
from bridge.pdp.combine import Question, combine
from bridge.pdp.evaluate import Verdicts, evaluate
from bridge.pdp.gather import Asking, encode, gather
from bridge.pdp.record import Facts, Recorder
from bridge.ports import Engine, Journal, Receipt, Record

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
        journal: Journal,
        admission: Admission,
        recorder: Recorder,
        mask: SecretMask,
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        self._engine, self._journal, self._admission = engine, journal, admission
        self._recorder, self._mask, self._limits, self._metrics = recorder, mask, limits, metrics

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
        _note(self._metrics.decided, asking.door, answered.decision, time.monotonic() - started)
        return answered

    async def _decide(self, asking: Asking, decision_id: str, at: int, started: float) -> Answered:
        try:
            document = gather(asking, decision_id, at, self._mask)
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
            if _given_up():
                raise
            log.exception("decision_defect", decision_id=decision_id)
            decision, records = self._defect(asking, decision_id, at, type(error).__name__)
        decision, receipt = await self._durable(decision, records, asking, decision_id, started)
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
            if _given_up():
                raise
            log.exception("evaluation_defect", decision_id=document["id"])
            code, fault = Code.ENGINE_UNAVAILABLE, f"defect: {type(error).__name__}"
        engine_s = time.monotonic() - asked
        _note(self._metrics.step, "engine", engine_s)
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

    async def _durable(
        self, decision: Decision, records: tuple[Record, ...], asking: Asking, decision_id: str, started: float
    ) -> tuple[Decision, Receipt | None]:
        """Waits until the entry is durable. What cannot be proven is denied."""
        before = time.monotonic()
        scopes = tuple(decision.scopes)
        try:
            if not records:
                raise EvidenceUnavailable("no entry could be made")
            written = self._journal.append(*records)
            # Not wait_for: giving up waiting must not take the entry back.
            await asyncio.wait((written,), timeout=max(0.0, started + self._limits.deadline_s - before))
            _note(self._metrics.step, "record", time.monotonic() - before)
            if written.done():
                return decision, written.result()
            written.add_done_callback(_look_at)
            self._overrule(decision, asking, decision_id)
            return deny_all(scopes, Code.DEADLINE), None
        except (Exception, asyncio.CancelledError) as error:
            if _given_up():
                raise
            _note(self._journal.denied_unrecorded)
            defect = None if isinstance(error, EvidenceUnavailable) else error
            log.error(
                "denied_unrecorded", decision_id=decision_id, caller=asking.caller, reason=str(error), exc_info=defect
            )
            return deny_all(scopes, Code.EVIDENCE_UNAVAILABLE), None

    def _overrule(self, decision: Decision, asking: Asking, decision_id: str) -> None:
        """The log was too slow: the entry stands as it was handed over, and a second one tells the real answer."""
        at = now_ms()
        entry = {
            "v": 1,
            "kind": "overruled",
            "id": uuid7(at),
            "time": rfc3339(at),
            "decision_id": decision_id,
            "door": asking.door,
            "caller": asking.caller,
            "overruled": decision.outcome.value,
            "outcome": Outcome.DENY.value,
            "reply": {"outcome": Outcome.DENY.value, "code": Code.DEADLINE.value},
        }
        self._journal.append_quietly(Record(entry), denials=1)


def _note(what: Callable[..., None], *values: Any) -> None:
    """A number that cannot be noted must not make an error of an answer that is on record."""
    try:
        what(*values)
    except Exception:
        log.exception("metrics_defect")


def _given_up() -> bool:
    """Whether this task is cancelled itself, and not only something that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _look_at(written: asyncio.Future[Receipt]) -> None:
    """An entry that nobody waits for any more may still fail; the journal has told so already."""
    written.exception()
