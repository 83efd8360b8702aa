"""Asks the engine: one query for the whole request, halved only when it fails, inside the request's one deadline."""

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from bridge.errors import EngineTimeout, EngineUnavailable, EvaluationFailed, PolicyMismatch
from bridge.model.decision import Code
from bridge.model.policy import GATE, PolicySet
from bridge.model.verdict import Verdict, read_verdict
from bridge.ports import Engine

MAX_QUERIES_AT_ONCE = 4
MAX_ERROR_TEXT = 500


@dataclass(frozen=True, slots=True)
class Ask:
    """What one query shall answer; the document beside it is always whole, since rules may read all of it."""

    gate: bool
    scopes: tuple[str, ...]

    def halves(self) -> "tuple[Ask, Ask] | None":
        """Two smaller questions, or None when a single package is asked already."""
        if self.gate and self.scopes:
            return Ask(gate=True, scopes=()), Ask(gate=False, scopes=self.scopes)
        middle = len(self.scopes) // 2
        if middle == 0:
            return None
        return Ask(gate=False, scopes=self.scopes[:middle]), Ask(gate=False, scopes=self.scopes[middle:])


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The gate's verdict and each mapped scope's, all by one policy set."""

    policy_set: PolicySet
    gate: Verdict
    scopes: Mapping[str, Verdict]


@dataclass(slots=True)
class _Answers:
    """What the queries of one request brought so far: rules by package asked (the gate under None)."""

    rules: dict[str | None, tuple[str, Any]] = field(default_factory=dict)
    failed: dict[str | None, str] = field(default_factory=dict)
    late: set[str | None] = field(default_factory=set)
    digests: set[str] = field(default_factory=set)


async def evaluate(
    engine: Engine, document: bytes, scopes: tuple[str, ...], now_ms: int, *, deadline: float, query_s: float
) -> Verdicts:
    """The verdicts on `document` (the exact JSON that policies see), before `deadline` (time.monotonic).

    Raises EngineUnavailable, EngineTimeout (the gate itself was late), or PolicyMismatch: two tries were answered by
    sets that are not accepted, or by two at once.
    """
    answers = _Answers()
    for _ in range(2):
        answers = _Answers()
        await _ask(
            engine,
            document,
            Ask(gate=True, scopes=scopes),
            answers,
            asyncio.Semaphore(MAX_QUERIES_AT_ONCE),
            deadline,
            query_s,
        )
        if None in answers.late:
            raise EngineTimeout("the gate did not answer in time")
        accepted = engine.accepted()
        if len(answers.digests) <= 1 and answers.digests <= accepted.keys():
            digest = next(iter(answers.digests), None)
            # Where every package failed alone no answer tells its set: the newest accepted one was asked.
            policy_set = accepted[digest] if digest is not None else list(accepted.values())[-1]
            return _read(answers, policy_set, scopes, now_ms)
    raise PolicyMismatch(f"answered by {', '.join(sorted(d[:16] for d in answers.digests))}")


async def _ask(
    engine: Engine,
    document: bytes,
    ask: Ask,
    answers: _Answers,
    slots: asyncio.Semaphore,
    deadline: float,
    query_s: float,
) -> None:
    """One query; when a package in it fails, two smaller ones, side by side."""
    try:
        async with slots:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise EngineTimeout("the request's deadline has passed")
            asked_as = os.urandom(8).hex()
            answer = await engine.query(_question(document, ask, asked_as), min(query_s, remaining))
    except EngineTimeout:
        answers.late.update(_asked(ask))
        return
    except EvaluationFailed as failure:
        halves = ask.halves()
        if halves is None:
            answers.failed.update(dict.fromkeys(_asked(ask), str(failure)[:MAX_ERROR_TEXT]))
            return
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_part(engine, document, h, answers, slots, deadline, query_s)) for h in halves]
        for task in tasks:
            if (fault := task.result()) is not None:
                raise fault from None
        return
    _take(answer, ask, asked_as, answers)


async def _part(
    engine: Engine,
    document: bytes,
    ask: Ask,
    answers: _Answers,
    slots: asyncio.Semaphore,
    deadline: float,
    query_s: float,
) -> EngineUnavailable | None:
    """A half, with its fault as a value: one half's fault must not cancel the other one's query in the middle."""
    try:
        await _ask(engine, document, ask, answers, slots, deadline, query_s)
    except EngineUnavailable as fault:
        return fault
    return None


def _question(document: bytes, ask: Ask, asked_as: str) -> bytes:
    return b'[{"id":"%b","doc":%b,"gate":%b,"scopes":%b}]' % (
        asked_as.encode(),
        document,
        b"true" if ask.gate else b"false",
        orjson.dumps(ask.scopes),
    )


def _asked(ask: Ask) -> list[str | None]:
    return [*([None] if ask.gate else []), *ask.scopes]


def _take(answer: Any, ask: Ask, asked_as: str, answers: _Answers) -> None:
    """Keeps an answer of the kernel's shape; anything else is no answer at all.

    On a connection where one answer too many came (a server or proxy at fault), another request's yes would fit: the
    id of this one query tells them apart.
    """
    try:
        digest, (item,) = answer["digest"], answer["items"]
        gate, scopes = item["gate"], item["scopes"]
        if item["id"] != asked_as or not isinstance(digest, str):
            raise EngineUnavailable("the answer is not the one to this question")
        if len(gate) != int(ask.gate) or not scopes.keys() <= set(ask.scopes):
            raise EngineUnavailable("the answer does not fit the question")
        if ask.gate:
            answers.rules[None] = (GATE, gate[0])
        for scope, said in scopes.items():
            answers.rules[scope] = (said["package"], said["rules"])
        answers.digests.add(digest)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EngineUnavailable("the answer does not have the kernel's shape") from error


def _read(answers: _Answers, policy_set: PolicySet, scopes: tuple[str, ...], now_ms: int) -> Verdicts:
    def verdict(asked: str | None, package: str) -> Verdict:
        if asked in answers.late:
            return Verdict(package, error="no answer in time", error_code=Code.DEADLINE)
        if asked in answers.failed:
            return Verdict(package, error=answers.failed[asked])
        by, rules = answers.rules.get(asked, (None, None))
        if by != package:
            return Verdict(package, error="the package did not answer")
        return read_verdict(package, rules, now_ms)

    mapped = {scope: package for scope in scopes if (package := policy_set.package_for(scope)) is not None}
    return Verdicts(
        policy_set=policy_set,
        gate=verdict(None, GATE),
        scopes={scope: verdict(scope, package) for scope, package in mapped.items()},
    )
