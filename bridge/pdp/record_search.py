"""Writes a search down: what was asked, and how much of what was told; one entry of kind `search`."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bridge.model.decision import Code
from bridge.model.entry import MAX_ENTRY_BYTES, canonical, exact
from bridge.model.mask import mask_pointers
from bridge.model.personal import SALT, Hiding, Personal
from bridge.model.policy import PolicySet
from bridge.model.search import RULES, Result, Search
from bridge.model.times import rfc3339
from bridge.pdp.enrich import UNINFORMED, Informed
from bridge.pdp.gather import Call
from bridge.pdp.record import rule_json
from bridge.pdp.record_tuples import ADDED, ROOM, identified
from bridge.ports import EngineStatus, Record

KIND = "search"


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to. `code`: why to nothing; `fault` is for operators, `text` may be sent back.

    `package`: the one that was asked. `tried`: how many questions about issuance were, instead;
    `informed`: by which sources.
    """

    results: Sequence[Result] = ()
    policy_set: PolicySet | None = None
    package: str | None = None
    tried: int | None = None
    code: str | None = None
    fault: str | None = None
    text: str | None = None
    informed: Informed = UNINFORMED


@dataclass(frozen=True, slots=True)
class SearchFacts:
    """What is known beside; `raw`: the search as policies see it (`document`), in exact bytes."""

    call: Call
    search: Search
    entry_id: str
    time_ms: int
    document: dict[str, Any]
    raw: bytes
    engine: EngineStatus
    duration_us: int = 0


class SearchRecorder:
    """Makes records; `mask` and `personal` as of `record.Recorder`, and what is pointed at is hidden in results too."""

    def __init__(self, mask: Sequence[tuple[str, ...]] = (), personal: Sequence[tuple[str, ...]] = ()) -> None:
        self._mask, self._pointers = tuple(mask), tuple(personal)

    @property
    def salted(self) -> bool:
        return bool(self._pointers)

    def record(self, found: Found, told: Sequence[Result], facts: SearchFacts) -> Record:
        """The record. ValueError: it does not fit an entry."""
        shown: list[Any] = [self._result(one, facts.search) for one in told]
        size, most = 0, 0
        while most < len(shown) and size < MAX_ENTRY_BYTES // 2:
            size, most = size + len(canonical(shown[most])), most + 1
        shown = shown[:most]
        while True:
            for short in (False, True):
                record = self._record(found, told, shown, facts, short=short)
                if len(canonical(record.entry)) <= MAX_ENTRY_BYTES - ROOM:
                    return record
            if not shown:
                raise ValueError("the entry does not fit")
            shown = shown[: len(shown) // 2]

    def _record(
        self, found: Found, told: Sequence[Result], shown: list[Any], facts: SearchFacts, *, short: bool
    ) -> Record:
        digest = hashlib.sha256(facts.raw).digest()
        salt = str(facts.document.get(SALT, "")).encode()
        entry = {
            "v": 1,
            "kind": KIND,
            "id": facts.entry_id,
            "time": rfc3339(facts.time_ms),
            "door": facts.call.door,
            "caller": facts.call.caller,
            "search": facts.search.searched,
            "request": self._shown(facts, short=short),
            "input_digest": digest.hex(),
            "reply": {"outcome": "failed" if found.code else "answered", "code": found.code},
            "found": len(found.results),
            "told": len(told),
            "results_digest": hashlib.sha256(salt + canonical([exact(dict(one)) for one in told])).hexdigest(),
            "results": shown,
            "rules": _rules(found, facts.search),
            "exceptions": _exceptions(found),
            "sources": list(found.informed.sources),
            "engine": {"kind": facts.engine.kind, "version": facts.engine.version},
            "duration_us": facts.duration_us,
        }
        if found.tried is not None:
            entry["tried"] = found.tried
        if found.policy_set is not None:
            entry["policy"] = {"revision": found.policy_set.revision, "digest": found.policy_set.digest}
        if facts.call.request_id is not None:
            entry["request_id"] = facts.call.request_id
        if short:
            entry["shortened"] = ["request"]
        if not self._pointers or len(canonical(entry)) > MAX_ENTRY_BYTES - ROOM:
            return Record(entry, facts.raw, digest)
        hiding = self._hiding(shown, found, facts)
        entry = hiding.mentions(hiding.places(entry))
        return Record(entry, facts.raw, digest, hiding.disclosures([entry])[0])

    def _hiding(self, shown: list[Any], found: Found, facts: SearchFacts) -> Hiding:
        searched = facts.search.searched
        of_results = [("results", "*", *p[1:]) for p in self._pointers if p[0] in (searched, "*")]
        known = [] if found.policy_set is None else [found.policy_set.packages, found.policy_set.scopes]
        return Personal([*self._pointers, *of_results]).hiding({**facts.document, "results": shown}, known)

    def _result(self, one: Result, search: Search) -> Any:
        """As the same entity would be shown in a request."""
        return exact(mask_pointers({search.searched: dict(one)}, self._mask)[search.searched])

    def _shown(self, facts: SearchFacts, *, short: bool) -> dict[str, Any]:
        own: dict[str, Any] = {name: value for name, value in facts.document.items() if name not in ADDED}
        shown: dict[str, Any] = exact(mask_pointers({**own, "issuer": facts.call.issuer}, self._mask))
        if short:
            shown = {name: identified(value) for name, value in shown.items() if name != "context"}
        page = facts.search.page
        return shown if page is None else {**shown, "page": {"limit": page.limit or 0, "follows": bool(page.token)}}


def _rules(found: Found, search: Search) -> list[dict[str, Any]]:
    if found.package is None or found.policy_set is None or found.code is not None:
        return []
    package = found.policy_set.packages.get(found.package)
    return [rule_json(found.package, package, "search", RULES[search.searched])]


def _exceptions(found: Found) -> list[dict[str, Any]]:
    taken = list(found.informed.exceptions)
    if found.fault is None or found.code == Code.SOURCE_FAILED:
        return taken
    path = "policy_error" if found.code == "policy_error" else "fail_closed"
    package = {} if found.package is None else {"package": found.package}
    return [*taken, {"path": path, "code": found.code, **package, "message": found.fault[:500]}]
