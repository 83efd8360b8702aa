"""The PDP's reply, read with suspicion: what is not exactly a decision on what was asked is none.

On a permitted item whatever stands in `context.issuance` must be understood, since leaving it out would make the token
broader. On a denied item nothing can broaden, so only a well-formed step-up is looked at.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeGuard

from bridge.pep.batch import Batch
from bridge.pep.details import is_detail
from bridge.pep.fault import BadReply
from bridge.pep.strict_json import loads
from bridge.pep.wish import scope_set

Requirement = str | Mapping[str, Any]
"""`"consent"`, or an object of `acr_values`, `max_age` (s), `amr`."""
_MAX_ID = 128


@dataclass(frozen=True, slots=True)
class Issuance:
    """The shaping of one permitted item. None: it says nothing about that."""

    token_lifetime: int | None = None
    granted_scope: frozenset[str] | None = None
    audience: tuple[str, ...] | None = None
    authorization_details: tuple[Mapping[str, Any], ...] | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)
    crit: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """The answer to one tuple. `require`: what would make a permit of this denial; empty when nothing would.

    `decision_id` is advisory: where the PDP keeps its record.
    """

    permitted: bool
    issuance: Issuance = field(default_factory=Issuance)
    require: tuple[Requirement, ...] = ()
    decision_id: str | None = None


def read(body: bytes, batch: Batch) -> tuple[Item, ...]:
    """The items, one for each tuple of the batch and in its order. Raises BadReply."""
    value = loads(body)
    if not isinstance(value, dict):
        raise BadReply("the reply is not an object")
    if batch.single:
        if "evaluations" in value:
            raise BadReply("the reply to one evaluation has an array of them")
        return (_item(value),)
    items = value.get("evaluations")
    if not isinstance(items, list):
        raise BadReply("the reply has no array of evaluations")
    if value.get("decision", True) is not True:
        raise BadReply("the reply denies the batch as a whole and answers its items")
    if len(items) != len(batch.tuples):
        raise BadReply(f"the reply has {len(items)} items for {len(batch.tuples)} tuples")
    return tuple(_item(item) for item in items)


def _item(value: Any) -> Item:
    if not isinstance(value, dict) or not isinstance(value.get("decision"), bool):
        raise BadReply("an item has no decision that is true or false")
    context = value.get("context", {})
    if not isinstance(context, dict):
        raise BadReply("the context of an item is not an object")
    aside = context.get("issuance_ext")
    aside = aside if isinstance(aside, dict) else {}
    decision_id = aside.get("decision_id")
    if not _text(decision_id) or len(decision_id) > _MAX_ID:
        decision_id = None
    if not value["decision"]:
        return Item(permitted=False, require=_require(aside.get("require")), decision_id=decision_id)
    issuance = _issuance(context["issuance"]) if "issuance" in context else Issuance()
    return Item(permitted=True, issuance=issuance, decision_id=decision_id)


def _issuance(value: Any) -> Issuance:
    if not isinstance(value, dict):
        raise BadReply("issuance is not an object")
    if value.keys() - _READERS.keys():
        raise BadReply("issuance has a member that is not understood")
    return Issuance(**{name: _READERS[name](stated) for name, stated in value.items()})


def _lifetime(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise BadReply("token_lifetime is not a number of whole seconds")
    return value


def _granted_scope(value: Any) -> frozenset[str]:
    tokens = scope_set(value) if isinstance(value, str) else None
    if tokens is None:
        raise BadReply("granted_scope is not a space-delimited list of scopes")
    return frozenset(tokens)


def _strings(value: Any) -> tuple[str, ...]:
    if not _texts(value):
        raise BadReply("audience or crit is not an array of strings")
    return tuple(dict.fromkeys(value))


def _details(value: Any) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(value, list):
        raise BadReply("authorization_details is not an array")
    if not all(map(is_detail, value)):
        raise BadReply("authorization_details has an entry without a type")
    return tuple(value)


def _claims(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadReply("claims is not an object")
    return value


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "token_lifetime": _lifetime,
    "granted_scope": _granted_scope,
    "audience": _strings,
    "authorization_details": _details,
    "claims": _claims,
    "crit": _strings,
}


def _require(value: Any) -> tuple[Requirement, ...]:
    """The requirements, all of them or none: half of a step-up would send the user to sign in for nothing."""
    if not isinstance(value, list) or not all(one == "consent" or _sign_in(one) for one in value):
        return ()
    return tuple(value)


def _sign_in(value: Any) -> bool:
    if not isinstance(value, dict) or not value or value.keys() - {"acr_values", "max_age", "amr"}:
        return False
    age = value.get("max_age", 0)
    lists = [value[name] for name in ("acr_values", "amr") if name in value]
    # They go into space-delimited parameters (OpenID Connect Core 1.0, section 3.1.2.1).
    return type(age) is int and age >= 0 and all(_texts(one) and one and not any(map(_spaced, one)) for one in lists)


def _spaced(value: str) -> bool:
    return not all("!" <= c <= "~" for c in value)


def _text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and value != ""


def _texts(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(map(_text, value))
