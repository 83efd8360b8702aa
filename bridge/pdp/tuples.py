"""The road of AuthZEN tuples that are not about issuance: the package of their resource's type answers.

The same steps as in decide.py; all tuples of one request stand in one entry. Only `true` permits.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from bridge.model.decision import Code, Outcome
from bridge.model.limit import writable
from bridge.model.mask import SecretMask
from bridge.model.policy import PolicySet, resource_package
from bridge.model.times import now_ms, uuid7
from bridge.ops.metrics import Metrics
from bridge.pdp.admit import Admission
from bridge.pdp.ask import Fault, Limits, ask
from bridge.pdp.enrich import Enrich, Informed
from bridge.pdp.evaluate import Answers, Ask, Rules
from bridge.pdp.gather import Batch, Call, encode, gather
from bridge.pdp.prove import Prover, given_up, note
from bridge.pdp.record_tuples import Told, TupleFacts, TupleRecorder
from bridge.ports import Engine

RULES = ("allow", "deny", "context")
SHAPING = frozenset(["issuance", "issuance_ext"])
"""What only decisions about issuance say of a token, each part of it checked."""
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """Item `number` of a request. `refused`: why no policy is asked; then there may be no tuple at all."""

    number: int
    tuple: Mapping[str, Any] | None
    refused: str | None = None


class Tuples:
    """Answers the other tuples of a request, for every door alike."""

    def __init__(
        self,
        engine: Engine,
        admission: Admission,
        recorder: TupleRecorder,
        prover: Prover,
        mask: SecretMask,
        limits: Limits,
        metrics: Metrics,
        enrich: Enrich,
    ) -> None:
        self._engine, self._admission, self._recorder, self._prover = engine, admission, recorder, prover
        self._mask, self._limits, self._metrics, self._enrich = mask, limits, metrics, enrich

    async def __call__(self, call: Call, batch_id: str, questions: Sequence[Question]) -> list[Told]:
        """What each is answered. Never raises for a fault of engine, policy or log: those are denials."""
        started, at = time.monotonic(), now_ms()
        if not self._admission.enter():
            self._admission.refuse(call.caller, call.door, 1)
            return [Told(q.number, permit=False, code=Code.OVERLOADED) for q in questions]
        try:
            told = await self._answer(call, batch_id, questions, at, started)
        finally:
            self._admission.leave()
        note(self._metrics.tuples, call.door, [one.permit for one in told])
        return told

    def unsaid(self, call: Call, told: Sequence[Told]) -> None:
        """The door could not make a reply of the answers: the caller got an error, and the log tells so."""
        outcome = Outcome.ALLOW if any(one.permit for one in told) else Outcome.DENY
        for entry_id in {one.entry for one in told if one.entry is not None}:
            self._prover.overrule(outcome, call, entry_id, None)

    async def _answer(
        self, call: Call, batch_id: str, questions: Sequence[Question], at: int, started: float
    ) -> list[Told]:
        entry_id = uuid7(at)
        try:
            documents = {
                q.number: gather(q.tuple, call, entry_id, at, self._mask, salted=self._recorder.salted)
                for q in questions
                if q.tuple is not None
            }
            informed = await self._inform(questions, documents, started)
            raw = {number: encode(document) for number, document in documents.items()}
            told, policy_set, fault = await self._judge(questions, documents, raw, started)
            failed = {number for number, one in informed.items() if one.denies}
            told = [source_failed(one) if one.number in failed else one for one in told]
            facts = TupleFacts(
                call=call,
                batch=Batch(batch_id, tuple(q.number for q in questions)),
                entry_id=entry_id,
                time_ms=at,
                documents=documents,
                raw=raw,
                engine=self._engine.status(),
                policy_set=policy_set,
                fault=fault,
                informed=informed,
                duration_us=int((time.monotonic() - started) * 1e6),
            )
            records = self._recorder.record(told, facts)
        except (Exception, asyncio.CancelledError):
            if given_up():
                raise
            log.exception("tuples_defect", batch=batch_id)
            told, records = [_denied(q, Code.ENGINE_UNAVAILABLE) for q in questions], ()
        outcome = Outcome.ALLOW if any(one.permit for one in told) else Outcome.DENY
        until = started + self._limits.deadline_s
        code, _ = await self._prover(records, call, entry_id, outcome, until=until)
        return [replace(one, entry=entry_id) for one in told] if code is None else [_denied(q, code) for q in questions]

    async def _inform(
        self, questions: Sequence[Question], documents: Mapping[int, dict[str, Any]], started: float
    ) -> dict[int, Informed]:
        """What sources say about each tuple that a policy is asked about."""
        asked = {q.number: documents[q.number] for q in questions if q.refused is None}
        uses = [(document, [resource_package(str(document["resource"]["type"]))]) for document in asked.values()]
        return dict(zip(asked, await self._enrich(uses, started + self._limits.enrich_s), strict=True))

    async def _judge(
        self,
        questions: Sequence[Question],
        documents: Mapping[int, dict[str, Any]],
        raw: Mapping[int, bytes],
        started: float,
    ) -> tuple[list[Told], PolicySet | None, str | None]:
        """The answers, by which policy set, and what to tell the operator when nothing usable was said."""
        asked = [q for q in questions if q.refused is None]
        types = {q.number: str(documents[q.number]["resource"]["type"]) for q in asked}
        asks = [Ask(raw[q.number], resource=types[q.number], rules=RULES) for q in asked]
        said: Answers | Fault | None = await ask(self._engine, asks, self._limits, started) if asks else None
        if isinstance(said, Fault):
            return [_denied(q, said.code) for q in questions], None, said.text
        if said is None:
            return [_denied(q, Code.ENGINE_UNAVAILABLE) for q in questions], None, None
        by = {q.number: read_tuple(said, place, types[q.number], q.number) for place, q in enumerate(asked)}
        return [by.get(q.number) or _denied(q, Code.ENGINE_UNAVAILABLE) for q in questions], said.policy_set, None


def _denied(question: Question, code: str) -> Told:
    return Told(question.number, permit=False, code=question.refused or code)


def source_failed(told: Told) -> Told:
    """Whatever the package says; where that was a denial, its reason stands."""
    return replace(told, permit=False, code=Code.SOURCE_FAILED, context=None) if told.permit else told


def read_tuple(said: Answers, place: int, resource_type: str, number: int) -> Told:
    """The answer of the package of that type to the document at `place`, which is item `number` of its request."""
    package = resource_package(resource_type)
    if package not in said.policy_set.packages:
        return Told(number, permit=False, code=Code.UNMAPPED_RESOURCE)
    return read_tuple_rules(said.rules(place, None, package), number)


def read_tuple_rules(rules: Rules, number: int) -> Told:
    """What the package's `allow`, `deny` and `context` come to; an ill-shaped one is a policy error, and denies."""
    if rules.error is not None:
        return Told(number, permit=False, code=rules.code, package=rules.package, error=rules.error)
    allow, context = rules.said.get("allow", False), rules.said.get("context")
    if not isinstance(allow, bool):
        error = "allow must be a boolean"
    elif context is not None and not (isinstance(context, dict) and writable(context)):
        error = "context must be an object, not nested too deep, without numbers that readers would round"
    elif context is not None and (shaping := sorted(SHAPING & context.keys())):
        error = f"context must not have {shaping[0]}: no such tuple grants a token"
    else:
        deny = rules.said.get("deny", False)
        permit = allow and (deny is False or deny == [])
        code = None if permit else Code.NO_ALLOW
        return Told(number, permit=permit, code=code, package=rules.package, context=context)
    return Told(number, permit=False, code=Code.POLICY_ERROR, package=rules.package, error=error)
