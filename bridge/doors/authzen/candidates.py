"""Who and what may be meant by a search about issuance (`resource.type` = `audience`), and how each is tried.

A result is what an evaluation would permit now: a gate alone, or a scope with one gate before it. Users are known to
the token service only; everything else is listed from the policy set: its scopes, and the clients registered with
the caller's issuer.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bridge.doors._callers import AuthenticatedCaller
from bridge.doors.authzen.context import checked_context
from bridge.doors.authzen.plan import SUBJECT_TYPES, plan
from bridge.errors import MalformedRequest
from bridge.model.authzen import Tuple
from bridge.model.gate import GRANT_TYPES, TOKEN_TYPES, Gate, parse_gate
from bridge.model.policy import PolicySet
from bridge.model.registry import RegisteredClient
from bridge.model.scope import is_scope_token
from bridge.model.search import Search
from bridge.pdp.gather import Call, encode
from bridge.pdp.search import NotEnumerable
from bridge.pdp.trials import Trial, Way

MAX_BYTES = 64 * 1024
"""Of what is asked: it stands in each of some thousand documents."""


def candidates(
    search: Search, call: Call, caller: AuthenticatedCaller, capabilities: Sequence[str]
) -> Callable[[PolicySet], Iterable[Trial]]:
    """The trials by policy set. MalformedRequest: a key of the context has another type, or all is too large.

    NotEnumerable, when it is called: what is searched for cannot be listed. CallerRefused: the gate asked for is of a
    grant type that the caller may not ask about.
    """
    if len(encode(search.document())) > MAX_BYTES:
        raise MalformedRequest([("", f"a search about issuance may have at most {MAX_BYTES} bytes")], status=413)
    checked_context(search.tuple.context)
    gate = None if search.searched == "action" else parse_gate(search.tuple.action["name"])
    if gate is not None:
        caller.require_grant_type(gate.grant_type)
    return _Candidates(search, call, caller, capabilities, gate)


class _Candidates:
    def __init__(
        self, search: Search, call: Call, caller: AuthenticatedCaller, capabilities: Sequence[str], gate: Gate | None
    ) -> None:
        self._search, self._call, self._caller, self._capabilities = search, call, caller, capabilities
        self._gate = gate
        self._tuple = replace(search.tuple, inherited=True)

    def __call__(self, policy_set: PolicySet) -> list[Trial]:
        subject_type = self._tuple.subject["type"]
        if subject_type not in SUBJECT_TYPES:
            return []
        if self._search.searched == "action":
            return self._actions(policy_set)
        clients = policy_set.clients.get(self._call.issuer)
        if self._search.searched == "subject" and subject_type == "user":
            raise NotEnumerable("users are known to the token service only: ask about one user by an action search")
        if clients is None:
            raise NotEnumerable(f"no client is registered with the issuer {self._call.issuer} in data.registry.clients")
        return self._subjects(clients) if self._search.searched == "subject" else self._resources(clients)

    def _actions(self, policy_set: PolicySet) -> list[Trial]:
        clients = policy_set.clients.get(self._call.issuer, {})
        gates = list(self._gates(clients.get(self._client_id())))
        named = {scope for client in clients.values() for scope in client.scopes}
        scopes = {scope for scope in named if policy_set.package_for(scope) is not None} | policy_set.scopes.keys()
        return [
            *(Trial({"name": str(gate)}, self._ways(self._tuple, [gate], None)) for gate in gates),
            *(Trial({"name": s}, self._ways(self._tuple, gates, s)) for s in scopes if is_scope_token(s)),
        ]

    def _subjects(self, clients: Mapping[str, RegisteredClient]) -> list[Trial]:
        kind = self._tuple.subject["type"]
        return [
            self._trial({"type": kind, "id": client_id}, self._only_registered(client), "subject")
            for client_id, client in clients.items()
        ]

    def _resources(self, clients: Mapping[str, RegisteredClient]) -> list[Trial]:
        targets = {target for client in clients.values() for target in client.audience}
        gates = list(self._gates(clients.get(self._client_id())))
        return [self._trial({"type": "audience", "id": target}, gates, "resource") for target in targets]

    def _trial(self, entity: dict[str, str], gates: Iterable[Gate], name: str) -> Trial:
        changed: dict[str, Any] = {name: {**getattr(self._tuple, name), **entity}}
        item = replace(self._tuple, **changed)
        scope: str | None = self._tuple.action["name"]
        if self._gate is not None:
            gates, scope = [self._gate], None
        elif not is_scope_token(scope or ""):
            gates = []
        return Trial(entity, self._ways(item, gates, scope))

    def _ways(self, item: Tuple, gates: Iterable[Gate], scope: str | None) -> Iterator[Way]:
        """One question by each gate, as if gate and scope were evaluated alone; none where they would be refused."""
        for gate in gates:
            tuples = {0: replace(item, action={"name": str(gate)})}
            if scope is not None:
                tuples[1] = replace(item, action={**item.action, "name": scope})
            planned = plan(tuples, self._call, "", self._capabilities)
            if not planned.refused:
                yield Way(planned.askings[0], scope)

    def _gates(self, client: RegisteredClient | None) -> Iterator[Gate]:
        """Every registered gate that the caller may ask about, and those of other grants that the client has."""
        own = () if client is None else client.grant_types or ()
        yield from self._composed(dict.fromkeys([*GRANT_TYPES, *own]))

    def _only_registered(self, client: RegisteredClient) -> Iterator[Gate]:
        yield from self._composed(GRANT_TYPES if client.grant_types is None else client.grant_types)

    def _composed(self, grant_types: Iterable[str]) -> Iterator[Gate]:
        may = self._caller.grant_types
        for token_type in TOKEN_TYPES:
            for grant_type in grant_types:
                gate = parse_gate(f"issue:{token_type}:{grant_type}")
                if gate is not None and (may is None or grant_type in may):
                    yield gate

    def _client_id(self) -> str:
        """Of the client that the documents name; empty: none (see context.members_of)."""
        subject = self._tuple.subject
        own = subject.get("id", "") if subject["type"] != "user" else ""
        client_id: str = self._tuple.context.get("client_id") or own
        return client_id
