"""Asks what the bridge would say: the items, engine, reading and merging of a decision; nothing is written down."""

import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bridge.model.decision import Decision
from bridge.model.mask import SecretMask
from bridge.model.scope import is_scope_token
from bridge.model.source import Declared, Status
from bridge.model.times import now_ms, uuid7
from bridge.model.verdict import Verdict
from bridge.pdp.combine import combine
from bridge.pdp.enrich import Informed, without_failed
from bridge.pdp.evaluate import Ask, Verdicts, evaluate
from bridge.pdp.gather import NATIVE, Call, encode, gather
from bridge.pdp.question import Question
from bridge.ports import Engine

CHUNK = 64
CHUNK_S = 60.0
LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Wish:
    """One request, as policies see it, less what the bridge adds. `time_ms`: None is now.

    `sources`: what external systems answered (name -> value, status, age_ms), since none is asked. `answer`: the scopes
    that packages are asked about (None: all of the request's).
    """

    request: Mapping[str, Any]
    issuer: str = LOCAL
    time_ms: int | None = None
    sources: Mapping[str, Mapping[str, Any]] | None = None
    answer: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """What the configuration says: names of secrets, the ceiling on lifetimes (s), which scope uses which source."""

    mask: SecretMask
    max_token_lifetime_s: int | None = None
    sources: tuple[Declared, ...] = ()


@dataclass(frozen=True, slots=True)
class Voice:
    """One rule that spoke. `rule`: allow, deny, warn, dropped (its exception does not hold), error (`code` says it)."""

    package: str
    rule: str
    code: str
    file: str
    row: int


@dataclass(frozen=True, slots=True)
class Answered:
    """What the packages said to one wish, sources that failed counted."""

    wish: Wish
    verdicts: Verdicts
    asked: Question

    def decision(self, *scopes: str) -> Decision:
        """The decision; of `scopes` alone, where there are some, with all else in the document as it is."""
        terms = replace(NATIVE, scopes=scopes) if scopes else NATIVE
        return combine(replace(self.asked, terms=terms), self.verdicts.gate, self.verdicts.scopes)

    def voices(self) -> tuple[Voice, ...]:
        """Each rule that spoke, the gate's first."""
        return tuple(self._voices())

    def _voices(self) -> Iterator[Voice]:
        for verdict in (self.verdicts.gate, *self.verdicts.scopes.values()):
            for rule, code in _spoken(verdict):
                package = self.verdicts.policy_set.packages.get(verdict.package)
                file, row = (package.file, package.rows.get(code, package.row)) if package else ("", 0)
                yield Voice(verdict.package, rule, code, file, row)


async def answers(wishes: Sequence[Wish], engine: Engine, settled: Settled) -> AsyncIterator[Answered]:
    """The answer to each, in their order. Raises EngineFault where the engine gives none."""
    now = now_ms()
    for start in range(0, len(wishes), CHUNK):
        chunk = wishes[start : start + CHUNK]
        documents = [_document(wish, now, settled.mask) for wish in chunk]
        asks = [
            Ask(encode(document), scopes=tuple(filter(is_scope_token, _asked(wish, document))))
            for wish, document in zip(chunk, documents, strict=True)
        ]
        said = await evaluate(engine, asks, deadline=time.monotonic() + CHUNK_S, query_s=CHUNK_S / 2)
        for number, (wish, document) in enumerate(zip(chunk, documents, strict=True)):
            at = now if wish.time_ms is None else wish.time_ms
            verdicts = _without_failed(said.verdicts(number, asks[number].scopes, at), wish, settled)
            yield Answered(wish, verdicts, Question(document, at, settled.max_token_lifetime_s))


def _asked(wish: Wish, document: Mapping[str, Any]) -> Sequence[str]:
    scopes: Sequence[str] = document["scopes"]
    return scopes if wish.answer is None else wish.answer


def _document(wish: Wish, now: int, mask: SecretMask) -> dict[str, Any]:
    at = now if wish.time_ms is None else wish.time_ms
    document = gather(wish.request, Call("native", LOCAL, wish.issuer), uuid7(at), at, mask)
    if wish.sources is not None:
        document["sources"] = {name: mask(source) for name, source in wish.sources.items()}
    return document


def _without_failed(verdicts: Verdicts, wish: Wish, settled: Settled) -> Verdicts:
    """As in a decision: what uses a source that failed is denied, whatever its package says."""
    told = wish.sources or {}
    failed = [s for s in settled.sources if told.get(s.name, {}).get("status") == Status.FAILED.value]
    denies = frozenset(use for use in (None, *verdicts.scopes) if any(source.serves(use) for source in failed))
    informed = Informed(denies=denies)
    return without_failed(verdicts, informed, informed)


def _spoken(verdict: Verdict) -> Iterator[tuple[str, str]]:
    for rule in ("deny", "warn", "allow", "dropped"):
        for finding in getattr(verdict, rule):
            yield rule, finding.code
    if verdict.error is not None:
        yield "error", verdict.error
