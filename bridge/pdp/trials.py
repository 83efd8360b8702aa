"""Finds out by trying which candidates are permitted: the same question, items and merging as in a decision."""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.errors import EngineTimeout
from bridge.model.decision import Code, Outcome
from bridge.model.mask import SecretMask
from bridge.model.policy import PolicySet
from bridge.model.scope import is_scope_token
from bridge.pdp.ask import Fault, Limits, ask
from bridge.pdp.combine import Question, combine
from bridge.pdp.evaluate import Answers, Ask
from bridge.pdp.gather import Asking, encode, gather
from bridge.ports import Engine

CHUNK = 256
CHUNK_BYTES = 2 * 1024 * 1024
AT_A_TIME = 32
"""Documents between which other requests get their turn."""


@dataclass(frozen=True, slots=True)
class Way:
    """One question by which a candidate may be permitted: for this scope of it, or (None) for its gate."""

    asking: Asking
    scope: str | None


@dataclass(slots=True)
class Trial:
    """A candidate, and the questions one of which must be answered with `allow`. `failure`: a package that failed."""

    result: Mapping[str, Any]
    ways: Iterator[Way]
    failure: str | None = None


@dataclass(slots=True)
class Trying:
    """One run over all candidates, by one policy set; `tried` counts its documents.

    `answered`: the set that has answered, where it was another one.
    """

    engine: Engine
    mask: SecretMask
    limits: Limits
    policy_set: PolicySet
    entry_id: str
    time_ms: int
    started: float
    tried: int = 0
    answered: PolicySet | None = None
    _found: list[Mapping[str, Any]] = field(default_factory=list)
    _failed: list[str] = field(default_factory=list)

    async def __call__(self, trials: Iterable[Trial]) -> list[Mapping[str, Any]] | Fault:
        """The permitted candidates; a Fault when that cannot be said of every one of them."""
        pending = deque(trials)
        while chunk := await self._next(pending):
            self.tried += len(chunk)
            if (fault := await self._ask(chunk, pending)) is not None:
                return fault
        if self._failed:
            return Fault(Code.POLICY_ERROR, self._failed[0])
        return self._found

    async def _next(self, pending: deque[Trial]) -> list[tuple[Trial, Way, dict[str, Any], bytes]]:
        """The next question about each of so many candidates; one that has none left is not permitted."""
        chunk: list[tuple[Trial, Way, dict[str, Any], bytes]] = []
        size = 0
        while pending and len(chunk) < CHUNK and size < CHUNK_BYTES:
            trial = pending.popleft()
            way = next(trial.ways, None)
            if way is None:
                self._failed.extend([] if trial.failure is None else [trial.failure])
                continue
            asking = way.asking
            document = gather(asking.request, asking.call, self.entry_id, self.time_ms, self.mask)
            raw = encode(document)
            size += len(raw)
            chunk.append((trial, way, document, raw))
            await _turn(len(chunk))
        return chunk

    async def _ask(self, chunk: list[tuple[Trial, Way, dict[str, Any], bytes]], pending: deque[Trial]) -> Fault | None:
        asks = [Ask(raw, scopes=tuple(filter(is_scope_token, _scopes(way)))) for _, way, _, raw in chunk]
        said = await ask(self.engine, asks, self.limits, self.started)
        if isinstance(said, Fault):
            return said
        if said.policy_set.digest != self.policy_set.digest:
            self.answered = said.policy_set
            return Fault(Code.POLICY_MISMATCH, "the policy set changed during the search")
        failures = 0
        for number, (trial, way, document, _) in enumerate(chunk):
            try:
                permitted, failure = self._permitted(way, document, said, number)
            except EngineTimeout as error:
                return Fault(Code.DEADLINE, str(error))
            if failure is not None:
                trial.failure, failures = failure, failures + 1
            if permitted:
                self._found.append(trial.result)
            else:
                pending.append(trial)
            await _turn(number)
        # Nothing but failures: the gate itself fails, and asking on would only take until the deadline.
        return Fault(Code.POLICY_ERROR, chunk[0][0].failure or "") if failures == CHUNK else None

    def _permitted(self, way: Way, document: Mapping[str, Any], said: Answers, number: int) -> tuple[bool, str | None]:
        """Whether it is, and which package failed, if any did. EngineTimeout: it cannot be said."""
        failure = None
        asked = tuple(filter(is_scope_token, _scopes(way)))
        verdicts = said.verdicts(number, asked, self.time_ms)
        for verdict in (verdicts.gate, *verdicts.scopes.values()):
            if verdict.error is not None:
                if verdict.error_code == Code.DEADLINE:
                    raise EngineTimeout(f"{verdict.package}: {verdict.error}")
                failure = f"{verdict.package}: {verdict.error}"
        question = Question(document, self.time_ms, self.limits.max_token_lifetime_s, way.asking.terms)
        decision = combine(question, verdicts.gate, verdicts.scopes)
        permitted = way.scope is None or decision.scopes[way.scope].outcome is Outcome.ALLOW
        return permitted and decision.gate.outcome is Outcome.ALLOW, failure


async def _turn(number: int) -> None:
    if number % AT_A_TIME == 0:
        await asyncio.sleep(0)


def _scopes(way: Way) -> tuple[str, ...]:
    return () if way.scope is None else (way.scope,)
