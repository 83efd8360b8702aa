"""`POST /v1/issuance/issued`: a token service tells what it has minted."""

from typing import Literal

from aiohttp import web
from pydantic import BaseModel, Field

from bridge.doors._body import bound_list, checked, parse_object, read_body
from bridge.doors._callers import CallerRefused, Callers
from bridge.doors._middleware import REQUEST_ID_KEY
from bridge.doors._problem import problem
from bridge.doors.native import EvidenceReply, evidence_json
from bridge.errors import EvidenceUnavailable, ReportOfAnother
from bridge.model.issued import IssuedReport, Violation
from bridge.pdp.gather import encode
from bridge.pdp.issued import Issued

PATH = "/v1/issuance/issued"
MAX_ITEMS = 256


class ReportedReply(BaseModel):
    """The report is in the log. `violations`: how the token breaks its decision, or contradicts another report."""

    id: str
    violations: list[Violation]
    evidence: EvidenceReply
    repeated: Literal[True] | None = Field(default=None, description="this very report stood there already")


class IssuedDoor:
    """Bytes to report, receipt to bytes."""

    def __init__(self, issued: Issued, callers: Callers, origin: str) -> None:
        self._issued, self._callers, self._origin = issued, callers, origin

    def routes(self) -> list[web.RouteDef]:
        return [web.post(PATH, self.post)]

    async def post(self, request: web.Request) -> web.Response:
        """Answers once the report is durable; 503 when it is not: the caller must repeat it."""
        caller = self._callers.authenticate(request)
        # Through whichever door the caller asked: the decision is its own, or the report is refused.
        caller.require("token_service")
        report = parse(await read_body(request))
        try:
            reported = await self._issued(report, caller.name, request.get(REQUEST_ID_KEY))
        except ReportOfAnother as error:
            raise CallerRefused(403, "forbidden_decision") from error
        except EvidenceUnavailable:
            return problem(503, "the report is not in the log: repeat it", headers={"Retry-After": "1"})
        body = {
            "id": reported.receipt.entry["id"],
            "violations": reported.violations,
            "evidence": evidence_json(reported.receipt, self._origin),
            **({"repeated": True} if reported.repeated else {}),
        }
        return web.Response(body=encode(body), content_type="application/json")


def parse(body: bytes) -> IssuedReport:
    """The report in `body`. MalformedRequest names each field and what is allowed there."""
    value = parse_object(body)
    bound_list(value, "scopes", "scopes", MAX_ITEMS)
    bound_list(value, "audience", "audiences", MAX_ITEMS)
    return checked(value, IssuedReport)
