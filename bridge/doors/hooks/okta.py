"""Okta: `POST /hooks/okta`, the token inline hook of a custom authorization server.

Okta fails open: it issues the token as it was when no answer comes in time, when the answer is an HTTP error, or when
one operation of a patch is not to its liking. So every "no" is its error object with a 200, and nothing that it might
refuse is ever sent.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from bridge.config.hooks import OktaSection
from bridge.doors.hooks._shown import (
    UNKNOWN,
    details,
    lives_s,
    member,
    seconds,
    section,
    sent,
    text,
    texts,
    without_absent,
)
from bridge.doors.hooks.door import Abilities, Wish
from bridge.errors import MalformedRequest
from bridge.model.decision import Code, Outcome
from bridge.model.dialect import ANY, Dialect
from bridge.model.gate import grant_name
from bridge.pdp.decide import Answered
from bridge.pdp.details import typed
from bridge.pdp.gather import encode

NAME = "okta"
PATH = "/hooks/okta"
EVENT = "com.okta.oauth2.tokens.transform"
PATIENCE_S = 1.5
"""Okta waits 3 s, once; half of it is left for the way."""
MAX_REPLY_BYTES = 256 * 1024
LIFETIME_S = (300, 86_400)
RESERVED = frozenset(
    [
        *("acr", "active", "aid", "amr", "app_id", "app_type", "as_uri", "at_hash", "auth_time", "c_hash", "cid"),
        *("client_ip", "client_req_id", "client_type", "client_user_agent", "device_compliance", "device_id"),
        *("device_known", "device_managed", "device_name", "device_trust", "did", "dst", "group", "groups", "hotk"),
        *("idp", "idp_iss", "mac_key", "nonce", "oid", "okta_emailVerified", "okta_lastUpdated", "orig"),
        *("permissions", "purpose", "pwd_exp_days", "pwd_exp_time", "rid", "role", "rpt", "rsi", "scopes", "scp"),
        *("sid", "term", "token_type", "uid", "user_ip", "username", "ver"),
        "",
    ]
)
"""Claims that Okta keeps for itself, in any token, beside those of the protocol, which no policy sets."""


class Okta:
    """An event about one token in, a patch of its access token out."""

    name = NAME
    paths: tuple[str, ...] = (PATH,)
    patience_s: float | None = PATIENCE_S
    abilities = Abilities(
        product="Okta, token inline hook",
        dialect=Dialect(
            lifetime=LIFETIME_S, audience=True, claims=ANY, withheld=RESERVED, plain_names=True, standing=True
        ),
        grants=("all of a custom authorization server",),
        fails_open=True,
        when_down="issues the token as it was",
        authenticates_by="a header with a fixed value",
    )

    def __init__(self, section: OktaSection) -> None:
        self._section = section

    async def read(self, body: dict[str, Any], path: str) -> Wish:
        if body.get("eventType") != EVENT:
            raise MalformedRequest([("/eventType", f"must be {EVENT}")])
        asked, access = section(body, "data", "context", "protocol", "request"), section(body, "data", "access")
        client = text(member(body, "data", "context", "protocol", "client", "id")) or text(asked.get("client_id"))
        if client is None:
            raise MalformedRequest([("/data/context/protocol/client/id", "must be a string, and not empty")])
        claims = section(body, "data", "access", "claims")
        named = asked.get("grant_type")
        grant_type = grant_name(named) if named is not None else _by_response(asked, body) or self._section.grant_type
        subject = _subject(body, claims, client, grant_type)
        scopes = _scopes(access, claims)
        asked_details = claims.get("authorization_details", asked.get("authorization_details"))
        wanted_details = None if asked_details is None else details(asked_details)
        shown = scopes is not None and grant_type is not None and subject is not None
        request = {
            "grant_type": grant_type or UNKNOWN,
            "client": {"id": client, **_properties(section(body, "data", "context", "protocol", "client"), "id")},
            "subject": subject or {"type": "client", "id": client},
            "scopes": scopes or [],
            "audience": _audience(claims),
            "session": _session(body),
            "authentication": _authentication(body),
            "authorization_details": wanted_details,
            "cnf": claims.get("cnf") if isinstance(claims.get("cnf"), dict) else None,
            "context": without_absent(
                {
                    "claims": dict(claims),
                    "request": sent(asked),
                    "ip": member(body, "data", "context", "request", "ipAddress"),
                    "policy": member(body, "data", "context", "policy"),
                    "issuer": member(body, "data", "context", "protocol", "issuer", "uri"),
                    "event": body.get("eventId"),
                }
            ),
        }
        unread = asked_details is not None and wanted_details is None
        refused = Code.NOT_SHOWN if not shown or unread else None
        return Wish(without_absent(request), _dialect(access, claims), given=access, refused=refused)

    def reply(self, wish: Wish, answered: Answered) -> web.Response:
        decision, access = answered.decision, wish.given
        if decision.outcome is Outcome.DENY:
            return _refusal()
        if decision.outcome is not Outcome.ALLOW:
            raise ValueError("a decision that this dialect cannot say")
        limit, patch, has = decision.limit, list[dict[str, Any]](), section(access, "claims")
        if limit.audience is not None and set(limit.audience) != set(_audience(has) or ()):
            one = limit.audience[0] if len(limit.audience) == 1 else list(limit.audience)
            patch.append({"op": "replace", "path": "/claims/aud", "value": one})
        lives = lives_s(member(access, "token", "lifetime", "expiration"))
        if limit.token_lifetime is not None and (lives is None or limit.token_lifetime < lives):
            most = min(limit.token_lifetime, LIFETIME_S[1])
            patch.append({"op": "replace", "path": "/token/lifetime/expiration", "value": most})
        for name, value in decision.claims.items():
            if name not in has or typed(has[name]) != typed(value):
                patch.append({"op": "replace" if name in has else "add", "path": f"/claims/{name}", "value": value})
        if not patch:
            return web.Response(status=204)
        raw = encode({"commands": [{"type": "com.okta.access.patch", "value": patch}]})
        if len(raw) >= MAX_REPLY_BYTES:
            raise ValueError(f"the claims make a reply of more than {MAX_REPLY_BYTES} bytes")
        return web.Response(body=raw, content_type="application/json")

    def fault(self, status: int, text: str) -> web.Response | None:
        return _refusal()


def _refusal() -> web.Response:
    """Its text goes to the client, so it is always the same."""
    return web.Response(body=encode({"error": {"errorSummary": "not allowed"}}), content_type="application/json")


def _dialect(access: Mapping[str, Any], claims: Mapping[str, Any]) -> Dialect:
    lives = lives_s(member(access, "token", "lifetime", "expiration"))
    several = len(_audience(claims) or ()) > 1
    return Dialect(
        lifetime=LIFETIME_S,
        lives=lives,
        audience=several,
        claims=ANY,
        withheld=RESERVED,
        plain_names=True,
        standing=True,
    )


def _by_response(asked: Mapping[str, Any], body: Mapping[str, Any]) -> str | None:
    """The grant type of a request for authorization, by where its token is minted."""
    source, kinds = text(body.get("source")), (text(asked.get("response_type")) or "").split()
    try:
        at = None if source is None else urlsplit(source).path.rpartition("/")[2]
    except ValueError:
        return None
    if at == "authorize" and {"token", "id_token"} & set(kinds):
        return "implicit"
    if at == "token" and "code" in kinds:
        return "authorization_code"
    return None


def _scopes(access: Mapping[str, Any], claims: Mapping[str, Any]) -> list[str] | None:
    """All that the token would have, by whichever of the two members says so; None: neither is there."""
    named, stated = access.get("scopes"), claims.get("scp")
    if named is not None and not isinstance(named, dict):
        raise MalformedRequest([("/data/access/scopes", "must be an object")])
    if stated is not None and texts(stated) is None:
        raise MalformedRequest([("/data/access/claims/scp", "must be an array of strings")])
    return None if named is None and stated is None else list(dict.fromkeys([*(named or ()), *(stated or ())]))


def _subject(
    body: Mapping[str, Any], claims: Mapping[str, Any], client: str, grant_type: str | None
) -> dict[str, Any] | None:
    """None: it is not shown whom the token is about."""
    user = section(body, "data", "context", "user")
    if text(user.get("id")):
        properties = without_absent({"user_id": user["id"], "profile": user.get("profile")})
        return {"type": "user", "id": text(claims.get("sub")) or user["id"], "properties": properties}
    return {"type": "client", "id": client} if grant_type == "client_credentials" else None


def _audience(claims: Mapping[str, Any]) -> list[str] | None:
    found = claims.get("aud")
    if found is None:
        return None
    several = texts([found] if isinstance(found, str) else found)
    if several is None:
        raise MalformedRequest([("/data/access/claims/aud", "must be a string, or an array of strings")])
    return several


def _session(body: Mapping[str, Any]) -> dict[str, str] | None:
    found = text(member(body, "data", "context", "session", "id"))
    return None if found is None else {"id": found}


def _authentication(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """As the ID token tells it; without one, the session's `amr` in Okta's own words."""
    claims = section(body, "data", "identity", "claims")
    amr = texts(claims.get("amr")) or texts(member(body, "data", "context", "session", "amr"))
    found = without_absent({"acr": text(claims.get("acr")), "amr": amr, "auth_time": seconds(claims.get("auth_time"))})
    return found or None


def _properties(client: Mapping[str, Any], *less: str) -> dict[str, Any]:
    rest = {name: value for name, value in client.items() if name not in less}
    return {"properties": rest} if rest else {}
