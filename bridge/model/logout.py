"""Logout tokens (OpenID Connect Back-Channel Logout 1.0): what one says, and when one is to be believed. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from bridge.errors import LogoutRefused
from bridge.model.entry import canonical
from bridge.model.issued import TokenDigest

EVENT = "http://schemas.openid.net/event/backchannel-logout"
TYPE = "logout+jwt"
JTI_DIGEST = "logout_digest"
"""The member of an ending that came of a logout token, by which the token is known again."""
LEEWAY_S = 60
MAX_TEXT = 512
_PERSON = b"logout"
_NO_CONTROLS = re.compile(r"[^\x00-\x1f\x7f]+")
"""As ids in requests: what can begin can end."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What is asked of the tokens of one OpenID provider: `issuer` and `audience` as they stand there."""

    issuer: str
    audience: str
    require_exp: bool
    max_age_s: int


@dataclass(frozen=True, slots=True)
class Logout:
    """What a token says: the session `sid` ended, or, without it, the sessions of `sub`. `issued` in seconds."""

    issuer: str
    jti: str
    issued: float
    sub: str | None
    sid: str | None

    def digest(self, digest: TokenDigest) -> str:
        """`KEY ID:HEX`, keyed as the names of what ended are: by it a token is known again, and nothing else of it."""
        written = canonical([self.issuer, self.jti])
        return f"{digest.key_id}:{blake2b(written, key=digest.key, digest_size=32, person=_PERSON).hexdigest()}"


def claims_of(issuer: str, audience: str, jti: str, now_s: int, lifetime_s: int, **whose: str) -> dict[str, Any]:
    """The claims of a token (section 2.4); `whose`: `sub`, `sid` or both."""
    times = {"iat": now_s, "exp": now_s + lifetime_s}
    return {"iss": issuer, "aud": audience, **times, "jti": jti, "events": {EVENT: {}}, **whose}


def believed(claims: Mapping[str, Any], rule: Rule, now_s: float) -> Logout:
    """What verified `claims` say (section 2.6). LogoutRefused names the claim that does not hold."""
    _check_addressed(claims, rule)
    issued = _check_times(claims, rule, now_s)
    events = claims.get("events")
    if not isinstance(events, Mapping) or not isinstance(events.get(EVENT), Mapping):
        raise LogoutRefused("events", f"must be an object with the member {EVENT}, an object")
    if "nonce" in claims:
        raise LogoutRefused("nonce", "must not be there, so that no ID token passes for a logout token")
    jti, sub, sid = (_text(claims, name) for name in ("jti", "sub", "sid"))
    if jti is None:
        raise LogoutRefused("jti", "is needed")
    if sub is None and sid is None:
        raise LogoutRefused("sub", "one of sub and sid is needed")
    return Logout(rule.issuer, jti, issued, sub, sid)


def _check_addressed(claims: Mapping[str, Any], rule: Rule) -> None:
    if claims.get("iss") != rule.issuer:
        raise LogoutRefused("iss", "is not the one whose key signed it")
    audience = claims.get("aud")
    if audience != rule.audience and not (isinstance(audience, list) and rule.audience in audience):
        raise LogoutRefused("aud", "is not ours")


def _check_times(claims: Mapping[str, Any], rule: Rule, now_s: float) -> float:
    issued = _time(claims, "iat")
    if issued is None:
        raise LogoutRefused("iat", "is needed")
    if issued > now_s + LEEWAY_S:
        raise LogoutRefused("iat", "lies in the future")
    if issued < now_s - rule.max_age_s - LEEWAY_S:
        raise LogoutRefused("iat", f"is older than {rule.max_age_s} s")
    expires, begins = _time(claims, "exp"), _time(claims, "nbf")
    if expires is None and rule.require_exp:
        raise LogoutRefused("exp", "is needed")
    if expires is not None and expires <= now_s - LEEWAY_S:
        raise LogoutRefused("exp", "has passed")
    if begins is not None and begins > now_s + LEEWAY_S:
        raise LogoutRefused("nbf", "lies in the future")
    return issued


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519, section 2)."""
    value = claims.get(name)
    if name in claims and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise LogoutRefused(name, "must be a number")
    return value


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    if name not in claims:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT or not _NO_CONTROLS.fullmatch(value):
        raise LogoutRefused(name, f"must be 1 to {MAX_TEXT} characters, none of them a control character")
    return value
