"""Tuples and batches for the tests of the AuthZEN door, and policies that answer what the request tells them to.

`SAYING` are packages which read their rules from `context.says`: under `SUBJECT@TARGET NAME` or, where that is not
there, under `NAME`, where `NAME` is `gate` or the scope. What is not told is allowed.
`deny` is told the codes alone, since a member called `code` is masked.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.support.bridge import RunningBridge
from tests.support.policies import write_policies

EVALUATION, EVALUATIONS = "/access/v1/evaluation", "/access/v1/evaluations"
URN = "urn:ietf:params:authzen:token-issuance"
TARGET = "https://api.example"
JSON = {"Content-Type": "application/json"}

_SAY = """
says := object.get(object.get(input, "context", {}), "says", {})
key := sprintf("%s@%s %s", [input.subject.id, input.audience[0], NAME])
said := object.get(says, key, object.get(says, NAME, {"allow": true}))
allow := said.allow
deny := [{"code": code} | some code in said.deny]
require := said.require
limit := said.limit
claims := said.claims
crit := said.crit
"""
SCOPES = ("s:", "https://", "odd/")
"""Scopes that begin so have a package."""
FAILING = 'allow if to_number(input.context.note) > 0\nallow if to_number("none") > 0'
SAYING = {
    "issuance.gate": _SAY.replace("NAME", '"gate"'),
    **{f"issuance.scope_prefix[{json.dumps(prefix)}]": _SAY.replace("NAME", "input.scope") for prefix in SCOPES},
    'issuance.scope["failing"]': FAILING,
    'authzen.resource["door"]': """
allow if input.subject.id in {"alice", "bob"}
context := {"note": input.context.note} if input.context.note
""",
    'authzen.resource["failing"]': FAILING,
}


def write_saying(folder: Path) -> Path:
    return write_policies(folder, SAYING)


def user(name: str = "alice", **properties: Any) -> dict[str, Any]:
    return party("user", name, **properties)


def party(kind: str, name: str, **properties: Any) -> dict[str, Any]:
    return {"type": kind, "id": name, **({"properties": properties} if properties else {})}


def item(name: str, subject: Mapping[str, Any] | None = None, target: str | None = None, **more: Any) -> dict[str, Any]:
    """An item of a batch: the action, and what is not the default."""
    entities = {"subject": subject, "resource": None if target is None else {"type": "audience", "id": target}}
    return {"action": {"name": name}, **{k: v for k, v in entities.items() if v is not None}, **more}


def gate(token_type: str = "access_token", grant_type: str = "authorization_code") -> str:
    return f"issue:{token_type}:{grant_type}"


def batch(*items: Any, subject: Any = None, target: str = TARGET, context: Any = None, **more: Any) -> dict[str, Any]:
    """A batch of `items` (texts are actions), by default of alice at `TARGET`."""
    return {
        "subject": user() if subject is None else subject,
        "resource": {"type": "audience", "id": target},
        "evaluations": [item(one) if isinstance(one, str) else one for one in items],
        **({} if context is None else {"context": context}),
        **more,
    }


def values(*some: Any) -> tuple[Any, ...]:
    """Values of different types."""
    return some


def says(capable: Any = True, **told: Any) -> dict[str, Any]:
    """A context in which `gate` and scopes (`s_` for `s:`) are told what to answer."""
    rules = {name.replace("s_", "s:", 1) if name.startswith("s_") else name: rules for name, rules in told.items()}
    return {"says": rules, **({"issuance": {"capabilities": [URN]}} if capable else {})}


def post(bridge: RunningBridge, body: Any, path: str = EVALUATIONS, **options: Any) -> httpx.Response:
    """Bytes go out as they are, anything else as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return bridge.client.post(path, content=content, headers={**JSON, **options.pop("headers", {})}, **options)


def ask(bridge: RunningBridge, body: Any, path: str = EVALUATIONS, **options: Any) -> Any:
    """The decoded reply to what must be answered with 200."""
    response = post(bridge, body, path, **options)
    assert response.status_code == 200, response.text
    return response.json()


def items(bridge: RunningBridge, body: Any) -> list[dict[str, Any]]:
    """The items of the reply to a batch."""
    found: list[dict[str, Any]] = ask(bridge, body)["evaluations"]
    return found


def decisions(bridge: RunningBridge, body: Any) -> list[bool]:
    return [one["decision"] for one in items(bridge, body)]


def code(item: Mapping[str, Any]) -> str | None:
    """Why the item was denied, for operators."""
    found: str | None = item.get("context", {}).get("reason_admin", {}).get("403")
    return found


def shaping(item: Mapping[str, Any]) -> Any:
    """What narrows a permit; None when nothing does."""
    return item.get("context", {}).get("issuance")
