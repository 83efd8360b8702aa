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
from bridge.pdp.combine import combine
from bridge.pdp.enrich import UNINFORMED, Enrich, Informed, summed, without_failed
from bridge.pdp.evaluate import Answers, Ask
from bridge.pdp.gather import Asking, encode, gather
from bridge.pdp.question import Question
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


_Tried = tuple[Trial, Way, dict[str, Any], bytes, Informed]
"""A candidate, the question about it, that question's document, and what sources said about it."""


@dataclass(slots=True)
class Trying:
    """One run over all candidates, by one policy set; `tried` counts its documents.

    `answered`: the set that has answered, where it was another one. `informed`: by which sources.
    """

    engine: Engine
    enrich: Enrich
    mask: SecretMask
    limits: Limits
    policy_set: PolicySet
    entry_id: str
    time_ms: int
    started: float
    tried: int = 0
    answered: PolicySet | None = None
    informed: Informed = UNINFORMED
    _found: list[Mapping[str, Any]] = field(default_factory=list)
    _failed: list[str] = field(default_factory=list)

    async def __call__(self, trials: Iterable[Trial]) -> list[Mapping[str, Any]] | Fault:
        """The permitted candidates; a Fault when that cannot be said of every one of them."""
        pending = deque(trials)
        while chunk := await self._next(pending):
            self.tried += len(chunk)
            if self.informed.failed:  # to leave those candidates out would be a part of the answer
                text = next((e["message"] for e in self.informed.exceptions if e["path"] == "fail_closed"), "")
                return Fault(Code.SOURCE_FAILED, text)
            if (fault := await self._ask(chunk, pending)) is not None:
                return fault
        if self._failed:
            return Fault(Code.POLICY_ERROR, self._failed[0])
        return self._found

    async def _next(self, pending: deque[Trial]) -> list[_Tried]:
        """The next question about each of so many candidates; one that has none left is not permitted."""
        chunk: list[_Tried] = []
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
            chunk.append((trial, way, document, raw, UNINFORMED))
            await _turn(len(chunk))
        return await self._enriched(chunk)

    async def _enriched(self, chunk: list[_Tried]) -> list[_Tried]:
        """With what the sources say that each candidate's question uses."""
        asked = [(document, (None, *_scopes(way))) for _, way, document, *_ in chunk]
        informed = await self.enrich(asked, self.started + self.limits.evaluate_s)
        if all(one is UNINFORMED for one in informed):
            return chunk
        self.informed = summed([self.informed, *informed])
        return [(t, w, document, encode(document), i) for (t, w, document, *_), i in zip(chunk, informed, strict=True)]

    async def _ask(self, chunk: list[_Tried], pending: deque[Trial]) -> Fault | None:
        asks = [Ask(raw, scopes=tuple(filter(is_scope_token, _scopes(way)))) for _, way, _, raw, _ in chunk]
        said = await ask(self.engine, asks, self.limits, self.started)
        if isinstance(said, Fault):
            return said
        if said.policy_set.digest != self.policy_set.digest:
            self.answered = said.policy_set
            return Fault(Code.POLICY_MISMATCH, "the policy set changed during the search")
        failures = 0
        for number, (trial, way, document, _, informed) in enumerate(chunk):
            try:
                permitted, failure = self._permitted(way, document, informed, said, number)
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

    def _permitted(
        self, way: Way, document: Mapping[str, Any], informed: Informed, said: Answers, number: int
    ) -> tuple[bool, str | None]:
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
        counting = without_failed(verdicts, informed, informed)
        decision = combine(question, counting.gate, counting.scopes)
        permitted = way.scope is None or decision.scopes[way.scope].outcome is Outcome.ALLOW
        return permitted and decision.gate.outcome is Outcome.ALLOW, failure


async def _turn(number: int) -> None:
    if number % AT_A_TIME == 0:
        await asyncio.sleep(0)


def _scopes(way: Way) -> tuple[str, ...]:
    return () if way.scope is None else (way.scope,)
