"""Judges case tables: what the bridge would say, against what is expected."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.model.decision import Decision
from bridge.model.limit import Limit
from bridge.model.scope import is_scope_token
from bridge.model.source import Declared
from bridge.model.times import parse_rfc3339
from bridge.pdp.gather import encode
from bridge.policy.answer import LOCAL, Settled, Voice, Wish, answers
from bridge.policy.cases import Question
from bridge.ports import Engine


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


def wish_of(question: Question) -> Wish:
    """What the case asks; it says what each source answered."""
    case = question.case
    sources = None
    if case.sources is not None:
        sources = {name: told.model_dump(mode="json", exclude_unset=True) for name, told in case.sources.items()}
    at = None if case.time is None else parse_rfc3339(case.time)
    return Wish(question.request, case.issuer or LOCAL, at, sources)


async def judge(questions: Sequence[Question], engine: Engine, settled: Settled) -> list[Judged]:
    """Each question with what the bridge would say. Raises EngineFault where the engine gives no answer."""
    judged: list[Judged] = []
    async for answered in answers(list(map(wish_of, questions)), engine, settled):
        question, decision = questions[len(judged)], answered.decision()
        differences = (*_differences(question, decision), *_unasked(question, settled.sources))
        judged.append(Judged(question, decision, answered.voices(), differences))
    return judged


def _unasked(question: Question, sources: Sequence[Declared]) -> Iterator[Difference]:
    """Sources whose answer the case tells, though the bridge would not ask them: its policies would see nothing.

    Where no source is declared, nothing is known of any.
    """
    uses = (None, *filter(is_scope_token, question.request["scopes"]))
    asked = [source.name for source in sources if any(source.serves(use) for use in uses)]
    for name in sorted((question.case.sources or {}).keys() - set(asked) if sources else ()):
        yield Difference(f"sources.{name}", "asked for these scopes", asked)


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
