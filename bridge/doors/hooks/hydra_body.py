"""What Ory Hydra sends to its token hook and its refresh token hook, as far as it is read. The rest is passed over."""

import base64
import binascii
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from bridge.doors._body import checked
from bridge.errors import MalformedRequest
from bridge.model import strict_json

MARKER = "issuance_bridge"
"""The member of `session.extra` that is ours, and the consent app's: which claims there the bridge has put in."""
MAX_ASSERTION_CHARS = 64 * 1024
MAX_DEPTH = 32
_FRACTION = re.compile(r"\.(\d{6})\d*")
_ZERO_YEAR = "0001-"


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class IdTokenClaims(_Part):
    """`session.id_token.id_token_claims`; Go's zero values stand for what is not there."""

    iss: str = ""
    acr: str = ""
    amr: Annotated[list[str], Field(max_length=256)] | None = None
    auth_time: str | None = None
    rat: str | None = None
    ext: dict[str, Any] | None = None


class IdToken(_Part):
    """`session.id_token`. `subject` is the `sub` of the access token; a pairwise one stands in the claims."""

    id_token_claims: IdTokenClaims = IdTokenClaims()
    expires_at: dict[str, Any] | None = None
    subject: str = ""


class Session(_Part):
    """`session`; `extra` becomes `ext` of the access token."""

    id_token: IdToken
    extra: dict[str, Any] | None = None
    client_id: str = ""
    consent_challenge: str = ""
    allowed_top_level_claims: list[str] | None = None
    mirror_top_level_claims: bool = True


class Requested(_Part):
    """`request` of the token hook, `requester` of the other one."""

    client_id: str
    requested_scopes: list[str] | None = None
    granted_scopes: list[str] | None = None
    granted_audience: list[str] | None = None
    grant_types: list[str] = Field(min_length=1, max_length=1)
    payload: dict[str, list[str]] | None = None


class TokenHook(_Part):
    """The body of the token hook."""

    session: Session
    request: Requested


class RefreshHook(_Part):
    """The body of the refresh token hook."""

    session: Session
    requester: Requested


class Consent(BaseModel):
    """What was granted at the consent. `consented_scopes`: what the user agreed to (None: all of them)."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    scopes: Annotated[list[str], Field(max_length=256)]
    audience: Annotated[list[str], Field(max_length=256)] = []
    consented_scopes: Annotated[list[str], Field(max_length=256)] | None = None


class Marker(BaseModel):
    """The member `issuance_bridge`: `claims` names what the bridge put beside it, `consent` is the consent app's."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    claims: Annotated[list[str], Field(max_length=256)] = []
    decision_id: str | None = None
    consent: Consent | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """A body, read. `others`: `session.extra` without what is ours; `id_ext`: the ID token's."""

    session: Session
    request: Requested
    marker: Marker
    others: Mapping[str, Any]
    id_ext: Mapping[str, Any]


def read_body_of(body: dict[str, Any], *, refresh_hook: bool) -> Told:
    """MalformedRequest when it is not what Hydra sends, or contradicts itself."""
    if refresh_hook:
        refresh = checked(body, RefreshHook)
        session, request = refresh.session, refresh.requester
    else:
        token = checked(body, TokenHook)
        session, request = token.session, token.request
    if session.client_id not in ("", request.client_id):
        raise MalformedRequest([("/session/client_id", "must be the client of the request")])
    sent = (request.payload or {}).get("grant_type")
    if sent is not None and sent != request.grant_types:
        raise MalformedRequest([("/request/payload/grant_type", "must be the grant type of the request")])
    extra = session.extra or {}
    try:
        marker = checked(extra.get(MARKER) or {}, Marker)
    except MalformedRequest as error:
        where = f"/session/extra/{MARKER}"
        raise MalformedRequest([(where + pointer, text) for pointer, text in error.problems]) from None
    others = {name: value for name, value in extra.items() if name != MARKER and name not in marker.claims}
    return Told(session, request, marker, others, session.id_token.id_token_claims.ext or {})


def seconds_of(time: Any) -> float | None:
    """Seconds since the epoch of a Go time (RFC 3339, up to nanoseconds); None for its zero, or when it is none."""
    if not isinstance(time, str) or time.startswith(_ZERO_YEAR):
        return None
    try:
        at = datetime.fromisoformat(_FRACTION.sub(r".\1", time))
    except ValueError:
        return None
    return at.timestamp() if at.tzinfo is not None else None


def lives_s(session: Session, now_s: float) -> int | None:
    """How long the access token will live (whole seconds), where the body tells.

    Hydra rounds to seconds itself, so that an hour may end half a second late: that is an hour.
    """
    until = seconds_of((session.id_token.expires_at or {}).get("access_token"))
    return None if until is None or until <= now_s else math.floor(until - now_s)


def asserted(request: Requested) -> dict[str, Any]:
    """The claims of the assertion (RFC 7523), whose signature Hydra has checked. MalformedRequest: none."""
    sent = (request.payload or {}).get("assertion", [])
    parts = sent[0].split(".") if len(sent) == 1 and len(sent[0]) <= MAX_ASSERTION_CHARS else []
    wrong = MalformedRequest([("/request/payload/assertion", "must be one signed JWT of at most 64 KiB")])
    if len(parts) != 3 or not parts[1].isascii():
        raise wrong
    try:
        text = base64.b64decode(parts[1] + "=" * (-len(parts[1]) % 4), altchars=b"-_", validate=True)
        claims = strict_json.loads(text, max_depth=MAX_DEPTH)
    except (binascii.Error, MalformedRequest):  # whose text may quote a name
        raise wrong from None
    if not isinstance(claims, dict):
        raise wrong
    return claims
