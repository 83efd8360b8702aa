"""Reads Curity's batch: bare or below `input`, whatever else stands in it. What makes no tuple is a Misfit."""

from collections.abc import Mapping
from typing import Any

from bridge.errors import MalformedRequest
from bridge.model.authzen import ENTITIES, Evaluations, Misfit, Tuple


def read_scopes(body: Mapping[str, Any], max_items: int) -> Evaluations:
    """The tuples, each as it was sent. MalformedRequest: no items, more than `max_items`, or a default is no object."""
    inner = body.get("input")
    if "evaluations" not in body and isinstance(inner, dict):
        body = inner
    items = body.get("evaluations")
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise MalformedRequest([("/evaluations", "must be an array of objects, and not empty")])
    if len(items) > max_items:
        raise MalformedRequest([("/evaluations", f"at most {max_items} items (authzen.max_items), {len(items)} sent")])
    for name, value in _given(body).items():
        if not isinstance(value, dict):
            raise MalformedRequest([(f"/{name}", "must be an object")])
    return Evaluations(tuple(_tuple({**_given(body), **_given(item)}) for item in items), bare=True)


def _given(value: Mapping[str, Any]) -> dict[str, Any]:
    """The members of a tuple that are there; null is absent."""
    return {name: value[name] for name in (*ENTITIES, "context") if value.get(name) is not None}


def _tuple(members: Mapping[str, Any]) -> Tuple | Misfit:
    for name, value in members.items():
        if not isinstance(value, dict):
            return Misfit(f"{name} must be an object")
    subject, action, resource, context = (members.get(name, {}) for name in (*ENTITIES, "context"))
    for name, text in (("resource.type", resource.get("type")), ("action.name", action.get("name"))):
        if not isinstance(text, str) or not text:
            return Misfit(f"{name} must be a string, and not empty")
    return Tuple(subject, action, resource, context)
