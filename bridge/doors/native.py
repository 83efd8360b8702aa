"""The native door: `POST /v1/issuance/decisions`."""

import base64
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import BaseModel, Field

from bridge.doors._body import bound_list, checked, parse_object, read_body
from bridge.doors._callers import Callers
from bridge.doors._middleware import REQUEST_ID_KEY
from bridge.doors.hooks.door import Abilities
from bridge.errors import MalformedRequest
from bridge.model.decision import VALID_FOR_MS
from bridge.model.dialect import Dialect
from bridge.model.issuance import IssuanceRequest
from bridge.model.times import rfc3339
from bridge.pdp.decide import Answered, Decide
from bridge.pdp.gather import Asking, Call, encode
from bridge.pdp.wire import findings_json, limit_json, scope_json
from bridge.ports import Receipt

NAME = "native"
PATH = "/v1/issuance/decisions"
ABILITIES = Abilities(
    product="native",
    dialect=Dialect.whole(),
    grants=("any",),
    fails_open=False,
    when_down="as your server is written: issue nothing",
    authenticates_by="bearer token, or client certificate",
)
_BRIDGES_OWN = ("id", "time", "door", "caller", "issuer", "scope", "sources")


class FindingReply(BaseModel):
    """One rule that spoke, or one reason of the bridge's own."""

    code: str
    title: str | None = None


class LimitReply(BaseModel):
    """How the token is narrowed; a member that is absent does not narrow."""

    token_lifetime: Annotated[int, Field(ge=0, description="seconds")] | None = None
    granted_scope: str | None = None
    audience: list[str] | None = None
    authorization_details: list[dict[str, Any]] | None = None


class ScopeReply(BaseModel):
    """The answer for one scope."""

    outcome: Literal["allow", "deny", "conditional"]
    findings: list[FindingReply]
    require: list[str | dict[str, Any]] = []
    limit: LimitReply = LimitReply()


class EvidenceReply(BaseModel):
    """Where the entry stands: `leaf_hash` is base64 of RFC 6962's leaf hash."""

    origin: str
    index: int
    leaf_hash: str


class DecisionReply(BaseModel):
    """Mint exactly `granted_scopes`, within `limit`, `claims` and `crit`, one token, before `valid_until`."""

    decision_id: str
    outcome: Literal["allow", "deny", "conditional"]
    granted_scopes: list[str]
    valid_until: str
    scopes: dict[str, ScopeReply]
    limit: LimitReply
    require: list[str | dict[str, Any]]
    claims: dict[str, Any]
    crit: list[str]
    findings: list[FindingReply]
    evidence: EvidenceReply | None = Field(default=None, description="absent on a denial that has no entry of its own")


class NativeDoor:
    """Bytes to issuance request, decision to bytes."""

    def __init__(self, decide: Decide, callers: Callers, origin: str, max_scopes: int) -> None:
        self._decide, self._callers, self._origin, self._max_scopes = decide, callers, origin, max_scopes

    def routes(self) -> list[web.RouteDef]:
        return [web.post(PATH, self.post)]

    async def post(self, request: web.Request) -> web.Response:
        """Answers one issuance request; CallerRefused and MalformedRequest are for the server's error table."""
        caller = self._callers.authenticate(request)
        caller.require("token_service", NAME)
        asked = parse(await read_body(request), self._max_scopes)
        caller.require_grant_type(asked.grant_type)
        call = Call(NAME, caller.name, caller.issuer, request.get(REQUEST_ID_KEY))
        answered = await self._decide([Asking(asked.document(), call)])
        try:
            body = encode(reply(answered[0], self._origin))
        except Exception:  # what was decided was not said: the log tells so
            self._decide.unsaid(call, answered)
            raise
        return web.Response(body=body, content_type="application/json")


def parse(body: bytes, max_scopes: int) -> IssuanceRequest:
    """The request in `body`. MalformedRequest names each field and what is allowed there."""
    return read_request(parse_object(body), max_scopes)


def read_request(value: dict[str, Any], max_scopes: int) -> IssuanceRequest:
    """The request that `value` is. MalformedRequest names each field and what is allowed there."""
    own = [(f"/{name}", "set by the bridge; leave it out") for name in _BRIDGES_OWN if name in value]
    if own:
        raise MalformedRequest(own)
    bound_list(value, "scopes", "scopes", max_scopes, "server.max_scopes")
    return checked(value, IssuanceRequest, "unknown member; free things go into 'context'")


def reply(answered: Answered, origin: str) -> dict[str, Any]:
    """The wire form of `DecisionReply`."""
    decision = answered.decision
    body: dict[str, Any] = {
        "decision_id": answered.id,
        "outcome": decision.outcome.value,
        "granted_scopes": list(decision.granted_scopes),
        "valid_until": rfc3339(answered.time_ms + VALID_FOR_MS),
        "scopes": {scope: {"require": [], "limit": {}, **scope_json(a)} for scope, a in decision.scopes.items()},
        "limit": limit_json(decision.limit),
        "require": list(decision.require),
        "claims": dict(decision.claims),
        "crit": list(decision.crit),
        "findings": findings_json(decision.findings),
    }
    if answered.receipt is not None:
        body["evidence"] = evidence_json(answered.receipt, origin)
    return body


def evidence_json(receipt: Receipt, origin: str) -> dict[str, Any]:
    """The wire form of `EvidenceReply`."""
    return {
        "origin": origin,
        "index": receipt.index,
        "leaf_hash": base64.b64encode(receipt.leaf_hash).decode(),
    }
