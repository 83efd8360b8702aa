"""INDIGO IAM: `POST /hooks/indigo-iam`, what its scope policy callout to OPA sends and reads.

It filters scopes by a bare 200 answer; an empty list is a token without scopes, so a denial has to be an error: then it
issues nothing.
"""

from typing import Any

from aiohttp import web

from bridge.config.hooks import IndigoIamSection
from bridge.doors.hooks._shown import UNKNOWN, member, section, text, texts, without_absent
from bridge.doors.hooks.door import Abilities, Wish
from bridge.errors import MalformedRequest
from bridge.model.decision import Code, Outcome
from bridge.model.dialect import Dialect
from bridge.pdp.decide import Answered
from bridge.pdp.gather import encode

NAME = "indigo_iam"
PATH = "/hooks/indigo-iam"


class IndigoIam:
    """Scopes of one request in, the granted ones out."""

    name = NAME
    paths: tuple[str, ...] = (PATH,)
    patience_s: float | None = None
    abilities = Abilities(
        product="INDIGO IAM, OPA callout",
        dialect=Dialect(scopes=True),
        grants=("any: it does not tell which",),
        fails_open=False,
        when_down="an error, and no token",
        authenticates_by="nothing of its own: a proxy's header, or loopback",
    )

    def __init__(self, section: IndigoIamSection) -> None:
        self._section = section

    async def read(self, body: dict[str, Any], path: str) -> Wish:
        client, scopes, user = member(body, "client", "id"), texts(body.get("scopes")), section(body, "user")
        if text(client) is None:
            raise MalformedRequest([("/client/id", "must be a string, and not empty")])
        if scopes is None:
            raise MalformedRequest([("/scopes", "must be an array of strings")])
        if body.get("user") is not None and text(user.get("id")) is None:
            raise MalformedRequest([("/user/id", "must be a string, and not empty")])
        configured = self._section
        grant_type = configured.grant_type if user else configured.client_grant_type
        subject: dict[str, Any] = {"type": "client", "id": client}
        if user:
            groups = {"properties": {"groups": user["groups"]}} if user.get("groups") is not None else {}
            subject = {"type": "user", "id": user["id"], **groups}
        request = {
            "grant_type": grant_type or UNKNOWN,
            "token_type": configured.token_type,
            "client": {"id": client},
            "subject": subject,
            "scopes": scopes,
            "audience": list(configured.audience) or None,
        }
        dialect = Dialect(scopes=True, lives=configured.token_lifetime)
        return Wish(without_absent(request), dialect, refused=None if grant_type else Code.NOT_SHOWN)

    def reply(self, wish: Wish, answered: Answered) -> web.Response:
        decision = answered.decision
        if decision.outcome is Outcome.DENY:
            return web.Response(body=encode({"error": "access_denied"}), status=403, content_type="application/json")
        granted = {"filtered_scopes": list(decision.granted_scopes)}
        return web.Response(body=encode(granted), content_type="application/json")

    def fault(self, status: int, text: str) -> web.Response | None:
        return None  # whatever is no 200 is an error there
