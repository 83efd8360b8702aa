"""Judges case tables: the same items, engine, reading and merging as in a decision; nothing is written down."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.model.decision import Decision
from bridge.model.limit import Limit
from bridge.model.mask import SecretMask
from bridge.model.policy import PolicySet
from bridge.model.scope import is_scope_token
from bridge.model.source import Declared, Status
from bridge.model.times import now_ms, parse_rfc3339, uuid7
from bridge.model.verdict import Verdict
from bridge.pdp import combine
from bridge.pdp.enrich import Informed, without_failed
from bridge.pdp.evaluate import Answers, Ask, Verdicts, evaluate
from bridge.pdp.gather import Call, encode, gather
from bridge.policy.cases import Question
from bridge.ports import Engine

CHUNK = 64
CHUNK_S = 60.0
_LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Voice:
    """One rule that spoke. `rule`: allow, deny, warn, dropped (its exception does not hold), error (`code` says it)."""

    package: str
    rule: str
    code: str
    file: str
    row: int


@dataclass(frozen=True, slots=True)
class Difference:
    """What was expected and what came, of `what` the answer holds."""

    what: str
    expected: Any
    got: Any


@dataclass(frozen=True, slots=True)
class Judged:
    """One question with its decision; no `differences`: it is as expected."""

    question: Question
    decision: Decision
    voices: tuple[Voice, ...]
    differences: tuple[Difference, ...]

    @property
    def codes(self) -> list[str]:
        """The reasons in the decision: of rules, and the bridge's own."""
        return sorted(_codes(self.decision))


@dataclass(frozen=True, slots=True)
class Settled:
    """What the configuration says: names of secrets, the ceiling on lifetimes (s), which scope uses which source."""

    mask: SecretMask
    max_token_lifetime_s: int | None = None
    sources: tuple[Declared, ...] = ()


async def judge(questions: Sequence[Question], engine: Engine, settled: Settled) -> list[Judged]:
    """Each question with what the bridge would say. Raises EngineFault where the engine gives no answer.

    No source is asked: a case says what one answered.
    """
    judged: list[Judged] = []
    at = now_ms()
    for start in range(0, len(questions), CHUNK):
        chunk = questions[start : start + CHUNK]
        documents = [_document(question, at, settled.mask) for question in chunk]
        asks = [
            Ask(encode(document), scopes=tuple(filter(is_scope_token, document["scopes"]))) for document in documents
        ]
        said = await evaluate(engine, asks, deadline=time.monotonic() + CHUNK_S, query_s=CHUNK_S / 2)
        for number, (question, document) in enumerate(zip(chunk, documents, strict=True)):
            judged.append(_judged(question, document, asks[number].scopes, said, number, at, settled))
    return judged


def _document(question: Question, at: int, mask: SecretMask) -> dict[str, Any]:
    at = _time(question, at)
    call = Call("native", _LOCAL, question.case.issuer or _LOCAL)
    document = gather(question.request, call, uuid7(at), at, mask)
    if question.case.sources is not None:
        document["sources"] = {
            name: mask(source.model_dump(mode="json", exclude_unset=True))
            for name, source in question.case.sources.items()
        }
    return document


def _time(question: Question, at: int) -> int:
    told = None if question.case.time is None else parse_rfc3339(question.case.time)
    return at if told is None else told


def _judged(
    question: Question,
    document: Mapping[str, Any],
    scopes: Sequence[str],
    said: Answers,
    number: int,
    at: int,
    settled: Settled,
) -> Judged:
    at = _time(question, at)
    verdicts = said.verdicts(number, scopes, at)
    verdicts = _without_failed(verdicts, question, settled)
    asked = combine.Question(document, at, settled.max_token_lifetime_s)
    decision = combine.combine(asked, verdicts.gate, verdicts.scopes)
    differences = (*_differences(question, decision), *_unasked(question, scopes, settled.sources))
    return Judged(question, decision, tuple(_voices(verdicts, said.policy_set)), differences)


def _unasked(question: Question, scopes: Sequence[str], sources: Sequence[Declared]) -> Iterator[Difference]:
    """Sources whose answer the case tells, though the bridge would not ask them: its policies would see nothing.

    Where no source is declared, nothing is known of any.
    """
    asked = [source.name for source in sources if any(source.serves(use) for use in (None, *scopes))]
    for name in sorted((question.case.sources or {}).keys() - set(asked) if sources else ()):
        yield Difference(f"sources.{name}", "asked for these scopes", asked)


def _without_failed(verdicts: Verdicts, question: Question, settled: Settled) -> Verdicts:
    """As in a decision: what uses a source that failed is denied, whatever its package says."""
    told = question.case.sources or {}
    failed = [s for s in settled.sources if s.name in told and told[s.name].status == Status.FAILED.value]
    denies = frozenset(use for use in (None, *verdicts.scopes) if any(source.serves(use) for source in failed))
    informed = Informed(denies=denies)
    return without_failed(verdicts, informed, informed)


def _voices(verdicts: Verdicts, policy_set: PolicySet) -> Iterator[Voice]:
    for verdict in (verdicts.gate, *verdicts.scopes.values()):
        for rule, code in _spoken(verdict):
            package = policy_set.packages.get(verdict.package)
            file, row = (package.file, package.rows.get(code, package.row)) if package else ("", 0)
            yield Voice(verdict.package, rule, code, file, row)


def _spoken(verdict: Verdict) -> Iterator[tuple[str, str]]:
    for rule in ("deny", "warn", "allow", "dropped"):
        for finding in getattr(verdict, rule):
            yield rule, finding.code
    if verdict.error is not None:
        yield "error", verdict.error


def _differences(question: Question, decision: Decision) -> Iterator[Difference]:
    case = question.case
    if decision.outcome.value != case.expect:
        yield Difference("outcome", case.expect, decision.outcome.value)
    if case.codes is not None and (missing := sorted(set(case.codes) - _codes(decision))):
        yield Difference("codes", missing, sorted(_codes(decision)))
    if case.granted is not None and set(case.granted.split()) != set(decision.granted_scopes):
        yield Difference("granted", case.granted, " ".join(decision.granted_scopes))
    if case.require is not None and _unordered(case.require) != _unordered(decision.require):
        yield Difference("require", case.require, list(decision.require))
    for what, expected, got in (
        ("limit", case.limit, _limit(decision.limit)),
        ("claims", case.claims, decision.claims),
    ):
        for name, value in (expected or {}).items():
            if encode(got.get(name)) != encode(value):
                yield Difference(f"{what}.{name}", value, got.get(name))


def _codes(decision: Decision) -> set[str]:
    findings = [decision.findings, decision.gate.findings, *(answer.findings for answer in decision.scopes.values())]
    return {finding.code for found in findings for finding in found}


def _unordered(values: Sequence[Any]) -> list[bytes]:
    return sorted(encode(value) for value in values)


def _limit(limit: Limit) -> dict[str, Any]:
    members = {
        "token_lifetime": limit.token_lifetime,
        "audience": limit.audience,
        "authorization_details": limit.authorization_details,
    }
    return {name: value for name, value in members.items() if value is not None}
