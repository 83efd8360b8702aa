"""How each door is asked for every kind of token, and how its yes looks. A route in no table here is a finding."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bridge.cli.policy.asking import CLIENT, Ask, Driver, Shown, World, together
from bridge.cli.policy.hook_drivers import HOOK_DRIVERS
from bridge.doors import bundles, issued, lifecycle, native
from bridge.doors.authzen import door as authzen
from bridge.doors.authzen import metadata, search
from bridge.doors.curity import door as curity
from bridge.doors.logout import backchannel, jwks, ticket
from bridge.model.gate import parse_gate
from bridge.policy.matrix.model import Kind
from bridge.policy.matrix.wishes import USER, wish

AUDIENCE = "https://audience.example"
PLAIN_ACTION = "request_scope"


def plain_type(kind: Kind) -> str:
    """The resource type of tuples that are configured to stand for this kind of token."""
    return f"matrix:{kind.grant_type}:{kind.token_type}"


def curity_place(number: int) -> tuple[str, str, str]:
    """How the scope of this number is shown in Curity's form: type, path, action."""
    return "matrix", f"p{number}", "ask"


async def _native(ask: Ask, world: World, kind: Kind) -> Shown:
    wishes = [wish("", CLIENT, kind, world.scopes, phase=phase) for phase in ("token", "authorization")]
    bare = [wish("", CLIENT, kind, ())] if world.tokens else []
    replies = await together(ask(native.PATH, one.request) for one in (*wishes, *bare))
    scopes = {scope for reply in replies for scope in reply["granted_scopes"]}
    scopes |= {s for reply in replies for s, said in reply["scopes"].items() if said["outcome"] != "deny"}
    return Shown(frozenset(scopes), any(reply["outcome"] != "deny" for reply in replies[len(wishes) :]))


def _context() -> dict[str, Any]:
    return {"client_id": CLIENT, "acr": "urn:matrix", "amr": ["pwd"], "auth_time": 0}


def _item(action: str, resource_type: str = "audience", resource: str = AUDIENCE) -> dict[str, Any]:
    return {"action": {"name": action}, "resource": {"type": resource_type, "id": resource}}


def _subject(kind: Kind) -> dict[str, str]:
    return {"type": "client", "id": CLIENT} if kind.grant_type == "client_credentials" else USER


async def _evaluations(ask: Ask, world: World, kind: Kind) -> Shown:
    """A gate and scopes in one batch; and scopes without a gate, in the configured form."""
    scopes, token = set[str](), False
    gate = _item(_gate(kind))
    plain = [_item(PLAIN_ACTION, plain_type(kind), scope) for scope in world.scopes]
    batches, body = ([gate, *map(_item, world.scopes)], plain), {"subject": _subject(kind), "context": _context()}
    replies = await together(ask(authzen.EVALUATIONS_PATH, {**body, "evaluations": items}) for items in batches)
    for items, reply in zip(batches, replies, strict=True):
        for item, said in zip(items, reply["evaluations"], strict=True):
            if said["decision"] is not False and item is gate:
                token = True
            elif said["decision"] is not False:
                scopes.add(item["resource"]["id"] if item["resource"]["type"] != "audience" else item["action"]["name"])
    return Shown(frozenset(scopes), token)


async def _evaluation(ask: Ask, world: World, kind: Kind) -> Shown:
    scope, gate = world.scopes[0], _item(_gate(kind))
    asked = [_item(PLAIN_ACTION, plain_type(kind), scope), *([gate] if world.tokens else [])]
    if kind == next(one for one in _with_a_gate(world) if _subject(one) == _subject(kind)):
        asked.append(_item(scope))  # which says nothing of the kind
    body = {"subject": _subject(kind), "context": _context()}
    replies = await together(ask(authzen.EVALUATION_PATH, {**body, **item}) for item in asked)
    granted = [item for item, reply in zip(asked, replies, strict=True) if reply["decision"] is not False]
    return Shown(frozenset([scope] if any(item is not gate for item in granted) else []), gate in granted)


async def _curity(ask: Ask, world: World, kind: Kind) -> Shown:
    items = [_item(a, t, p) for t, p, a in map(curity_place, range(len(world.scopes)))]
    context = {"grant_type": kind.grant_type, "client_id": CLIENT}
    reply = await ask(curity.PATH, {"subject": _subject(kind), "context": context, "evaluations": items})
    said = zip(world.scopes, reply["evaluations"], strict=True)
    return Shown(frozenset(scope for scope, one in said if one["decision"] is not False))


async def _actions(ask: Ask, _world: World, _: Kind) -> Shown:
    resource = {"type": "audience", "id": AUDIENCE}
    subjects = (USER, {"type": "client", "id": CLIENT})
    bodies = [{"subject": one, "resource": resource, "context": {"client_id": CLIENT}} for one in subjects]
    found = await together(_all(ask, search.PATHS["action"], body) for body in bodies)
    names = {one["name"] for results in found for one in results}
    gates = {name for name in names if parse_gate(name) is not None}
    return Shown(frozenset(names - gates), bool(gates))


async def _subjects(ask: Ask, world: World, _: Kind) -> Shown:
    body = {"subject": {"type": "client"}, "resource": {"type": "audience", "id": AUDIENCE}}
    return await _found(ask, search.PATHS["subject"], body, world)


async def _resources(ask: Ask, world: World, _: Kind) -> Shown:
    body = {"subject": {"type": "client", "id": CLIENT}, "resource": {"type": "audience"}}
    return await _found(ask, search.PATHS["resource"], body, world)


async def _found(ask: Ask, path: str, body: Mapping[str, Any], world: World) -> Shown:
    # One kind of token for each grant type: a search tries all kinds of a scope anyway.
    gates = {kind.grant_type: _gate(kind) for kind in _with_a_gate(world) if world.tokens}.values()
    names = [*world.scopes[:3], *gates]
    results = await together(_all(ask, path, {**body, "action": {"name": name}}) for name in names)
    found = {name for name, one in zip(names, results, strict=True) if one}
    return Shown(frozenset(found.difference(gates)), not found.isdisjoint(gates))


async def _all(ask: Ask, path: str, body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = (await ask(path, body))["results"]
    return found


def _gate(kind: Kind) -> str:
    return f"issue:{kind.token_type}:{kind.grant_type}"


def _every(world: World) -> Iterator[Kind]:
    yield from world.kinds


def _with_a_gate(world: World) -> Iterator[Kind]:
    return (kind for kind in world.kinds if parse_gate(_gate(kind)) is not None)


def _of_curity(world: World) -> Iterator[Kind]:
    return (kind for kind in world.kinds if kind.token_type == world.curity_token)


def _all_at_once(_: World) -> Iterator[Kind]:
    yield Kind("any", "any")


DRIVERS: dict[tuple[str, str], Driver] = {
    ("POST", native.PATH): Driver(_every, _native),
    ("POST", authzen.EVALUATION_PATH): Driver(_with_a_gate, _evaluation),
    ("POST", authzen.EVALUATIONS_PATH): Driver(_with_a_gate, _evaluations),
    ("POST", curity.PATH): Driver(_of_curity, _curity, tokens=False),
    ("POST", search.PATHS["action"]): Driver(_all_at_once, _actions),
    ("POST", search.PATHS["subject"]): Driver(_all_at_once, _subjects),
    ("POST", search.PATHS["resource"]): Driver(_all_at_once, _resources),
    **HOOK_DRIVERS,
}
"""Method and path -> how it is driven."""
SILENT: dict[tuple[str, str], str] = {
    ("POST", issued.PATH): "takes reports of tokens that were minted",
    ("GET", lifecycle.CLIENT): "what hangs on a client",
    ("DELETE", lifecycle.CLIENT): "ends a client",
    ("POST", lifecycle.END): "ends something",
    ("POST", lifecycle.REINSTATE): "lets something begin anew, and grants nothing",
    ("GET", lifecycle.STATUS): "endings that are not settled",
    ("POST", backchannel.PATH): "takes logout tokens, which end sessions",
    ("GET", ticket.PATH): "a page that tells applications of a logout",
    ("GET", jwks.PATH): "the public key of logout tokens",
    ("GET", metadata.PATH): "metadata",
    ("GET", metadata.PATH + "/{path}"): "metadata",
    ("GET", bundles.PATH): "the policy set",
    ("GET", "/log/{file}"): "the published log",
    ("GET", "/health/live"): "health",
    ("GET", "/health/ready"): "health",
    ("GET", "/metrics"): "metrics",
    ("GET", "/openapi.json"): "this interface",
}
"""Routes that say nothing about any token to come, and what they say."""
