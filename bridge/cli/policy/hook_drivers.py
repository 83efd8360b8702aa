"""How the hooks of products are asked for every grant type, and how each one's yes looks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bridge.cli.policy.asking import CLIENT, Ask, Driver, Shown, World
from bridge.config.hooks import IndigoIamSection
from bridge.doors import data_api
from bridge.doors.hooks import hydra, indigo_iam, okta, wso2
from bridge.policy.matrix.model import Kind
from bridge.policy.matrix.wishes import USER, wish

INDIGO = IndigoIamSection(grant_type="authorization_code", client_grant_type="client_credentials")
"""What the proof configures for INDIGO IAM, which shows no grant type."""
_LIVES = 3600
_UNSIGNED = "e30.e30.e30"
"""Three times `{}`: Hydra has checked the assertion before it asks."""
Body = Callable[[Kind, Sequence[str]], dict[str, Any]]
Granted = Callable[[int, Any, Sequence[str]], Sequence[str] | None]
"""The scopes of a yes, by status, decoded body and what was asked for; None: it was none."""


def _hook(path: str, body: Body, granted: Granted) -> Callable[[Ask, World, Kind], Any]:
    async def ask(ask: Ask, world: World, kind: Kind) -> Shown:
        scopes = granted(*await ask.answer(path, body(kind, world.scopes)), world.scopes)
        bare = granted(*await ask.answer(path, body(kind, ())), ()) if world.tokens else None
        return Shown(frozenset(scopes or ()), bare is not None)

    return ask


def _by_client(kind: Kind) -> bool:
    return kind.grant_type == "client_credentials"


def _hydra_session(kind: Kind) -> dict[str, Any]:
    return {"id_token": {"subject": CLIENT if _by_client(kind) else USER["id"]}, "client_id": CLIENT}


def _hydra_request(kind: Kind, scopes: Sequence[str]) -> dict[str, Any]:
    asked = {"requested_scopes": list(scopes), "granted_scopes": list(scopes), "granted_audience": []}
    payload = {"assertion": [_UNSIGNED]} if kind.grant_type == "jwt_bearer" else {}
    return {"client_id": CLIENT, **asked, "grant_types": [kind.grant_type], "payload": payload}


def _hydra(kind: Kind, scopes: Sequence[str]) -> dict[str, Any]:
    return {"session": _hydra_session(kind), "request": _hydra_request(kind, scopes)}


def _hydra_refresh(kind: Kind, scopes: Sequence[str]) -> dict[str, Any]:
    return {"session": _hydra_session(kind), "requester": _hydra_request(kind, scopes)}


def _by_status(status: int, _: Any, asked: Sequence[str]) -> Sequence[str] | None:
    return asked if status in (200, 204) else None


def _okta(kind: Kind, scopes: Sequence[str]) -> dict[str, Any]:
    request = {"client_id": CLIENT, "grant_type": kind.grant_type}
    context = {"protocol": {"request": request, "client": {"id": CLIENT}}}
    access = {
        "claims": {},
        "scopes": {scope: {"id": scope, "action": "GRANT"} for scope in scopes},
        "token": {"lifetime": {"expiration": _LIVES}},
    }
    user = {} if _by_client(kind) else {"user": {"id": USER["id"]}}
    return {"eventType": okta.EVENT, "data": {"context": {**context, **user}, "access": access}}


def _by_error(status: int, body: Any, asked: Sequence[str]) -> Sequence[str] | None:
    return None if status == 200 and "error" in body else asked


def _wso2(kind: Kind, scopes: Sequence[str]) -> dict[str, Any]:
    event: dict[str, Any] = {
        "request": {"clientId": CLIENT, "grantType": kind.grant_type},
        "accessToken": {
            "tokenType": "JWT",
            "scopes": list(scopes),
            "claims": [{"name": "expires_in", "value": _LIVES}],
        },
    }
    if not _by_client(kind):
        event["user"] = {"id": USER["id"]}
    operations = [{"op": "remove", "paths": [wso2.SCOPES]}]
    return {"actionType": wso2.ACTION, "event": event, "allowedOperations": operations}


def _by_operations(_: int, body: Any, asked: Sequence[str]) -> Sequence[str] | None:
    if body.get("actionStatus") != "SUCCESS":
        return None
    removed = {one["path"] for one in body["operations"]}
    return [scope for number, scope in enumerate(asked) if f"{wso2.SCOPES}{number}" not in removed]


def _indigo(kind: Kind, scopes: Sequence[str]) -> dict[str, Any]:
    return {"client": {"id": CLIENT}, "scopes": list(scopes), **({} if _by_client(kind) else {"user": USER})}


def _by_filter(status: int, body: Any, _: Sequence[str]) -> Sequence[str] | None:
    found: Sequence[str] = body["filtered_scopes"] if status == 200 else []
    return found or None


def _data_api(kind: Kind, scopes: Sequence[str]) -> dict[str, Any]:
    return {"input": wish("", CLIENT, kind, scopes).request}


def _by_result(_: int, body: Mapping[str, Any], asked: Sequence[str]) -> Sequence[str] | None:
    result = body["result"]
    granted = {*result["granted_scopes"], *(s for s, said in result["scopes"].items() if said["outcome"] != "deny")}
    return None if result["outcome"] == "deny" and not granted and not result["allow"] else sorted(granted) or asked


def _every(world: World) -> Iterator[Kind]:
    yield from world.kinds


def _access_tokens(world: World) -> Iterator[Kind]:
    return (kind for kind in world.kinds if kind.token_type == "access_token")  # noqa: S105 - a kind of token


def _of_indigo(world: World) -> Iterator[Kind]:
    return (kind for kind in _access_tokens(world) if kind.grant_type in (INDIGO.grant_type, INDIGO.client_grant_type))


HOOK_DRIVERS: dict[tuple[str, str], Driver] = {
    ("POST", data_api.PATH): Driver(_every, _hook(data_api.PATH, _data_api, _by_result)),
    ("POST", hydra.PATH): Driver(_access_tokens, _hook(hydra.PATH, _hydra, _by_status), tokens=False, patient=False),
    ("POST", hydra.REFRESH_PATH): Driver(
        _access_tokens, _hook(hydra.REFRESH_PATH, _hydra_refresh, _by_status), tokens=False, patient=False
    ),
    ("POST", okta.PATH): Driver(_access_tokens, _hook(okta.PATH, _okta, _by_error), patient=False),
    ("POST", wso2.PATH): Driver(_access_tokens, _hook(wso2.PATH, _wso2, _by_operations), patient=False),
    ("POST", indigo_iam.PATH): Driver(
        _of_indigo, _hook(indigo_iam.PATH, _indigo, _by_filter), tokens=False, patient=False
    ),
}
"""Method and path -> how it is driven."""
