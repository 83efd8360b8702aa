"""A wish becomes one request to the PDP: gates first, then one tuple for each scope.

Everything that decides stands in (subject, action, resource); the context is advisory and holds the profile's own
keys, and the requested `authorization_details`, for which the profile has none.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from bridge.pep.details import is_detail
from bridge.pep.fault import Misuse
from bridge.pep.refuse import Refusal
from bridge.pep.wish import Party, Wish, is_scope

CAPABILITY = "urn:ietf:params:authzen:token-issuance"
MAX_TUPLES = 200


@dataclass(frozen=True, slots=True)
class Asked:
    """One tuple. `scope` is None on a gate; `level` 2 are the resources behind the target."""

    subject: Party
    action: str
    target: str
    scope: str | None = None
    level: int = 1


@dataclass(frozen=True, slots=True)
class Batch:
    """What is asked, in order, and the body that asks it. `single`: by the evaluation API, which has no array."""

    tuples: tuple[Asked, ...]
    body: bytes
    single: bool


def build(wish: Wish, *, capabilities: Sequence[str] = (CAPABILITY,), max_tuples: int = MAX_TUPLES) -> Batch | Refusal:
    """The request for `wish`; or the refusal where the client asks for what must not even be asked.

    Raises Misuse when something of the server's own is no JSON.
    """
    if reason := _unaskable(wish, max_tuples):
        return reason
    tuples = tuple(islice(chain(_gates(wish), _scopes(wish)), max_tuples + 1))
    if len(tuples) > max_tuples:
        return Refusal("invalid_request", f"more than {max_tuples} tuples")
    context = _context(wish, capabilities)
    body = _single(tuples[0], context) if len(tuples) == 1 else _several(tuples, context)
    try:
        text = json.dumps(body, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise Misuse(f"the wish holds something that is no JSON: {type(error).__name__}") from None
    return Batch(tuples, text.encode("ascii"), single=len(tuples) == 1)


def _unaskable(wish: Wish, max_tuples: int) -> Refusal | None:
    if not all(map(is_scope, wish.scopes)):
        return Refusal("invalid_scope", "a scope is not a scope-token, or begins with issue:")
    if not all((*wish.audience, *wish.resources)):
        return Refusal("invalid_target", "a target is empty")
    if not all(map(is_detail, wish.authorization_details)):
        return Refusal("invalid_authorization_details", "an entry has no type")
    if max(len(wish.asked_scopes), len(wish.targets), len(wish.authorization_details)) > max_tuples:
        return Refusal("invalid_request", f"more than {max_tuples} scopes, targets or details")
    return None


def _gates(wish: Wish) -> Iterable[Asked]:
    for target in wish.targets:
        yield Asked(wish.subject, wish.gate, target)
        if wish.requesting_party is not None:
            yield Asked(wish.requesting_party, wish.gate, target)


def _scopes(wish: Wish) -> Iterable[Asked]:
    parties = [wish.subject]
    if wish.needs_both and wish.requesting_party is not None:
        parties.append(wish.requesting_party)
    for level, targets in ((1, wish.targets), (2, wish.resources)):
        for target in targets:
            for party in parties:
                for scope in wish.asked_scopes:
                    yield Asked(party, scope, target, scope, level)


def _context(wish: Wish, capabilities: Sequence[str]) -> dict[str, Any]:
    exchange = wish.exchange
    known: dict[str, Any] = {
        "client_id": wish.client_id,
        "acr": wish.acr,
        "amr": None if wish.amr is None else list(wish.amr),
        "auth_time": wish.auth_time,
        "cnf": _object(wish.cnf),
        "authorization_details": [dict(detail) for detail in wish.authorization_details] or None,
    }
    if exchange is not None:
        known |= {
            "subject_token_type": exchange.subject_token_type,
            "actor_token_type": exchange.actor_token_type,
            "subject_token": _object(exchange.subject_token),
            "act": _object(exchange.act),
            "may_act": _object(exchange.may_act),
        }
    if capabilities:
        known["issuance"] = {"capabilities": list(capabilities)}
    return {name: value for name, value in known.items() if value is not None}


def _single(asked: Asked, context: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "subject": _subject(asked.subject),
        "action": {"name": asked.action},
        "resource": _resource(asked.target),
        "context": context,
    }


def _several(tuples: Sequence[Asked], context: Mapping[str, Any]) -> dict[str, Any]:
    """What is the same in all items stands once, as a default; what differs stands whole in each."""
    subjects, targets = {asked.subject for asked in tuples}, {asked.target for asked in tuples}
    body: dict[str, Any] = {}
    if len(subjects) == 1:
        body["subject"] = _subject(tuples[0].subject)
    if len(targets) == 1:
        body["resource"] = _resource(tuples[0].target)
    body["context"] = context
    body["evaluations"] = [
        {
            **({} if "subject" in body else {"subject": _subject(asked.subject)}),
            "action": {"name": asked.action},
            **({} if "resource" in body else {"resource": _resource(asked.target)}),
        }
        for asked in tuples
    ]
    body["options"] = {"evaluations_semantic": "execute_all"}
    return body


def _subject(party: Party) -> dict[str, Any]:
    said: dict[str, Any] = {"type": party.type, "id": party.id}
    return said if party.properties is None else {**said, "properties": dict(party.properties)}


def _resource(target: str) -> dict[str, Any]:
    return {"type": "audience", "id": target}


def _object(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if value is None else dict(value)
