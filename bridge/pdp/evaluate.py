"""Asks the engine: one query for the whole request, halved only when it fails, inside the request's one deadline."""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from bridge.errors import EngineTimeout, EngineUnavailable, EvaluationFailed, PolicyMismatch
from bridge.model.decision import Code
from bridge.model.policy import GATE, PolicySet, resource_package
from bridge.model.verdict import Verdict, read_verdict
from bridge.ports import Engine

MAX_QUERIES_AT_ONCE = 4
MAX_ERROR_TEXT = 500


@dataclass(frozen=True, slots=True)
class Ask:
    """What shall answer one input document, which is always whole, since rules may read all of it.

    Of an issuance request the gate and the packages of `scopes`; of another AuthZEN tuple the package of its
    `resource` type, with these `rules`.
    """

    document: bytes
    gate: bool = True
    scopes: tuple[str, ...] = ()
    resource: str | None = None
    rules: tuple[str, ...] = ()

    @property
    def asked(self) -> list[str | None]:
        """What is answered: scopes; None stands for the gate, or for the package of the resource's type."""
        return [*([None] if self.gate else []), *self.scopes]

    def halves(self) -> "tuple[Ask, Ask] | None":
        """Two smaller questions, or None when a single package is asked already."""
        if self.gate and self.scopes:
            return Ask(self.document), Ask(self.document, gate=False, scopes=self.scopes)
        middle = len(self.scopes) // 2
        if middle == 0:
            return None
        parts = self.scopes[:middle], self.scopes[middle:]
        return Ask(self.document, gate=False, scopes=parts[0]), Ask(self.document, gate=False, scopes=parts[1])


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The gate's verdict and each mapped scope's, all by one policy set."""

    policy_set: PolicySet
    gate: Verdict
    scopes: Mapping[str, Verdict]


@dataclass(frozen=True, slots=True)
class Rules:
    """What one package said, unread. With `error` set it said nothing; `code` tells whose fault that is."""

    package: str
    said: Any = None
    error: str | None = None
    code: str = Code.POLICY_ERROR


@dataclass(slots=True)
class Answers:
    """What the queries of one request brought, by the number of the document and what was asked of it."""

    policy_set: PolicySet
    _rules: dict[tuple[int, str | None], tuple[str, Any]] = field(default_factory=dict)
    _failed: dict[tuple[int, str | None], str] = field(default_factory=dict)
    _late: set[tuple[int, str | None]] = field(default_factory=set)

    def verdicts(self, number: int, scopes: Sequence[str], now_ms: int, *, gate_of: int | None = None) -> Verdicts:
        """The verdicts on document `number`, with the gate's on document `gate_of` when that is another one.

        EngineTimeout: that gate was late.
        """
        at_gate = number if gate_of is None else gate_of
        if (at_gate, None) in self._late:
            raise EngineTimeout("the gate did not answer in time")
        mapped = {scope: package for scope in scopes if (package := self.policy_set.package_for(scope)) is not None}
        return Verdicts(
            policy_set=self.policy_set,
            gate=_verdict(self.rules(at_gate, None, GATE), now_ms),
            scopes={scope: _verdict(self.rules(number, scope, package), now_ms) for scope, package in mapped.items()},
        )

    def rules(self, number: int, asked: str | None, package: str) -> Rules:
        """What `package` said when it was `asked`."""
        key = (number, asked)
        if key in self._late:
            return Rules(package, error="no answer in time", code=Code.DEADLINE)
        if key in self._failed:
            return Rules(package, error=self._failed[key])
        by, said = self._rules.get(key, (None, None))
        if by != package:
            return Rules(package, error="the package did not answer")
        return Rules(package, said)


def _verdict(rules: Rules, now_ms: int) -> Verdict:
    if rules.error is not None:
        return Verdict(rules.package, error=rules.error, error_code=rules.code)
    return read_verdict(rules.package, rules.said, now_ms)


async def evaluate(engine: Engine, asks: Sequence[Ask], *, deadline: float, query_s: float) -> Answers:
    """What the packages say to `asks`, before `deadline` (time.monotonic); one query takes `query_s` at most.

    Raises EngineUnavailable, EngineTimeout (nothing was answered in time), or PolicyMismatch: two tries were answered
    by sets that are not accepted, or by two at once.
    """
    numbered = list(enumerate(asks))
    digests: set[str] = set()
    for _ in range(2):
        asking = _Asking(engine, deadline, query_s)
        await asking.ask(numbered)
        accepted = engine.accepted()
        digests = asking.digests
        if len(digests) <= 1 and digests <= accepted.keys():
            digest = next(iter(digests), None)
            # Where every package failed alone no answer tells its set: the newest accepted one was asked.
            policy_set = accepted[digest] if digest is not None else list(accepted.values())[-1]
            return Answers(policy_set, asking.rules, asking.failed, asking.late)
    raise PolicyMismatch(f"answered by {', '.join(sorted(d[:16] for d in digests))}")


class _Asking:
    """One try: all queries that it takes, and what they brought."""

    def __init__(self, engine: Engine, deadline: float, query_s: float) -> None:
        self._engine, self._deadline, self._query_s = engine, deadline, query_s
        self._slots = asyncio.Semaphore(MAX_QUERIES_AT_ONCE)
        self.rules: dict[tuple[int, str | None], tuple[str, Any]] = {}
        self.failed: dict[tuple[int, str | None], str] = {}
        self.late: set[tuple[int, str | None]] = set()
        self.digests: set[str] = set()

    async def ask(self, asks: list[tuple[int, Ask]]) -> None:
        """One query; when a package in it fails, two smaller ones, side by side."""
        try:
            async with self._slots:
                remaining = self._deadline - time.monotonic()
                if remaining <= 0:
                    raise EngineTimeout("the request's deadline has passed")
                asked_as = os.urandom(8).hex()
                answer = await self._engine.query(_question(asks, asked_as), min(self._query_s, remaining))
        except EngineTimeout:
            self.late.update(_keys(asks))
            return
        except EvaluationFailed as failure:
            halves = _halves(asks)
            if halves is None:
                self.failed.update(dict.fromkeys(_keys(asks), str(failure)[:MAX_ERROR_TEXT]))
                return
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._part(half)) for half in halves]
            for task in tasks:
                if (fault := task.result()) is not None:
                    raise fault from None
            return
        self._take(answer, asks, asked_as)

    async def _part(self, asks: list[tuple[int, Ask]]) -> EngineUnavailable | None:
        """A half, with its fault as a value: one half's fault must not cancel the other one's query in the middle."""
        try:
            await self.ask(asks)
        except EngineUnavailable as fault:
            return fault
        return None

    def _take(self, answer: Any, asks: list[tuple[int, Ask]], asked_as: str) -> None:
        """Keeps an answer of the kernel's shape; anything else is no answer at all.

        On a connection where one answer too many came (a server or proxy at fault), another request's yes would fit:
        the id of this one query tells them apart.
        """
        try:
            digest, items = answer["digest"], answer["items"]
            if not isinstance(digest, str) or len(items) != len(asks):
                raise EngineUnavailable("the answer does not fit the question")
            for place, ((number, ask), item) in enumerate(zip(asks, items, strict=True)):
                if item["id"] != f"{asked_as}.{place}":
                    raise EngineUnavailable("the answer is not the one to this question")
                for asked, said in (_tuple_said if ask.resource is not None else _said)(ask, item):
                    self.rules[number, asked] = said
            self.digests.add(digest)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise EngineUnavailable("the answer does not have the kernel's shape") from error


def _said(ask: Ask, item: Any) -> list[tuple[str | None, tuple[str, Any]]]:
    gate, scopes = item["gate"], item["scopes"]
    if len(gate) != int(ask.gate) or not scopes.keys() <= set(ask.scopes):
        raise EngineUnavailable("the answer does not fit the question")
    by_scope = [(scope, (said["package"], said["rules"])) for scope, said in scopes.items()]
    return [(None, (GATE, gate[0])), *by_scope] if ask.gate else list(by_scope)


def _tuple_said(ask: Ask, item: Any) -> list[tuple[str | None, tuple[str, Any]]]:
    if item["resource"] != ask.resource or not item["rules"].keys() <= set(ask.rules):
        raise EngineUnavailable("the answer does not fit the question")
    return [(None, (resource_package(item["resource"]), item["rules"]))]


def _question(asks: list[tuple[int, Ask]], asked_as: str) -> bytes:
    return b"[%b]" % b",".join(_item(ask, f"{asked_as}.{place}") for place, (_, ask) in enumerate(asks))


def _item(ask: Ask, asked_as: str) -> bytes:
    if ask.resource is not None:
        what = b'"resource":%b,"rules":%b' % (orjson.dumps(ask.resource), orjson.dumps(ask.rules))
    else:
        what = b'"gate":%b,"scopes":%b' % (b"true" if ask.gate else b"false", orjson.dumps(ask.scopes))
    return b'{"id":"%b","doc":%b,%b}' % (asked_as.encode(), ask.document, what)


def _keys(asks: list[tuple[int, Ask]]) -> list[tuple[int, str | None]]:
    return [(number, asked) for number, ask in asks for asked in ask.asked]


def _halves(asks: list[tuple[int, Ask]]) -> tuple[list[tuple[int, Ask]], list[tuple[int, Ask]]] | None:
    if len(asks) > 1:
        middle = len(asks) // 2
        return asks[:middle], asks[middle:]
    ((number, ask),) = asks
    halves = ask.halves()
    return None if halves is None else ([(number, halves[0])], [(number, halves[1])])
