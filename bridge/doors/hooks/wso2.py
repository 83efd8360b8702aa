"""WSO2 Identity Server 7: `POST /hooks/wso2`, its pre-issue access token action.

The server applies the operations that it lists as allowed, drops any other without a word, and issues the token all
the same. So nothing is said in operations that the list does not hold, and what they cannot say is a denial. What they
change comes back as the token's own on each refresh; a claim of ours lists the claims that are ours, so that they can
be taken out again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from bridge.doors.hooks._operations import (
    AUDIENCE,
    CLAIMS,
    LIFETIME,
    Allowed,
    is_removable,
    is_replaceable,
    removals,
)
from bridge.doors.hooks._shown import UNKNOWN, details, lives_s, section, sent, text, texts, without_absent
from bridge.doors.hooks.door import Abilities, Wish
from bridge.errors import MalformedRequest
from bridge.model.decision import Code, Decision, Outcome
from bridge.model.dialect import Dialect
from bridge.model.gate import grant_name
from bridge.model.limit import MAX_LIFETIME_S
from bridge.pdp.decide import Answered
from bridge.pdp.details import typed
from bridge.pdp.gather import encode
from bridge.pdp.record import FAULT_CODES

NAME = "wso2"
PATH = "/hooks/wso2"
ACTION = "PRE_ISSUE_ACCESS_TOKEN"
MARK = "issuance_bridge"
"""The claim of ours: a JSON list, as text, of the names of those that are ours. Only where there may be a refresh."""
SCOPES = "/accessToken/scopes/"
KINDS = frozenset({"string", "number", "boolean", "strings"})
OWN = frozenset(
    [
        *("aut", "azp", "binding_ref", "binding_type", "expires_in", "subject_type"),
        *("entity_id", "entity_type", "grant_type", "is_consented", "is_federated", "realm", "token_id"),
        *("org_handle", "org_id", "org_name", "user_org", "Scope", "SCOPE", MARK, ""),
    ]
)
"""Claims that the server writes itself, or would drop, beside those of the protocol, which no policy sets."""
_FAULTS = FAULT_CODES | {Code.EVIDENCE_UNAVAILABLE}


@dataclass(frozen=True, slots=True)
class Given:
    """What a reply needs of the body: the token as it would be, and what may be done to it."""

    scopes: tuple[str, ...]
    audience: tuple[str, ...] | None
    claims: Mapping[str, Any]
    ours: frozenset[str]
    marks: bool


class Wso2:
    """An event about one access token in, operations on it out."""

    name = NAME
    paths: tuple[str, ...] = (PATH,)
    patience_s: float | None = 4.0
    abilities = Abilities(
        product="WSO2 Identity Server 7, pre-issue access token action",
        dialect=Dialect(
            scopes=True,
            lifetime=(1, MAX_LIFETIME_S),
            audience=True,
            claims=KINDS,
            withheld=OWN,
            standing=True,
            waiting=True,
        ),
        grants=("authorization_code", "client_credentials", "password", "refresh_token"),
        fails_open=False,
        when_down="server_error, and no token",
        authenticates_by="Basic, bearer token, or a header with an API key",
    )

    async def read(self, body: dict[str, Any], path: str) -> Wish:
        if body.get("actionType") != ACTION:
            raise MalformedRequest([("/actionType", f"must be {ACTION}")])
        asked, token = section(body, "event", "request"), section(body, "event", "accessToken")
        client = text(asked.get("clientId"))
        if client is None:
            raise MalformedRequest([("/event/request/clientId", "must be a string, and not empty")])
        allowed, claims = Allowed(body.get("allowedOperations")), _pairs(token.get("claims"), "accessToken/claims")
        scopes = None if token.get("scopes") is None else texts(token["scopes"])
        if token.get("scopes") is not None and scopes is None:
            raise MalformedRequest([("/event/accessToken/scopes", "must be an array of strings")])
        grant_type = None if asked.get("grantType") is None else grant_name(asked["grantType"])
        params = _pairs(asked.get("additionalParams"), "request/additionalParams")
        # A code's were asked for long before: then only the token tells them.
        asked_details = claims.get("authorization_details", _first(params.get("authorization_details")))
        wanted_details = None if asked_details is None else details(asked_details)
        subject = _subject(section(body, "event", "user"), claims, client, grant_type)
        audience = texts(claims.get("aud"))
        request = {
            "grant_type": grant_type or UNKNOWN,
            "client": {"id": client},
            "subject": subject or {"type": "client", "id": client},
            "scopes": scopes or [],
            "audience": audience or None,
            "authorization_details": wanted_details,
            "context": without_absent(
                {
                    "claims": claims,
                    "requested_scopes": asked.get("scopes"),
                    "headers": sent(_pairs(asked.get("additionalHeaders"), "request/additionalHeaders")),
                    "params": sent(params),
                    **{name: section(body, "event").get(name) for name in ("tenant", "organization", "userStore")},
                }
            ),
        }
        known = scopes is not None and grant_type is not None and subject is not None
        ours = _ours(claims)
        refused: Code | None = None
        if not known or (asked_details is not None and wanted_details is None):
            refused = Code.NOT_SHOWN
        elif ours is None or not _can_be_undone(ours, claims, allowed):
            refused = Code.INEXPRESSIBLE  # a claim of an earlier decision could not be taken out
        # Not every version shows the refresh token.
        marks = MARK in claims or "refreshToken" in section(body, "event") or grant_type != "client_credentials"
        audience_now = None if audience is None else tuple(audience)
        given = Given(tuple(scopes or ()), audience_now, claims, ours or frozenset(), marks)
        return Wish(without_absent(request), _dialect(token, claims, audience, allowed), given, refused)

    def reply(self, wish: Wish, answered: Answered) -> web.Response:
        decision, given = answered.decision, wish.given
        if decision.outcome is Outcome.DENY and {f.code for f in decision.findings} & _FAULTS:
            return _error(500, "server_error", "nothing was decided")
        if decision.outcome is Outcome.DENY:
            return _failed("access_denied", "not allowed")
        if decision.outcome is Outcome.CONDITIONAL and not decision.granted_scopes:
            if any(isinstance(one, Mapping) for one in decision.require):
                return _failed("insufficient_user_authentication", "another authentication is needed")
            return _failed("consent_required", "consent is needed")
        return _told({"actionStatus": "SUCCESS", "operations": _operations(given, decision)})

    def fault(self, status: int, text: str) -> web.Response | None:
        if status in (401, 403):
            return None
        return _error(500, "server_error", text) if status >= 500 else _error(400, "invalid_request", text)


def _operations(given: Given, decision: Decision) -> list[dict[str, Any]]:
    granted, limit, has = set(decision.granted_scopes), decision.limit, given.claims
    done = removals(SCOPES, [scope in granted for scope in given.scopes])
    if limit.audience is not None and given.audience is not None:
        done.extend(removals(AUDIENCE, [one in limit.audience for one in given.audience]))
    lives = lives_s(has.get("expires_in"))
    if limit.token_lifetime is not None and (lives is None or limit.token_lifetime < lives):
        done.append({"op": "replace", "path": LIFETIME, "value": limit.token_lifetime})
    changed = {n: v for n, v in decision.claims.items() if n not in has or typed(has[n]) != typed(v)}
    for name in sorted(given.ours & has.keys() - decision.claims.keys()):
        done.extend(_taken_out(name, has[name]))
    for name, value in changed.items():
        done.append(_put(name, value, has))
    ours = (given.ours & decision.claims.keys()) | changed.keys()
    if given.marks and ours != given.ours:
        if not ours:
            done.extend(_taken_out(MARK, has[MARK]))
        else:
            done.append(_put(MARK, json.dumps(sorted(ours)), has))
    return done


def _put(name: str, value: Any, has: Mapping[str, Any]) -> dict[str, Any]:
    if name in has:
        return {"op": "replace", "path": CLAIMS + name, "value": value}
    return {"op": "add", "path": CLAIMS + "-", "value": {"name": name, "value": value}}


def _taken_out(name: str, value: Any) -> list[dict[str, Any]]:
    """Of a list all items: the server can take out no other part of it."""
    if isinstance(value, list):
        return removals(f"{CLAIMS}{name}/", [False] * len(value))
    return [{"op": "remove", "path": CLAIMS + name}]


def _dialect(
    token: Mapping[str, Any], claims: Mapping[str, Any], audience: list[str] | None, allowed: Allowed
) -> Dialect:
    """What the operations that are allowed here can say of this token."""
    # Other kinds of tokens have no claims that a resource server could read.
    carries = token.get("tokenType") == "JWT" and allowed("add", CLAIMS + "-")
    fixed = {name for name, value in claims.items() if not is_replaceable(name, value, allowed)}
    return Dialect(
        scopes=allowed("remove", SCOPES + "0"),
        lifetime=(1, MAX_LIFETIME_S) if allowed("replace", LIFETIME) else None,
        lives=lives_s(claims.get("expires_in")),
        audience=bool(audience) and allowed("remove", AUDIENCE + "0"),
        claims=KINDS if carries else frozenset(),
        withheld=OWN | fixed,
        standing=True,
        waiting=True,
    )


def _ours(claims: Mapping[str, Any]) -> frozenset[str] | None:
    """The names of the claims that earlier decisions set; None: it cannot be read."""
    if MARK not in claims:
        return frozenset()
    try:
        names = json.loads(claims[MARK])
    except (TypeError, ValueError, RecursionError):
        return None
    return None if texts(names) is None else (frozenset(names) & claims.keys()) - {MARK}


def _can_be_undone(ours: frozenset[str], claims: Mapping[str, Any], allowed: Allowed) -> bool:
    if MARK in claims and not is_replaceable(MARK, claims[MARK], allowed):
        return False
    return all(is_removable(name, claims[name], allowed) for name in ours | ({MARK} & claims.keys()))


def _subject(
    user: Mapping[str, Any], claims: Mapping[str, Any], client: str, grant_type: str | None
) -> dict[str, Any] | None:
    """None: it is not shown whom the token is about."""
    if user_id := text(user.get("id")):
        return {"type": "user", "id": text(claims.get("sub")) or user_id, "properties": dict(user)}
    if grant_type == "client_credentials" or claims.get("aut") == "APPLICATION":
        return {"type": "client", "id": client}
    return None


def _pairs(value: Any, where: str) -> dict[str, Any]:
    """`[{"name", "value"}]` as an object, so that secrets are known by their names; an object stays."""
    if value is None or isinstance(value, dict):
        return dict(value or {})
    fits = isinstance(value, list) and all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in value)
    if not fits or len({one["name"] for one in value}) != len(value):
        raise MalformedRequest([(f"/event/{where}", "must be an array of objects, each with a name of its own")])
    return {one["name"]: one.get("value") for one in value}


def _first(value: Any) -> Any:
    """A parameter that stands once, out of its list."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _failed(reason: str, description: str) -> web.Response:
    return _told({"actionStatus": "FAILED", "failureReason": reason, "failureDescription": description})


def _error(status: int, message: str, description: str) -> web.Response:
    return _told({"actionStatus": "ERROR", "errorMessage": message, "errorDescription": description}, status)


def _told(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=encode(body), status=status, content_type="application/json")
