"""Fills the matrix: first many clients at once, then each grant alone, with and without what it may depend on."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import replace

from bridge.model.decision import Outcome
from bridge.model.gate import TOKEN_TYPES
from bridge.model.policy import PolicySet
from bridge.model.scope import is_scope_token
from bridge.policy.answer import Answered, Settled, Wish, answers
from bridge.policy.cases import GRANT_TYPES, Question
from bridge.policy.judge import wish_of
from bridge.policy.matrix.clients import FOREIGN, Candidate, candidates
from bridge.policy.matrix.grants import Way, granted, of_path, way_of
from bridge.policy.matrix.model import Kind, Matrix, Path, Row
from bridge.policy.matrix.wishes import as_of_now, moved, stepped_up, variations, wish, without_each
from bridge.ports import Engine

BATCH = 256
SLICE = 32
PROBES = 16
"""So many clients with a grant type show which kinds of token the gate lets pass for it at all."""
MAX_OTHERS = 16
"""So many grant types, and kinds of token, that have no name of the bridge's own."""
SHARES = (0.75, 0.85, 0.92, 1.0)
"""Of the time: until when clients are tried, their grants confirmed, gaps filled, and looked at what grants need."""
LANES = 2
PER_CELL = 3
"""So many clients, and so many cases, are tried for a cell that nothing has filled yet."""
_Key = tuple[str, Kind, Way]


class Fill:
    """One run. `clients`: at most so many are tried; `seconds`: after these nothing new is begun."""

    def __init__(
        self,
        policy_set: PolicySet,
        engine: Engine,
        settled: Settled,
        questions: Sequence[Question],
        *,
        clients: int,
        seconds: float,
    ) -> None:
        self._policy_set, self._engine, self._settled, self._questions = policy_set, engine, settled, questions
        self._started, self._seconds, self._until = time.monotonic(), seconds, time.monotonic() + seconds
        known = [scope for question in questions for scope in question.request["scopes"]]
        registered = [s for of in policy_set.clients.values() for one in of.values() for s in one.scopes]
        plain = [scope for scope in (*known, *registered) if is_scope_token(scope) and not scope.endswith("*")]
        self._candidates = candidates(policy_set, plain, clients)
        kinds, left_out = _kinds(policy_set, questions)
        self.matrix = Matrix(
            rows=[Row(name, policy_set.packages[package]) for name, package in sorted(_named(policy_set))],
            kinds=tuple(sorted(kinds)),
            left_out=left_out,
            registered=sum(map(len, policy_set.clients.values())),
            cases=len(questions),
        )
        self._rows = {row.package.name: row for row in self.matrix.rows}
        self._templates: dict[str, list[Wish]] = {}
        self._found: dict[_Key, Path] = {}
        self._passing: dict[Kind, list[Candidate]] = {}
        self._probed: dict[Kind, int] = {}
        self._seen: dict[_Key, tuple[str, Wish]] = {}
        self._who: dict[_Key, set[tuple[str, str]]] = {}

    async def __call__(self) -> Matrix:
        """The matrix. Raises EngineFault where the engine gives no answer."""
        await self._by_cases()
        parts = (self._by_clients, self._confirm_seen, self._by_trying_harder, self._needs)
        for share, part in zip(SHARES, parts, strict=True):
            self._until = self._started + share * self._seconds
            await part()
        for row in self.matrix.rows:
            row.paths = {kind: row.paths[kind] for kind in sorted(row.paths)}
        return self.matrix

    async def _by_cases(self) -> None:
        questions = iter(self._questions)
        async for answered in self._ask(as_of_now(wish_of(question)) for question in self._questions):
            question, decision = next(questions), answered.decision()
            if decision.gate.outcome is not Outcome.DENY:
                self._passing.setdefault(_kind(answered.wish), [])
            for scope, said in decision.scopes.items():
                row = self._row(scope)
                if row is None or said.outcome is Outcome.DENY:
                    continue
                kept = self._templates.setdefault(row.name, [])
                if len(kept) < PER_CELL and not any(_alike(one, answered.wish) for one in kept):
                    kept.append(answered.wish)
                if said.outcome is Outcome.ALLOW:
                    self._keep(answered, scope, case=str(question))

    async def _by_clients(self) -> None:
        """All scopes of a client in one request."""
        for start in range(0, len(self._candidates), SLICE):
            asked = [
                (one, kind)
                for at, one in enumerate(self._candidates[start : start + SLICE], start)
                for kind in self._kinds_of(one, at)
            ]
            pending = iter(asked)
            async for answered in self._ask(wish(one.issuer, one.id, kind, one.scopes) for one, kind in asked):
                candidate, kind = next(pending)
                self._probed[kind] = self._probed.get(kind, 0) + 1
                if answered.decision("-").gate.outcome is Outcome.DENY:
                    continue
                self._passing.setdefault(kind, []).append(candidate)
                for scope, name in self._granted(answered):
                    key = name, kind, way_of(answered, scope)
                    self._seen.setdefault(key, (scope, answered.wish))
                    self._who.setdefault(key, set()).add((candidate.issuer, candidate.id))
            if time.monotonic() > self._until:
                self.matrix.stopped = True
                break
            self.matrix.clients += min(len(self._candidates[start : start + SLICE]), self.matrix.registered)

    async def _confirm_seen(self) -> None:
        """Each grant that was seen, by a request for this scope alone."""
        await self._confirm(
            wish(asked.issuer, asked.request["client"]["id"], kind, [scope])
            for (_, kind, _), (scope, asked) in self._seen.items()
        )
        # Some are granted beside others only, such as what goes into an ID token.
        await self._confirm([asked for key, (_, asked) in self._seen.items() if self._path(key) is None])
        for key, clients in self._who.items():
            if (path := self._path(key)) is not None:
                path.clients |= clients

    def _path(self, key: _Key) -> Path | None:
        """What was found that way; where a requirement was told until it was met, without it."""
        name, kind, way = key
        return self._found.get(key) or self._found.get((name, kind, replace(way, required=False)))

    def _kinds_of(self, candidate: Candidate, place: int) -> Iterator[Kind]:
        """What this client is asked about: its grant types; those that the gate never lets pass are soon left out."""
        for kind in self.matrix.kinds:
            registered = candidate.grant_types is None or kind.grant_type in candidate.grant_types
            hopeless = kind not in self._passing and self._probed.get(kind, 0) >= PROBES
            if place < FOREIGN or (registered and not hopeless):
                yield kind

    def _granted(self, answered: Answered) -> Iterator[tuple[str, str]]:
        """Each scope that is granted, or waits, and its row."""
        for scope in answered.verdicts.scopes:
            row = self._row(scope)
            if row is not None and answered.decision(scope).scopes[scope].outcome is not Outcome.DENY:
                yield scope, row.name

    async def _by_trying_harder(self) -> None:
        """For what nothing was found yet: other audiences and subjects, and what cases show."""
        await self._confirm(
            one for row in self.matrix.rows for kind in self.matrix.kinds for one in self._more(row, kind)
        )

    def _more(self, row: Row, kind: Kind) -> Iterator[Wish]:
        if kind in row.paths or kind not in self._passing:
            return
        having = [(c, s) for c in self._passing[kind] for s in c.scopes if self._row(s) is row]
        for candidate, scope in _first_of_each(having):
            yield from variations(candidate.issuer, candidate.id, kind, scope, candidate.audience)
        for template in self._templates.get(row.name, ()):
            own = template.issuer, template.request["client"]["id"]
            others = [(c.issuer, c.id) for c, _ in _first_of_each(having)]
            for issuer, client in dict.fromkeys([own, *others]):
                yield moved(template, kind, issuer, client)

    async def _confirm(self, wishes: Iterable[Wish]) -> None:
        """Keeps what is granted to these; where only a requirement is unmet, what is once it is met."""
        waiting: list[Wish] = []
        async for answered in self._ask(wishes):
            waiting.extend(self._take(answered))
        async for answered in self._ask(waiting):
            self._take(answered)

    def _take(self, answered: Answered) -> list[Wish]:
        """Keeps what is granted; the request again, after what is required, where something waits for that."""
        decision = answered.decision()
        for scope, said in decision.scopes.items():
            if said.outcome is Outcome.ALLOW:
                self._keep(answered, scope)
        return [stepped_up(answered.wish, decision.require)] if decision.outcome is Outcome.CONDITIONAL else []

    async def _needs(self) -> None:
        """What each grant depends on: the same request without one thing."""
        paths = list(self._found.values())
        tried = [(path, name, one) for path in paths for name, one in without_each(path.wish)]
        needs: dict[int, list[str]] = {}
        pending = iter(tried)
        async for answered in self._ask((one for _, _, one in tried), counted=False):
            path, name, _ = next(pending)
            said = answered.decision().scopes.get(path.scope)
            if said is None or said.outcome is not Outcome.ALLOW:
                needs.setdefault(id(path), []).append(name)
        for path in paths:
            path.conditions = of_path(path, self._settled, tuple(needs.get(id(path), ())))

    def _keep(self, answered: Answered, scope: str, *, case: str | None = None) -> None:
        row = self._row(scope)
        if row is None:
            return
        kind, path = _kind(answered.wish), granted(answered, scope, case)
        key = row.name, kind, way_of(answered, scope)
        kept = self._found.setdefault(key, path)
        kept.clients |= path.clients
        if kept is path:
            row.paths.setdefault(kind, []).append(path)

    async def _ask(self, wishes: Iterable[Wish], *, counted: bool = True) -> AsyncIterator[Answered]:
        """The answers in the order of the wishes; no more of them once time is up."""
        pending = iter(wishes)
        while batch := [one for _, one in zip(range(BATCH), pending, strict=False)]:
            if time.monotonic() > self._until:
                self.matrix.stopped = True
                return
            size = -(-len(batch) // LANES)
            lanes = [batch[start : start + size] for start in range(0, len(batch), size)]
            self.matrix.requests += len(batch)
            for lane in await asyncio.gather(*(self._answered(lane) for lane in lanes)):
                for answered in lane:
                    self._note(answered, counted=counted)
                    yield answered

    async def _answered(self, wishes: Sequence[Wish]) -> list[Answered]:
        return [answered async for answered in answers(wishes, self._engine, self._settled)]

    def _note(self, answered: Answered, *, counted: bool) -> None:
        for verdict in (answered.verdicts.gate, *answered.verdicts.scopes.values()):
            if verdict.error is not None:
                self.matrix.failing.setdefault(verdict.package, verdict.error)
        if counted:
            kind = _kind(answered.wish)
            for name in {row.name: row for s in answered.wish.request["scopes"] if (row := self._row(s))}.values():
                name.tried[kind] = name.tried.get(kind, 0) + 1

    def _row(self, scope: str) -> Row | None:
        return self._rows.get(self._policy_set.package_for(scope) or "")


def _named(policy_set: PolicySet) -> Iterator[tuple[str, str]]:
    yield from policy_set.scopes.items()
    yield from ((f"{prefix}*", package) for prefix, package in policy_set.prefixes.items())


def _kinds(policy_set: PolicySet, questions: Sequence[Question]) -> tuple[set[Kind], int]:
    """Every pair of a grant type and a kind of token that has a name, and how many of those names are left out."""
    registered = (g for of in policy_set.clients.values() for one in of.values() for g in one.grant_types or ())
    other_grants = sorted({*registered, *(q.grant_type for q in questions)} - {*GRANT_TYPES})
    other_tokens = sorted({q.request["token_type"] for q in questions} - {*TOKEN_TYPES})
    left_out = max(0, len(other_grants) - MAX_OTHERS) + max(0, len(other_tokens) - MAX_OTHERS)
    grants, tokens = (*GRANT_TYPES, *other_grants[:MAX_OTHERS]), (*TOKEN_TYPES, *other_tokens[:MAX_OTHERS])
    return {Kind(grant, token) for grant in grants for token in tokens}, left_out


def _kind(asked: Wish) -> Kind:
    return Kind(asked.request["grant_type"], asked.request["token_type"])


def _alike(one: Wish, other: Wish) -> bool:
    names = ("subject", "authentication", "cnf", "authorization_details", "audience", "context")
    return one.sources == other.sources and all(one.request.get(n) == other.request.get(n) for n in names)


def _first_of_each(having: Iterable[tuple[Candidate, str]]) -> list[tuple[Candidate, str]]:
    """A scope each of the first few clients."""
    found: dict[tuple[str, str], tuple[Candidate, str]] = {}
    for candidate, scope in having:
        if len(found) == PER_CELL:
            break
        found.setdefault((candidate.issuer, candidate.id), (candidate, scope))
    return list(found.values())
