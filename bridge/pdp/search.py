"""The road of a search: admit, gather, evaluate, read, record, prove. What cannot be said is a fault, never `[]`.

A search about issuance tries its candidates (trials.py); any other one is answered by the package of its resource's
type. All of it is one entry of kind `search`.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from bridge.errors import BridgeError
from bridge.model.decision import Code, Outcome
from bridge.model.mask import SecretMask
from bridge.model.policy import PolicySet, resource_package
from bridge.model.search import RULES, Result, Search, key_of, read_results
from bridge.model.times import now_ms, uuid7
from bridge.ops.metrics import Metrics
from bridge.pdp.admit import Admission
from bridge.pdp.ask import Fault, Limits, ask
from bridge.pdp.enrich import UNINFORMED, Enrich, Informed
from bridge.pdp.evaluate import Ask
from bridge.pdp.gather import Call, encode, gather
from bridge.pdp.prove import Prover, given_up, note
from bridge.pdp.record_search import Found, SearchFacts, SearchRecorder
from bridge.pdp.trials import Trial, Trying
from bridge.ports import Engine, Record

AT_ONCE = 2
"""Searches about issuance that are tried side by side: decisions share the engine with them."""
ASKED_AT_ONCE = 4
"""Of the others, which are one query each, and quick unless a policy's rule is slow."""
NOT_ENUMERABLE = "not_enumerable"
Candidates = Callable[[PolicySet], Iterable[Trial]]
Cut = Callable[[Sequence[Result]], Sequence[Result]]
log = structlog.get_logger(__name__)


class NotEnumerable(BridgeError):
    """Nobody can list what is searched for; the text is safe to send back."""


@dataclass(frozen=True, slots=True)
class Searched:
    """`found`: all of it, `told`: what goes out now. With a `code` nothing does; `text` may be sent back."""

    id: str
    found: Sequence[Result] = ()
    told: Sequence[Result] = ()
    code: str | None = None
    text: str | None = None


class SearchRoad:
    """Answers searches, for every door alike. `limits`: of a whole search, and of one query."""

    def __init__(
        self,
        engine: Engine,
        admission: Admission,
        recorder: SearchRecorder,
        prover: Prover,
        mask: SecretMask,
        limits: Limits,
        metrics: Metrics,
        enrich: Enrich,
    ) -> None:
        self._engine, self._admission, self._recorder, self._prover = engine, admission, recorder, prover
        self._mask, self._limits, self._metrics, self._enrich = mask, limits, metrics, enrich
        self._trying, self._asking = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(ASKED_AT_ONCE)

    async def __call__(self, call: Call, search: Search, cut: Cut, candidates: Candidates | None) -> Searched:
        """What is found. `cut` takes what goes out of it; `candidates`: of one about issuance."""
        started, at = time.monotonic(), now_ms()
        entry_id = uuid7(at)
        if not self._admission.enter_search():
            self._admission.refuse(call.caller, call.door, 1)
            searched = Searched(entry_id, code=Code.OVERLOADED)
        else:
            try:
                searched = await self._search(call, search, cut, candidates, entry_id, at, started)
            finally:
                self._admission.leave_search()
        note(self._metrics.searched, search.searched, searched.code or "answered")
        return searched

    def unsaid(self, call: Call, searched: Searched) -> None:
        """The door could not make a reply of it: the caller got an error, and the log tells so."""
        self._prover.overrule(Outcome.ALLOW, call, searched.id, None)

    async def _search(
        self,
        call: Call,
        search: Search,
        cut: Cut,
        candidates: Candidates | None,
        entry_id: str,
        at: int,
        started: float,
    ) -> Searched:
        try:
            document = gather(search.document(), call, entry_id, at, self._mask, salted=self._recorder.salted)
            informed = await self._inform(search, document, started) if candidates is None else UNINFORMED
            raw = encode(document)
            async with self._turn(self._asking if candidates is None else self._trying, started) as mine:
                if not mine:
                    found = Found(code=Code.OVERLOADED, fault="other searches were not done in time")
                elif informed.denies:
                    found = Found(code=Code.SOURCE_FAILED, informed=informed)
                elif candidates is None:
                    found = replace(await self._ask(search, raw, started), informed=informed)
                else:
                    found = await self._try(candidates, entry_id, at, started)
            searched = Searched(entry_id, found.results, cut(found.results), found.code, found.text)
            facts = SearchFacts(
                call=call,
                search=search,
                entry_id=entry_id,
                time_ms=at,
                document=document,
                raw=raw,
                engine=self._engine.status(),
                duration_us=int((time.monotonic() - started) * 1e6),
            )
            records: tuple[Record, ...] = (self._recorder.record(found, searched.told, facts),)
        except (Exception, asyncio.CancelledError):
            if given_up():
                raise
            log.exception("search_defect", search=entry_id)
            searched, records = Searched(entry_id, code=Code.ENGINE_UNAVAILABLE), ()
        outcome = Outcome.ALLOW if searched.code is None else Outcome.DENY
        until = started + self._limits.deadline_s
        code, _ = await self._prover(records, call, entry_id, outcome, until=until)
        return searched if code is None else Searched(entry_id, code=searched.code or code, text=searched.text)

    async def _inform(self, search: Search, document: dict[str, Any], started: float) -> Informed:
        use = resource_package(search.tuple.resource["type"])
        (informed,) = await self._enrich([(document, (use,))], started + self._limits.enrich_s)
        return informed

    async def _ask(self, search: Search, raw: bytes, started: float) -> Found:
        """What the package of the resource's type says."""
        entity_type, rule = search.tuple.resource["type"], RULES[search.searched]
        said = await ask(self._engine, [Ask(raw, resource=entity_type, rules=(rule,))], self._limits, started)
        if isinstance(said, Fault):
            return Found(code=said.code, fault=said.text)
        package, policy_set = resource_package(entity_type), said.policy_set
        if package not in policy_set.packages:
            return Found(policy_set=policy_set)
        rules = said.rules(0, None, package)
        if rules.error is not None:
            return Found(policy_set=policy_set, package=package, code=rules.code, fault=rules.error)
        wanted = getattr(search.tuple, search.searched).get("type")
        try:
            results = read_results(rules.said.get(rule, []), search.searched, wanted)
        except ValueError as error:
            text = f"{rule} {error}"
            return Found(policy_set=policy_set, package=package, code=Code.POLICY_ERROR, fault=text)
        return Found(results, policy_set=policy_set, package=package)

    @contextlib.asynccontextmanager
    async def _turn(self, turns: asyncio.Semaphore, started: float) -> AsyncIterator[bool]:
        """Waits for one of `turns`; False when none came in time."""
        try:
            async with asyncio.timeout_at(_loop_time(started + self._limits.evaluate_s)):
                await turns.acquire()
        except TimeoutError:
            yield False
            return
        try:
            yield True
        finally:
            turns.release()

    async def _try(self, candidates: Candidates, entry_id: str, at: int, started: float) -> Found:
        """Which candidates would be permitted; once more when another policy set began to decide meanwhile."""
        by = list(self._engine.accepted().values())[-1]
        found, other = await self._try_by(by, candidates, entry_id, at, started)
        return found if other is None else (await self._try_by(other, candidates, entry_id, at, started))[0]

    async def _try_by(
        self, policy_set: PolicySet, candidates: Candidates, entry_id: str, at: int, started: float
    ) -> tuple[Found, PolicySet | None]:
        """What is found, and which set has answered instead of `policy_set`."""
        trying = Trying(self._engine, self._enrich, self._mask, self._limits, policy_set, entry_id, at, started)
        try:
            results = await trying(candidates(policy_set))
        except NotEnumerable as error:
            return Found(policy_set=policy_set, code=NOT_ENUMERABLE, text=str(error)), None
        if isinstance(results, Fault):
            found = Found(
                policy_set=policy_set,
                code=results.code,
                fault=results.text,
                tried=trying.tried,
                informed=trying.informed,
            )
            return found, trying.answered
        results = sorted(results, key=key_of)
        return Found(results, policy_set=policy_set, tried=trying.tried, informed=trying.informed), None


def _loop_time(monotonic: float) -> float:
    return asyncio.get_running_loop().time() + monotonic - time.monotonic()
