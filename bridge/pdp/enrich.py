"""Asks the sources that a request's scopes use, side by side, and puts their answers into its input document."""

import asyncio
import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bridge.model.decision import Code
from bridge.model.entry import canonical, exact
from bridge.model.mask import SecretMask
from bridge.model.personal import SALT
from bridge.model.scope import is_scope_token
from bridge.model.source import Key, SourceAnswer, Status, Use, fall_back
from bridge.model.verdict import Finding, Verdict
from bridge.ops.metrics import Metrics
from bridge.pdp.evaluate import Verdicts
from bridge.pdp.gather import Asking
from bridge.pdp.prove import note
from bridge.ports import Source

MAX_BYTES = 8 * 1024 * 1024
"""Of all values in the documents of one request, where one value may stand many times over."""
MAX_MESSAGE = 120


@dataclass(frozen=True, slots=True)
class Informed:
    """What the sources of one document said.

    `sources` and `exceptions`: as its entry has them. `denies`: what may not be granted, since a source failed;
    `failed`: one of them did so for another reason than that the request has no key for it.
    """

    sources: tuple[dict[str, Any], ...] = ()
    exceptions: tuple[dict[str, Any], ...] = ()
    denies: frozenset[Use] = frozenset()
    failed: bool = False


UNINFORMED = Informed()
"""This very value stands for a document that was left as it was."""


@dataclass(slots=True)
class _Wanted:
    """One document, and which source is to be asked with which key for it; a text: what the key lacks."""

    document: dict[str, Any]
    uses: Sequence[Use]
    keys: dict[Source, Key | str] = field(default_factory=dict)


class Enrich:
    """Knows which scope uses which source: nobody else waits for it."""

    def __init__(self, sources: Sequence[Source], mask: SecretMask, metrics: Metrics) -> None:
        self._mask, self._metrics = mask, metrics
        self._exact: dict[Use, list[Source]] = {}
        self._prefixed = [source for source in sources if source.declared.prefixes]
        for source in sources:
            uses: list[Use] = [*source.declared.uses, *([None] if source.declared.gate else [])]
            for use in uses:
                self._exact.setdefault(use, []).append(source)

    async def __call__(self, asked: Sequence[tuple[dict[str, Any], Sequence[Use]]], until: float) -> list[Informed]:
        """For each document and what is asked of it; `until` (time.monotonic) bounds it all. Changes the documents."""
        if not self._exact and not self._prefixed:
            return [UNINFORMED] * len(asked)
        wanted = [_Wanted(document, uses, self._keys(document, uses)) for document, uses in asked]
        questions = {(s, key): s for w in wanted for s, key in w.keys.items() if not isinstance(key, str)}
        if not questions and not any(w.keys for w in wanted):
            return [UNINFORMED] * len(asked)
        before = time.monotonic()
        came = await asyncio.gather(*(source.ask(key, until) for source, key in questions))
        note(self._metrics.step, "sources", time.monotonic() - before)
        answers = dict(zip(questions, came, strict=True))
        room, informed = MAX_BYTES, list[Informed]()
        for one in wanted:
            found = [self._answer(source, key, answers) for source, key in one.keys.items()]
            room -= sum(answer.size for answer in found)
            if room < 0:
                text = f"the values in the documents of one request would have more than {MAX_BYTES} bytes"
                found = [fall_back(answer.source, None, before, text) for answer in found]
            informed.append(self._inform(one, found))
        return informed

    def _keys(self, document: Mapping[str, Any], uses: Iterable[Use]) -> dict[Source, Key | str]:
        found: dict[Source, Key | str] = {}
        for use in uses:
            sources = self._exact.get(use, ())
            if use is not None and self._prefixed:
                sources = [*sources, *(source for source in self._prefixed if source.declared.serves(use))]
            for source in sources:
                if source not in found:
                    found[source] = source.declared.key_of(document)
        return found

    @staticmethod
    def _answer(source: Source, key: Key | str, answers: Mapping[tuple[Source, Key], SourceAnswer]) -> SourceAnswer:
        if isinstance(key, str):
            return replace(fall_back(source.declared, None, 0, key), keyless=True)
        return answers[source, key]

    def _inform(self, wanted: _Wanted, found: Sequence[SourceAnswer]) -> Informed:
        if not found:
            return UNINFORMED
        document, told = wanted.document, dict[str, Any]()
        entries, exceptions, denies = list[dict[str, Any]](), list[dict[str, Any]](), set[Use]()
        for answer in sorted(found, key=lambda answer: answer.source.name):
            source = answer.source
            note(self._metrics.source, source.name, answer.status.value)
            age = {} if answer.age_ms is None else {"age_ms": answer.age_ms}
            value = {} if answer.value is None else {"value": self._mask(answer.value)}
            digest = {"digest": _digest(value["value"], document)} if value else {}
            told[source.name] = {**value, "status": answer.status.value, **age}
            entries.append({"name": source.name, "owner": source.owner, "status": answer.status.value, **age, **digest})
            if answer.denies:
                denies.update(use for use in wanted.uses if source.serves(use))
            if answer.error is not None:
                exceptions.append(_exception(answer))
        document["sources"] = told
        failed = any(answer.denies and not answer.keyless for answer in found)
        return Informed(tuple(entries), tuple(exceptions), frozenset(denies), failed)


def summed(informed: Iterable[Informed]) -> Informed:
    """For an entry about many documents: `count` of them for each source and status, and each exception once."""
    counts: dict[tuple[str, str], dict[str, Any]] = {}
    exceptions: dict[tuple[str, str], dict[str, Any]] = {}
    failed = False
    for one in informed:
        failed = failed or one.failed
        for told in one.sources:
            kept = counts.setdefault(
                (told["name"], told["status"]), {**{k: told[k] for k in ("name", "owner", "status")}, "count": 0}
            )
            kept["count"] += told.get("count", 1)
        for told in one.exceptions:
            exceptions.setdefault((told["source"], told["path"]), told)
    return Informed(
        tuple(counts[key] for key in sorted(counts)),
        tuple(exceptions[key] for key in sorted(exceptions)),
        failed=failed,
    )


def uses_of(asking: Asking) -> list[Use]:
    """What is asked for one document: its gate (None), unless another document's counts, and its scopes."""
    gate: list[Use] = [None] if asking.terms.gate_of is None else []
    return [*gate, *filter(is_scope_token, asking.scopes)]


def without_failed(verdicts: Verdicts, at_gate: Informed, own: Informed) -> Verdicts:
    """The verdicts with a denial of the bridge's own wherever a source failed that the scope, or the gate, uses.

    `at_gate`: of the document whose gate counts.
    """
    if not own.denies and None not in at_gate.denies:
        return verdicts
    gate = _denied(verdicts.gate) if None in at_gate.denies else verdicts.gate
    scopes = {scope: _denied(v) if scope in own.denies else v for scope, v in verdicts.scopes.items()}
    return Verdicts(verdicts.policy_set, gate, scopes)


def _denied(verdict: Verdict) -> Verdict:
    return replace(verdict, deny=(*verdict.deny, Finding(Code.SOURCE_FAILED)))


def _digest(value: Any, document: Mapping[str, Any]) -> str:
    """Of the value as policies see it; after the document's salt, where nobody may guess the value by its digest."""
    salt = str(document.get(SALT, "")).encode()
    return hashlib.sha256(salt + canonical(exact(value))).hexdigest()


def _exception(answer: SourceAnswer) -> dict[str, Any]:
    """Which scopes it took away stands in their findings."""
    about = {"source": answer.source.name, "message": (answer.error or "")[:MAX_MESSAGE]}
    if answer.status is Status.STALE:
        return {"path": "stale_source", **about, "age_ms": answer.age_ms}
    if answer.status is Status.ABSENT:
        return {"path": "absent_source", **about}
    return {"path": "fail_closed", "code": Code.SOURCE_FAILED.value, **about}
