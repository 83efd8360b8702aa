"""The request forms of the OpenID Authorization API 1.0 (AuthZEN), read strictly; unknown members are passed over.

A null `context` or `properties` is absent; a null entity is a missing one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bridge.errors import MalformedRequest
from bridge.model.mask import covers

ENTITIES = {"subject": ("type", "id"), "action": ("name",), "resource": ("type", "id")}
"""Entity -> the members that identify it, all of them strings."""


Pointer = tuple[str, ...]
_COPIES: Mapping[Pointer, Pointer] = {
    ("audience", "0"): ("resource", "id"),
    ("client", "id"): ("context", "client_id"),
    **{("authentication", name): ("context", name) for name in ("acr", "amr", "auth_time")},
    **{(name,): ("context", name) for name in ("cnf", "authorization_details", "subject_token")},
}
"""Where an input document has what AuthZEN sends elsewhere."""


class Semantic(StrEnum):
    """When a batch stops being answered (section 7.1.2.1 there)."""

    EXECUTE_ALL = "execute_all"
    DENY_ON_FIRST_DENY = "deny_on_first_deny"
    PERMIT_ON_FIRST_PERMIT = "permit_on_first_permit"


@dataclass(frozen=True, slots=True)
class Tuple:
    """One question: may this subject do this to that? Each entity is as it was sent, less what is unknown.

    `inherited`: the context is the default of the whole batch.
    """

    subject: Mapping[str, Any]
    action: Mapping[str, Any]
    resource: Mapping[str, Any]
    context: Mapping[str, Any]
    inherited: bool = False

    def document(self) -> dict[str, Any]:
        """The tuple as policies see it."""
        context = {"context": self.context} if self.context else {}
        return {"subject": self.subject, "action": self.action, "resource": self.resource, **context}


@dataclass(frozen=True, slots=True)
class Misfit:
    """An item that is no question, and why; safe to send back."""

    reason: str


@dataclass(frozen=True, slots=True)
class Evaluations:
    """What one request asks.

    `single`: in the form of the evaluation API, and to be answered so. `bare`: to be answered by decisions alone.
    """

    items: tuple[Tuple | Misfit, ...]
    semantic: Semantic = Semantic.EXECUTE_ALL
    single: bool = False
    bare: bool = False


def with_copies(pointers: Iterable[Pointer]) -> tuple[Pointer, ...]:
    """JSON pointers into an input document, and those to the same values in what AuthZEN sent.

    The context stands in the document as it came, beside what was read of it; a tuple on record has the target too.
    """
    found = dict.fromkeys(pointers)
    for pointer in list(found):
        for place, copy in _COPIES.items():
            if covers(pointer[: len(place)], place):
                found[*copy, *pointer[len(place) :]] = None
    return tuple(found)


def read_evaluation(body: Mapping[str, Any]) -> Evaluations:
    """The single form. MalformedRequest names the member and what is allowed."""
    return Evaluations((read_tuple(body),), single=True)


def read_evaluations(body: Mapping[str, Any], max_items: int) -> Evaluations:
    """The batch form; without items it is the single form. MalformedRequest when the payload as a whole is at fault."""
    options = _object(body, "options")
    asked = options.get("evaluations_semantic")
    if asked is not None and asked not in tuple(Semantic):
        raise MalformedRequest([("/options/evaluations_semantic", f"must be one of {', '.join(Semantic)}")])
    semantic = Semantic.EXECUTE_ALL if asked is None else Semantic(asked)
    items = body.get("evaluations")
    if items is None or items == []:
        return read_evaluation(body)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise MalformedRequest([("/evaluations", "must be an array of objects")])
    if len(items) > max_items:
        raise MalformedRequest([("/evaluations", f"at most {max_items} items (authzen.max_items), {len(items)} sent")])
    defaults = {name: body[name] for name in (*ENTITIES, "context") if name in body}
    _check_types(defaults)
    # Most items take most of the defaults, so these are read once.
    shared = {name: _entity(defaults, name) for name in ENTITIES if _is_whole(defaults.get(name), name)}
    return Evaluations(tuple(_read_item(defaults, shared, item) for item in items), semantic)


def read_tuple(body: Mapping[str, Any], *, searched: str | None = None, inherited: bool = False) -> Tuple:
    """The tuple in `body`; the identifier of the `searched` entity is neither needed nor kept."""
    _check_types(body)
    entities = {name: _entity(body, name, searched == name) for name in ENTITIES}
    return Tuple(**entities, context=body.get("context") or {}, inherited=inherited)


def _read_item(
    defaults: Mapping[str, Any], shared: Mapping[str, dict[str, Any]], item: Mapping[str, Any]
) -> Tuple | Misfit:
    """A member of the item replaces the default whole. `shared`: the defaults that are whole, as they were read."""
    own = {name: value for name, value in item.items() if name != "context" or value is not None}
    try:
        _check_types(own)
        subject, action, resource = (
            _entity(own, n) if n in own else shared[n] if n in shared else _entity(defaults, n) for n in ENTITIES
        )
        inherited = "context" not in own
        context = (defaults if inherited else own).get("context") or {}
        return Tuple(subject, action, resource, context, inherited)
    except MalformedRequest as fault:
        return Misfit("; ".join(f"{pointer[1:].replace('/', '.')} {text}" for pointer, text in fault.problems))


def _entity(body: Mapping[str, Any], name: str, searched: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002 - one of two forms
    value = _object(body, name)
    needed = [member for member in ENTITIES[name] if not searched or member == "type"]
    if missing := [(f"/{name}/{member}", "is missing") for member in needed if member not in value]:
        raise MalformedRequest([(f"/{name}", "is missing")] if body.get(name) is None else missing)
    properties = {"properties": value["properties"]} if value.get("properties") is not None else {}
    return {**{member: value[member] for member in needed}, **properties}


def _is_whole(value: Any, name: str) -> bool:
    return isinstance(value, dict) and all(member in value for member in ENTITIES[name])


def _check_types(body: Mapping[str, Any]) -> None:
    """Whatever is there has the JSON type that it should have."""
    for name in body.keys() & ENTITIES.keys():
        value = _object(body, name)
        for member in ENTITIES[name]:
            if member in value and not isinstance(value[member], str):
                raise MalformedRequest([(f"/{name}/{member}", "must be a string")])
        if value.get("properties") is not None and not isinstance(value["properties"], dict):
            raise MalformedRequest([(f"/{name}/properties", "must be an object")])
    _object(body, "context")


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedRequest([(f"/{name}", "must be an object")])
    return value
