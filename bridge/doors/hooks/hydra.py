"""Ory Hydra's hooks: `POST /hooks/hydra` (token hook) and `/hooks/hydra/refresh` (refresh token hook).

Hydra takes 204 for a yes, 403 for a no, and a 200 for a yes with claims, which replace all that its session has: so all
is said again that is to stay, at every refresh. What the bridge has put there is named in the session itself, in a
member that no client can write.
"""

import time
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from bridge.config.hooks import HydraSection
from bridge.doors.hooks.door import Abilities, Wish
from bridge.doors.hooks.hydra_body import MARKER, Consent, Told, asserted, lives_s, read_body_of, seconds_of
from bridge.doors.hooks.hydra_consents import Consents
from bridge.errors import MalformedRequest
from bridge.model.decision import Code, Outcome
from bridge.model.dialect import ANY, Dialect
from bridge.model.gate import grant_name
from bridge.pdp.decide import Answered
from bridge.pdp.gather import encode

NAME = "hydra"
PATH = "/hooks/hydra"
REFRESH_PATH = "/hooks/hydra/refresh"
PATIENCE_S = 3.0
"""Hydra's client gets no answer at all after ten seconds."""
_NEVER_TOP_LEVEL = frozenset(["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "scp", "ext"])
_TOKEN_PATH = "/oauth2/token"  # noqa: S105 - an address
_WITHOUT_CONSENT = ("client_credentials", "jwt_bearer")


@dataclass(frozen=True, slots=True)
class _Shown:
    """What is granted by this grant, as far as that is shown."""

    scopes: tuple[str, ...]
    audience: tuple[str, ...]
    consented: tuple[str, ...] | None = None
    refused: Code | None = None


class HydraHook:
    """Hydra's bodies to wishes, decisions to what Hydra reads."""

    name = NAME
    paths: tuple[str, ...] = (PATH, REFRESH_PATH)
    patience_s: float | None = PATIENCE_S
    abilities = Abilities(
        product="Ory Hydra",
        dialect=Dialect(claims=ANY, withheld=frozenset({MARKER})),
        grants=("client_credentials", "authorization_code", "refresh_token", "jwt_bearer", "device_code"),
        fails_open=False,
        when_down="tries three times within about three seconds, then mints nothing (HTTP 500 to its client)",
        authenticates_by="a secret in a header or a cookie",
    )

    def __init__(self, section: HydraSection) -> None:
        self._section, self._consents = section, Consents(section)

    async def read(self, body: dict[str, Any], path: str) -> Wish:
        told = read_body_of(body, refresh_hook=path == REFRESH_PATH)
        request, session = told.request, told.session
        grant_type = grant_name(request.grant_types[0])
        if grant_type is None:
            raise MalformedRequest([("/request/grant_types", "must name one grant type")])
        shown = await self._shown(told, grant_type)
        document: dict[str, Any] = {
            "grant_type": grant_type,
            "client": {"id": request.client_id},
            "scopes": list(shown.scopes),
            "context": _context(told),
        }
        if shown.audience:
            document["audience"] = list(shown.audience)
        if shown.consented is not None:
            document["consented_scopes"] = list(shown.consented)
        if grant_type == "jwt_bearer":
            document["subject_token"] = asserted(request)
        if grant_type != "client_credentials":
            document["subject"] = {"type": self._subject_type(told, grant_type), "id": session.id_token.subject}
        if grant_type not in _WITHOUT_CONSENT:
            document |= _login(told)
            if session.consent_challenge:
                document["grant"] = _grant(told, shown)
        return Wish(document, _dialect(told), given=told, refused=shown.refused)

    def reply(self, wish: Wish, answered: Answered) -> web.Response:
        """Nothing of the reasons goes out: Hydra passes none on, and its client is not to know them."""
        told: Told = wish.given
        if answered.decision.outcome is not Outcome.ALLOW:
            return web.Response(body=encode({"decision_id": answered.id}), status=403, content_type="application/json")
        claims = dict(answered.decision.claims)
        if not claims and not told.marker.claims:
            return web.Response(status=204)
        extra = {**told.others, **claims}
        marker: dict[str, Any] = {}
        if claims:
            marker |= {"claims": sorted(claims), "decision_id": answered.id}
        if told.marker.consent is not None:
            marker["consent"] = told.marker.consent.model_dump(exclude_none=True)
        if marker:
            extra[MARKER] = marker
        body = {"session": {"access_token": extra, "id_token": dict(told.id_ext)}}
        return web.Response(body=encode(body), content_type="application/json")

    def fault(self, status: int, text: str) -> web.Response | None:
        """Every status that is neither 200 nor 204 is a no."""
        return None

    async def _shown(self, told: Told, grant_type: str) -> _Shown:
        request = told.request
        granted, audience = tuple(request.granted_scopes or ()), tuple(request.granted_audience or ())
        if grant_type in _WITHOUT_CONSENT:
            if grant_type == "jwt_bearer":
                # The assertion is for Hydra itself, which adds that to the token's audience; no API is meant by it.
                itself = told.session.id_token.id_token_claims.iss.rstrip("/") + _TOKEN_PATH
                audience = tuple(one for one in audience if one != itself)
            return _Shown(granted, audience)
        note = told.marker.consent
        # What Hydra itself says was granted goes before the note, which knows better what the user was asked.
        listed = await self._listed(told) if note is None or not granted else None
        agreed = _agreed(note or listed)
        if granted:
            return _Shown(granted, audience, agreed)
        if (consent := listed or note) is not None:
            return _Shown(tuple(consent.scopes), tuple(consent.audience), agreed)
        asked = tuple(request.requested_scopes or ())
        refused = None if self._section.without_consent == "requested" else Code.NOT_SHOWN
        return _Shown(asked, audience, None, refused)

    async def _listed(self, told: Told) -> Consent | None:
        session = told.session
        return await self._consents.find(
            session.id_token.subject, told.request.client_id, session.consent_challenge, _sid(told)
        )

    def _subject_type(self, told: Told, grant_type: str) -> str:
        if grant_type != "jwt_bearer":
            return "user"
        if told.session.id_token.subject == told.request.client_id:
            return "client"  # RFC 7523, section 3: it may act for itself
        return self._section.jwt_bearer_subject


def _agreed(consent: Consent | None) -> tuple[str, ...] | None:
    if consent is None:
        return None
    return tuple(consent.scopes if consent.consented_scopes is None else consent.consented_scopes)


def _dialect(told: Told) -> Dialect:
    """Claims stand in `ext`, unless it is configured away: then only those that are allowed on the top level do."""
    session = told.session
    names = None
    if not session.mirror_top_level_claims:
        names = frozenset(session.allowed_top_level_claims or ()) - _NEVER_TOP_LEVEL
    return Dialect(claims=ANY, claim_names=names, withheld=frozenset({MARKER}), lives=lives_s(session, time.time()))


def _sid(told: Told) -> str | None:
    sid = told.id_ext.get("sid")
    return sid if isinstance(sid, str) and sid else None


def _login(told: Told) -> dict[str, Any]:
    """The members `authentication` and `session`."""
    claims = told.session.id_token.id_token_claims
    authentication: dict[str, Any] = {}
    if claims.acr:
        authentication["acr"] = claims.acr
    if claims.amr:
        authentication["amr"] = claims.amr
    if (auth_time := seconds_of(claims.auth_time)) is not None:
        authentication["auth_time"] = int(auth_time)
    found: dict[str, Any] = {"authentication": authentication} if authentication else {}
    if (sid := _sid(told)) is not None:
        found["session"] = {"id": sid}
    return found


def _grant(told: Told, shown: _Shown) -> dict[str, Any]:
    grant: dict[str, Any] = {"id": told.session.consent_challenge}
    if shown.refused is None:
        grant |= {"scopes": list(shown.scopes), "audience": list(shown.audience)}
    if (started := seconds_of(told.session.id_token.id_token_claims.rat)) is not None:
        grant["started"] = int(started)
    return grant


def _context(told: Told) -> dict[str, Any]:
    """What else was shown: what the client asked for, and what the consent app put into the token."""
    payload = {name: value for name, value in (told.request.payload or {}).items() if name != "assertion"}
    context = {"requested_scopes": told.request.requested_scopes, "payload": payload, "ext": dict(told.others)}
    return {name: value for name, value in context.items() if value}
