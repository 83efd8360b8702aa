"""OPA's Data API: `POST /v1/data/issuance/decision`, for those who ask OPA about issuance today.

The same document as at the native door, below `input`; the same answer, below `result`.
"""

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from bridge.config.hooks import OpaSection
from bridge.doors._body import parse_object, read_body
from bridge.doors._callers import Callers
from bridge.doors._middleware import REQUEST_ID_KEY
from bridge.doors.hooks.door import Abilities
from bridge.doors.native import DecisionReply, read_request, reply
from bridge.errors import MalformedRequest
from bridge.model.decision import Decision, Outcome
from bridge.model.dialect import Dialect
from bridge.model.issuance import IssuanceRequest
from bridge.pdp.decide import Answered, Decide
from bridge.pdp.express import expressible
from bridge.pdp.gather import Asking, Call, encode
from bridge.pdp.question import Question

NAME = "opa"
PATH = "/v1/data/issuance/decision"
ABILITIES = Abilities(
    product="OPA's Data API",
    dialect=Dialect.whole(),
    grants=("any",),
    fails_open=False,
    when_down="as your server is written: issue nothing",
    authenticates_by="bearer token, or client certificate",
)


class DataRequest(BaseModel):
    """What OPA's Data API takes; other members are passed over, as there."""

    input: IssuanceRequest


class DataResult(DecisionReply):
    """The native reply. `allow`: all that was asked for is granted, and nothing else here has to be kept to."""

    allow: bool


class DataReply(BaseModel):
    """What OPA's Data API answers with."""

    decision_id: str
    result: DataResult


class DataError(BaseModel):
    """An error of OPA's REST API."""

    code: str
    message: str


class DataApiDoor:
    """OPA's bytes to issuance request, decision to OPA's bytes."""

    def __init__(self, decide: Decide, callers: Callers, origin: str, max_scopes: int, section: OpaSection) -> None:
        self._decide, self._callers, self._origin, self._max_scopes = decide, callers, origin, max_scopes
        self._bare = Dialect(lives=section.token_lifetime)

    def routes(self) -> list[web.RouteDef]:
        return [web.post(PATH, self.post)]

    async def post(self, request: web.Request) -> web.Response:
        """Answers one issuance request; CallerRefused and MalformedRequest are for the server's error table."""
        caller = self._callers.authenticate(request)
        caller.require("token_service", NAME)
        if request.query.get("explain", "off") != "off":
            raise MalformedRequest([("", "explain: only off; `issuance-bridge policy explain` tells why")])
        document = _read(await read_body(request, wrong_type=400), self._max_scopes).document()
        caller.require_grant_type(document["grant_type"])
        call = Call(NAME, caller.name, caller.issuer, request.get(REQUEST_ID_KEY))
        answered = await self._decide([Asking(document, call)])
        try:
            body = self._said(answered[0], document)
            raw = json.dumps(body, indent=2).encode() if request.query.get("pretty") in ("", "true") else encode(body)
        except Exception:  # what was decided was not said: the log tells so
            self._decide.unsaid(call, answered)
            raise
        return web.Response(body=raw, content_type="application/json")

    def _said(self, answered: Answered, document: Mapping[str, Any]) -> dict[str, Any]:
        result = {**reply(answered, self._origin), "allow": self._allow(answered.decision, document)}
        return {"decision_id": answered.id, "result": result}

    def _allow(self, decision: Decision, document: Mapping[str, Any]) -> bool:
        """Whether who reads nothing else mints no more than was decided."""
        return decision.outcome is Outcome.ALLOW and expressible(decision, Question(document, 0), self._bare)


def _read(body: bytes, max_scopes: int) -> IssuanceRequest:
    value = parse_object(body)
    asked = value.get("input")
    if not isinstance(asked, dict):
        raise MalformedRequest(
            [("/input", "must be the issuance request, an object" if "input" in value else "is missing")]
        )
    try:
        return read_request(asked, max_scopes)
    except MalformedRequest as malformed:
        raise MalformedRequest([(f"/input{where}", text) for where, text in malformed.problems]) from None
