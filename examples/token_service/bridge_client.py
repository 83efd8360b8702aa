"""Asks the bridge for one decision, believes only a whole, well-formed answer, and reports what was minted.

Whatever goes wrong (no connection, no answer in time, another status, a reply that does not fit) is a BridgeFailure,
and a BridgeFailure means: no token. There is no cache and no fallback, since both would be a yes that nobody gave.
"""

import logging
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import httpx
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from examples.token_service.reporting import Outbox, Report

log = logging.getLogger("token_service")

Outcome = Literal["allow", "deny", "conditional"]
NEVER = (400, 401, 403, 404, 405, 413, 415)
"""Statuses of a report that would be refused again."""
Text = Annotated[str, StringConstraints(min_length=1)]


class BridgeFailure(Exception):
    """There is no usable decision."""


class _Reply(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class Limit(_Reply):
    """What narrows the token. A limit that this server does not know it cannot enforce, so it refuses the reply."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    token_lifetime: Annotated[int, Field(gt=0)] | None = None
    granted_scope: str | None = None
    audience: list[Text] | None = None
    authorization_details: list[dict[str, Any]] | None = None


class Finding(_Reply):
    """A rule that spoke."""

    code: Text
    title: str | None = None


class Requirement(_Reply):
    """What a sign-in lacks; `max_age` in seconds."""

    acr_values: list[Text] | None = None
    max_age: int | None = None
    amr: list[Text] | None = None


class ScopeAnswer(_Reply):
    """What was said of one scope."""

    outcome: Outcome
    findings: list[Finding] = []


class Answer(_Reply):
    """The reply of `POST /v1/issuance/decisions`. Only `limit` at the top is to be enforced."""

    decision_id: Text
    outcome: Outcome
    granted_scopes: list[Text]
    valid_until: AwareDatetime
    scopes: dict[str, ScopeAnswer]
    limit: Limit
    require: list[Literal["consent"] | Requirement]
    claims: dict[str, Any]
    crit: list[Text]
    findings: list[Finding]


class Reported(_Reply):
    """The reply of `POST /v1/issuance/issued`: the report is on record."""

    violations: list[Text]


class BridgeClient:
    """The bridge at `url`, called with the bearer token that its `[[callers]]` entry knows the SHA-256 of."""

    def __init__(self, url: str, token: str, timeout: float = 2.0) -> None:
        # No environment variable may send decisions through a proxy, and a redirect is not an answer.
        self._http = httpx.Client(
            base_url=url,
            timeout=timeout,
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
            follow_redirects=False,
        )
        self._outbox = Outbox(self._send)

    def decide(self, question: dict[str, Any], request_id: str) -> Answer:
        """The decision on one token. Raises BridgeFailure when there is none."""
        try:
            reply = self._http.post("/v1/issuance/decisions", json=question, headers={"X-Request-ID": request_id})
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise BridgeFailure(f"the bridge did not answer: {type(error).__name__}") from error
        if reply.status_code != 200:
            raise BridgeFailure(f"the bridge answered {reply.status_code}: {reply.text[:300]}")
        try:
            return Answer.model_validate_json(reply.content)
        except ValidationError as error:
            fields = ", ".join(sorted({".".join(map(str, e["loc"])) or "body" for e in error.errors()}))
            raise BridgeFailure(f"the bridge's reply does not fit: {fields}") from error

    def report(self, decision_id: str, jti: str, exp: int, scopes: Sequence[str], audience: Sequence[str]) -> None:
        """Tells the bridge of a token that was minted. Does not wait: the report is repeated until it is on record."""
        told = {"jti": jti, "exp": exp, "scopes": list(scopes), "audience": list(audience)}
        self._outbox.put({"decision_id": decision_id, **told})

    def close(self) -> None:
        """Sends what is left to report, and ends the connections."""
        self._outbox.close()
        self._http.close()

    def _send(self, report: Report) -> bool:
        decision_id = report["decision_id"]
        try:
            reply = self._http.post("/v1/issuance/issued", json=report)
            if reply.status_code in NEVER:
                log.error("the report on decision %s is refused with %s", decision_id, reply.status_code)
                return True
            if reply.status_code != 200:
                return False
            violations = Reported.model_validate_json(reply.content).violations
        except (httpx.HTTPError, ValidationError):
            return False
        if violations:
            log.error("the token for decision %s breaks it: %s", decision_id, ", ".join(violations))
        return True
