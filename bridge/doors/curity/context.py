"""What Curity's context tells, whose names are not known for certain: each is read under several spellings.

Two spellings that say different things tell nothing that could be relied on, and then nothing is granted.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.model.gate import grant_name
from bridge.pdp.gather import encode

_PHASES = {"authoriz": "authorization", "token": "token"}
_IDENTIFIER = re.compile(r"[^\x00-\x1f\x7f]{1,512}")
_MAX_LIST = 256
_FOLD = str.maketrans("", "", "-_. ")


@dataclass(frozen=True, slots=True)
class Shown:
    """`grant_type` None: not told. `requested` None: not told. `context`: registered members under their own names."""

    grant_type: str | None
    phase: str
    requested: tuple[str, ...] | None
    context: Mapping[str, Any]


def read_context(context: Mapping[str, Any]) -> Shown | None:
    """None when it says something about the request that cannot be understood."""
    told = _Told(context)
    grant_types = {grant_name(value) for value in told("granttype")}
    phases = {_phase(value) for value in told("phase")} or {"token"}
    clients = {_identifier(value) for value in (*told("clientid"), *_clients(told("client")))}
    details = {encode(value): value for value in told("authorizationdetails")}
    if max(len(grant_types), len(phases), len(clients), len(details)) > 1 or None in grant_types | phases | clients:
        return None
    if not all(map(_are_details, details.values())):
        return None
    members = {
        "client_id": next(iter(clients), None),
        "acr": _the_one(value if isinstance(value, str) else None for value in told("acr")),
        "amr": _the_one(map(_list, told("amr"))),
        "auth_time": _the_one(map(_seconds, told("authtime", "authenticationtime"))),
        "authorization_details": next(iter(details.values()), None),
        "cnf": _the_one(value if isinstance(value, dict) else None for value in told("cnf")),
        "subject_token": _the_one(value if isinstance(value, dict) else None for value in told("subjecttoken")),
    }
    told_context = {name: value for name, value in context.items() if name not in members}
    told_context.update((name, value) for name, value in members.items() if value is not None)
    scopes = list(map(_list, told("scope", "scopes", "requestedscope", "requestedscopes")))
    requested = tuple(_the_one(scopes) or ()) if scopes else None
    return Shown(next(iter(grant_types), None), next(iter(phases)) or "token", requested, told_context)


def folded(name: str) -> str:
    """The name without what tells spellings apart."""
    return name.translate(_FOLD).lower()


class _Told:
    """The values of a context by their folded names; null is absent."""

    def __init__(self, context: Mapping[str, Any]) -> None:
        self._by_name: dict[str, list[Any]] = {}
        for name, value in context.items():
            if value is not None:
                self._by_name.setdefault(folded(name), []).append(value)

    def __call__(self, *names: str) -> list[Any]:
        return [value for name in names for value in self._by_name.get(name, ())]


def _the_one(values: Any) -> Any:
    """What all spellings agree on, and all can be read."""
    found = {encode(value): value for value in values}
    return next(iter(found.values())) if len(found) == 1 else None


def _phase(value: Any) -> str | None:
    text = value.lower() if isinstance(value, str) else ""
    return next((phase for start, phase in _PHASES.items() if text.startswith(start)), None)


def _clients(values: list[Any]) -> list[Any]:
    """The ids in what may also be an object."""
    return [
        value["id"] if isinstance(value, dict) else value
        for value in values
        if not isinstance(value, dict) or "id" in value
    ]


def _identifier(value: Any) -> str | None:
    return value if isinstance(value, str) and _IDENTIFIER.fullmatch(value) else None


def _are_details(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= _MAX_LIST
        and all(isinstance(one, dict) and isinstance(one.get("type"), str) for one in value)
    )


def _list(value: Any) -> list[str] | None:
    """Of a list of strings, or of a string with spaces."""
    if isinstance(value, str):
        value = value.split()
    fits = isinstance(value, list) and len(value) <= _MAX_LIST and all(isinstance(one, str) for one in value)
    return value if fits else None


def _seconds(value: Any) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}", value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
