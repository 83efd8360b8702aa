"""From AuthZEN tuples to issuance requests: one input document per subject, target, context and gate.

AuthZEN Profile for OAuth 2.0 Token Issuance, and its binding for token exchange. A scope tuple belongs to the first
gate of its subject at its own target; where that target has none (two-level exchange), to its subject's first gate in
the batch, whose answer then counts for it too.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge.doors._body import bound_list
from bridge.doors.authzen.context import checked_context, members_of
from bridge.doors.authzen.openings import Opening, openings, party
from bridge.errors import MalformedRequest
from bridge.model.authzen import Misfit, Tuple
from bridge.model.decision import Code
from bridge.model.gate import Gate, parse_gate
from bridge.pdp.gather import Asking, Batch, Call, Terms, encode

ISSUANCE = "audience"
"""The `resource.type` of tuples about issuance."""
SUBJECT_TYPES = ("user", "client", "workload")
MAX_SCOPES = 256
_IDENTIFIER = re.compile(r"[^\x00-\x1f\x7f]{1,512}")
_Identity = tuple[str, str, str, int, int]
_Key = tuple[int | None, Gate, _Identity, int]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an item's answer is found: in which of the askings, for which scope (None: the gate)."""

    asking: int
    scope: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be asked for the issuance tuples of one request, and where each item finds its answer.

    `refused`: items that no policy is asked about, and why.
    """

    askings: tuple[Asking, ...]
    places: Mapping[int, Place]
    refused: Mapping[int, Code | Misfit]


@dataclass(slots=True)
class _Document:
    """One input document in the making. `borrowed`: whose gate counts, when that is another document's.

    `tokens`: several where the requesting party of several exchanges is asked about once.
    """

    item: Tuple
    gate: Gate
    actor: Mapping[str, Any] | None
    borrowed: int | None = None
    tokens: set[tuple[str, ...]] = field(default_factory=set)
    items: list[int] = field(default_factory=list)
    scopes: dict[str, None] = field(default_factory=dict)


def plan(tuples: Mapping[int, Tuple], call: Call, batch_id: str, capabilities: Sequence[str]) -> Plan:
    """The askings for these issuance tuples (by number of the item). MalformedRequest: the default context is at fault.

    `capabilities`: of these a caller must declare one to be sent critical claims.
    """
    return _Planner(tuples, call, batch_id, capabilities).plan()


class Alike:
    """Numbers JSON values, equal ones alike; the default that many items share is looked at once."""

    def __init__(self) -> None:
        self._by_identity: dict[int, int] = {}
        self._by_text: dict[bytes, int] = {}

    def __call__(self, value: Any) -> int:
        """`value` must outlive this."""
        if id(value) not in self._by_identity:
            self._by_identity[id(value)] = self._by_text.setdefault(encode(value), len(self._by_text))
        return self._by_identity[id(value)]


class _Planner:
    def __init__(self, tuples: Mapping[int, Tuple], call: Call, batch_id: str, capabilities: Sequence[str]) -> None:
        self._call, self._batch_id, self._capabilities = call, batch_id, frozenset(capabilities)
        self._refused: dict[int, Code | Misfit] = {}
        self._checked: dict[int, Mapping[str, Any]] = {}
        self._tuples = {number: item for number, item in tuples.items() if self._fits(number, item)}
        self._sent = tuples
        # One that does not fit is its subject's gate all the same, and no other one may stand in for it.
        self._all_gates = {n: gate for n, item in tuples.items() if (gate := parse_gate(item.action["name"]))}
        self._gates = {n: gate for n, gate in self._all_gates.items() if n in self._tuples}
        self._scopes = {n: item.action["name"] for n, item in self._tuples.items() if n not in self._gates}
        self._openings = openings(self._all_gates, self._sent)
        self._first_of: dict[tuple[str, ...], int] = {}
        """A subject, alone and at a target -> its first gate."""
        for number in self._all_gates:
            subject = party(tuples[number])
            self._first_of.setdefault(subject, number)
            self._first_of.setdefault((*subject, tuples[number].resource["id"]), number)
        self._same_context, self._same_properties, self._same_actor = Alike(), Alike(), Alike()
        bound_list({"evaluations": list(dict.fromkeys(self._scopes.values()))}, "evaluations", "scopes", MAX_SCOPES)
        self._documents: list[_Document] = []
        self._known: dict[_Key, int] = {}
        self._identities: dict[tuple[int, int, int], _Identity] = {}
        self._places: dict[int, Place] = {}
        self._with_scopes: set[tuple[str, ...]] = set()

    def plan(self) -> Plan:
        for number in self._gates:
            self._add_gate(number)
        for number in self._scopes:
            self._add_scope(number)
        self._with_scopes = {token for one in self._documents if one.scopes for token in one.tokens}
        return Plan(tuple(map(self._asking, self._documents)), self._places, self._refused)

    def _fits(self, number: int, item: Tuple) -> bool:
        problem = fitting(item, self._checked)
        if problem is None and item.subject["type"] not in SUBJECT_TYPES:
            problem = f"subject.type must be one of {', '.join(SUBJECT_TYPES)}"
        if problem is not None:
            self._refused[number] = Misfit(problem)
        return problem is None

    def _add_gate(self, number: int) -> None:
        at = self._document(self._tuples[number], number, None)
        self._documents[at].items.append(number)
        self._places[number] = Place(at, None)

    def _add_scope(self, number: int) -> None:
        item = self._tuples[number]
        first = self._first_gate(item)
        if first is None or first not in self._gates:
            self._refused[number] = Code.GATE_MISSING if first is None else Code.GATE_DENIED
            return
        at = self._places[first].asking
        if self._identity(self._tuples[first]) != self._identity(item):
            at = self._document(item, first, at)
        scope = item.action["name"]
        self._documents[at].items.append(number)
        self._documents[at].scopes[scope] = None
        self._places[number] = Place(at, scope)

    def _first_gate(self, item: Tuple) -> int | None:
        subject = party(item)
        at_target = self._first_of.get((*subject, item.resource["id"]))
        return self._first_of.get(subject) if at_target is None else at_target

    def _document(self, item: Tuple, at_gate: int, borrowed: int | None) -> int:
        """The number of the document, which is made where there is none yet. `at_gate`: the item whose gate counts."""
        gate, opening = self._gates[at_gate], self._openings[at_gate]
        actor = self._requesting_party(item, opening) if gate.grant_type == "token_exchange" else None
        key = (borrowed, gate, self._identity(item), self._same_actor(actor))
        if key not in self._known:
            self._known[key] = len(self._documents)
            self._documents.append(_Document(item, gate, actor, borrowed))
        self._documents[self._known[key]].tokens.add(opening.token)
        return self._known[key]

    def _identity(self, item: Tuple) -> _Identity:
        """What makes tuples share an input document."""
        parts = id(item.subject), id(item.resource), id(item.context)  # mostly the defaults of the batch
        known = self._identities.get(parts)
        if known is None:
            properties = self._same_properties(item.subject.get("properties"))
            known = (*party(item), item.resource["id"], properties, self._same_context(item.context))
            self._identities[parts] = known
        return known

    def _asking(self, document: _Document) -> Asking:
        item = document.item
        request = {
            "grant_type": document.gate.grant_type,
            "token_type": document.gate.token_type,
            "phase": "token",
            "subject": item.subject,
            **members_of(item.subject, item.context),
            "scopes": list(dict.fromkeys(self._scopes.values())),
            "audience": [item.resource["id"]],
        }
        if document.actor is not None:
            request["actor"] = document.actor
        terms = Terms(
            scopes=tuple(document.scopes),
            targets=self._targets(document),
            crit=bool(self._capabilities & _declared(item.context)),
            gate_of=document.borrowed,
            tokens=frozenset(document.tokens),
            gate_alone=not document.tokens & self._with_scopes,
        )
        return Asking(request, self._call, terms, Batch(self._batch_id, tuple(sorted(document.items))))

    def _targets(self, document: _Document) -> tuple[str, ...]:
        """Of the batch, those that are asked for on behalf of whom the token is about, by whichever party."""
        subjects = {token[1:3] for token in document.tokens}
        found = [item.resource["id"] for item in self._tuples.values() if party(item) in subjects]
        return tuple(dict.fromkeys([*found, document.item.resource["id"]]))

    def _requesting_party(self, item: Tuple, opening: Opening) -> Mapping[str, Any] | None:
        """Of an exchange: the subject of the second gate; where one gate suffices, that party acts for itself."""
        if opening.requesting is not None:
            other = self._tuples.get(opening.requesting)
            return None if other is None else other.subject
        itself = item.subject["type"] != "user" and item.context.get("client_id") in (None, item.subject["id"])
        return item.subject if itself else None


def fitting(item: Tuple, checked: dict[int, Mapping[str, Any]]) -> str | None:
    """Why the tuple cannot be put to the policies; MalformedRequest when that lies in the default context.

    `checked`: the contexts that were looked at, by identity, since most items share the default one.
    """
    for name, entity in (("subject", item.subject), ("resource", item.resource)):
        if not _IDENTIFIER.fullmatch(entity["id"]):
            return f"{name}.id must have 1 to 512 characters and no control characters"
    if id(item.context) in checked:
        return None
    try:
        checked_context(item.context)
    except MalformedRequest as fault:
        if item.inherited:
            raise
        return str(fault)
    checked[id(item.context)] = item.context
    return None


def _declared(context: Mapping[str, Any]) -> frozenset[str]:
    issuance = context.get("issuance")
    declared = issuance.get("capabilities") if isinstance(issuance, dict) else None
    return frozenset(one for one in declared if isinstance(one, str)) if isinstance(declared, list) else frozenset()
