"""The road of a request: admit, gather, enrich, evaluate, combine, record, prove. Read this page first.

A request is one question (native door), or a batch of them and of other tuples (AuthZEN): one query, and an entry for
each document. A denial is a value and comes back as a decision. A fault is an exception, and here every fault becomes
a denial that is on record; only where the log itself is the fault is there no entry (`evidence_unavailable`, see
prove.py).
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from bridge.errors import EngineTimeout
from bridge.model.decision import Code, Decision, Outcome, deny_all
from bridge.model.mask import SecretMask
from bridge.model.scope import is_scope_token
from bridge.model.times import now_ms, uuid7
from bridge.ops.metrics import Metrics
from bridge.pdp.admit import Admission
from bridge.pdp.ask import Fault, Limits, ask
from bridge.pdp.combine import combine
from bridge.pdp.enrich import Enrich, Informed, uses_of, without_failed
from bridge.pdp.evaluate import Answers, Ask, Verdicts
from bridge.pdp.gather import Asking, Call, encode, gather
from bridge.pdp.prove import Prover, given_up, note
from bridge.pdp.question import Question
from bridge.pdp.record import Facts, Recorder
from bridge.pdp.together import Within, left_by_others
from bridge.ports import Engine, Receipt, Record

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Answered:
    """What a door answers with. No receipt: the denial has no entry of its own (overloaded, log down, log too slow)."""

    id: str
    time_ms: int
    decision: Decision
    receipt: Receipt | None


_Asked = tuple[Asking, dict[str, Any], Informed]
"""A question, its input document, and what sources said about it."""
_Combined = tuple[Decision, Verdicts | None, Question | None, str | None]
"""A decision, by which verdicts, merged on what, and what to tell the operator of a fault."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """A decision, and what is to be written down about it."""

    decision: Decision
    records: tuple[Record, ...]


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
        enrich: Enrich,
    ) -> None:
        self._engine, self._admission, self._recorder, self._prover = engine, admission, recorder, prover
        self._mask, self._limits, self._metrics, self._enrich = mask, limits, metrics, enrich

    async def __call__(self, askings: Sequence[Asking]) -> list[Answered]:
        """The decision on each of `askings`, which come from one call and are put to the engine as one query.

        Never raises for a fault of engine, policy or log: those are denials.
        """
        started, at = time.monotonic(), now_ms()
        ids = [uuid7(at) for _ in askings]
        call = askings[0].call
        if not self._admission.enter():
            self._admission.refuse(call.caller, call.door, len(askings))
            denied = [deny_all(asking.scopes, Code.OVERLOADED) for asking in askings]
            answered = [Answered(one, at, decision, None) for one, decision in zip(ids, denied, strict=True)]
        else:
            try:
                answered = await self._decide(askings, ids, at, started)
            finally:
                self._admission.leave()
        for one in answered:
            note(self._metrics.decided, call.door, one.decision, time.monotonic() - started)
        return answered

    def unsaid(self, call: Call, answered: Sequence[Answered]) -> None:
        """The door could not make a reply of the decisions: the caller got an error, and the log tells so."""
        for one in answered:
            if one.receipt is not None:
                self._prover.overrule(one.decision.outcome, call, one.id, None)

    async def _decide(self, askings: Sequence[Asking], ids: Sequence[str], at: int, started: float) -> list[Answered]:
        limits = self._limits.within(askings[0].call.patience_s)
        try:
            judged = await self._judge(askings, ids, at, started, limits)
        except (Exception, asyncio.CancelledError) as error:
            if given_up():
                raise
            log.exception("decision_defect", decision_id=ids[0])
            name = type(error).__name__
            judged = [self._defect(asking, one, at, name) for asking, one in zip(askings, ids, strict=True)]
        until = started + limits.deadline_s
        parts = [self._prove(asking, one, at, j, until) for asking, one, j in zip(askings, ids, judged, strict=True)]
        answered = [await parts[0]] if len(parts) == 1 else list(await asyncio.gather(*parts))
        return [self._behind_its_gate(asking, one, answered) for asking, one in zip(askings, answered, strict=True)]

    async def _judge(
        self, askings: Sequence[Asking], ids: Sequence[str], at: int, started: float, limits: Limits
    ) -> list[_Judged]:
        salted = self._recorder.salted
        documents = [
            gather(asking.request, asking.call, one, at, self._mask, salted=salted)
            for asking, one in zip(askings, ids, strict=True)
        ]
        uses = [uses_of(asking) for asking in askings]
        until = started + limits.enrich_s
        informed = await self._enrich(list(zip(documents, uses, strict=True)), until)
        raw = [encode(document) for document in documents]
        asked = time.monotonic()
        asks = [
            Ask(document, asking.terms.gate_of is None, tuple(filter(is_scope_token, asking.scopes)))
            for asking, document in zip(askings, raw, strict=True)
        ]
        said = await ask(self._engine, asks, limits, started)
        engine_s = time.monotonic() - asked
        note(self._metrics.step, "engine", engine_s)
        engine, judged = self._engine.status(), list[_Judged]()
        found = self._combined(list(zip(askings, documents, informed, strict=True)), said, at)
        for number, (asking, document) in enumerate(zip(askings, documents, strict=True)):
            decision, verdicts, question, fault = found[number]
            at_gate = asking.terms.gate_of
            if at_gate is not None and judged[at_gate].decision.gate.outcome is not Outcome.ALLOW:
                decision = without_gate(decision)
            facts = Facts(
                document=document,
                document_bytes=raw[number],
                engine=engine,
                request_id=asking.call.request_id,
                batch=asking.batch,
                gate_decision=None if at_gate is None else ids[at_gate],
                verdicts=verdicts,
                question=question,
                fault=fault,
                informed=informed[number],
                duration_us=int((time.monotonic() - started) * 1e6),
                engine_us=int(engine_s * 1e6),
                asking=asking,
            )
            judged.append(_Judged(*self._recorder.record(decision, facts)))
        return judged

    def _combined(self, asked: Sequence[_Asked], said: Answers | Fault, at: int) -> list[_Combined]:
        """Each document's own decision; then anew while a package narrows the scopes of the same token elsewhere."""
        found = [self._combine(asked, n, said, at) for n in range(len(asked))]
        askings: list[Asking] = [asking for asking, *_ in asked]
        before: Within = {}
        while len(found) > 1 and (within := left_by_others(askings, [d for d, *_ in found], before)) != before:
            for number, scopes in within.items():
                if before.get(number) != scopes:
                    found[number] = self._combine(asked, number, said, at, scopes)
            before = within
        return found

    def _combine(
        self,
        asked: Sequence[_Asked],
        number: int,
        said: Answers | Fault,
        at: int,
        within: frozenset[str] | None = None,
    ) -> _Combined:
        """The decision by policy; or the denial that stands for a fault, with what to tell the operator."""
        asking, document, informed = asked[number]
        scopes, terms = asking.scopes, asking.terms
        if isinstance(said, Fault):
            return deny_all(scopes, said.code), None, None, said.text
        try:
            verdicts = said.verdicts(number, tuple(filter(is_scope_token, scopes)), at, gate_of=terms.gate_of)
        except EngineTimeout as error:
            return deny_all(scopes, Code.DEADLINE), None, None, str(error)
        try:
            at_gate = informed if terms.gate_of is None else asked[terms.gate_of][2]
            counting = without_failed(verdicts, at_gate, informed)
            question = Question(document, at, self._limits.max_token_lifetime_s, terms, within)
            return combine(question, counting.gate, counting.scopes), verdicts, question, None
        except Exception as error:  # a defect of ours is a denial
            log.exception("merging_defect", decision_id=document["id"])
            return deny_all(scopes, Code.POLICY_ERROR), verdicts, None, f"defect: {type(error).__name__}"

    def _defect(self, asking: Asking, decision_id: str, at: int, name: str) -> _Judged:
        """The denial for a defect of ours, and its record; none when not even that can be made."""
        try:
            return _Judged(*self._recorder.defect(asking, decision_id, at, name))
        except Exception:  # a defect denies, even one that cannot be written down
            log.exception("recording_defect", decision_id=decision_id)
            return _Judged(deny_all(asking.scopes, Code.ENGINE_UNAVAILABLE), ())

    async def _prove(self, asking: Asking, decision_id: str, at: int, judged: _Judged, until: float) -> Answered:
        decision = judged.decision
        code, receipt = await self._prover(judged.records, asking.call, decision_id, decision.outcome, until=until)
        if code is not None:
            decision = deny_all(tuple(decision.scopes), code)
        return Answered(decision_id, at, decision, receipt)

    def _behind_its_gate(self, asking: Asking, one: Answered, all_answered: Sequence[Answered]) -> Answered:
        """A scope is granted only together with its gate, whose entry may be the one that could not be written."""
        at_gate = asking.terms.gate_of
        if at_gate is None or all_answered[at_gate].decision.gate.outcome is Outcome.ALLOW:
            return one
        decision = without_gate(one.decision)
        if decision is not one.decision:
            self._prover.overrule(one.decision.outcome, asking.call, one.id, Code.GATE_DENIED)
        return Answered(one.id, one.time_ms, decision, one.receipt)


def without_gate(decision: Decision) -> Decision:
    """What is left of it when the gate that counts is another document's and denies: the same, or nothing."""
    return deny_all(tuple(decision.scopes), Code.GATE_DENIED) if decision.granted_scopes else decision
