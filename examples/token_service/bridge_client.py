"""Asks the bridge for one decision, and believes only a whole, well-formed answer.

Whatever goes wrong (no connection, no answer in time, another status, a reply that does not fit) is a BridgeFailure,
and a BridgeFailure means: no token. There is no cache and no fallback, since both would be a yes that nobody gave.
"""

from typing import Annotated, Any, Literal

import httpx
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

Outcome = Literal["allow", "deny", "conditional"]
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

    def close(self) -> None:
        """Ends the connections."""
        self._http.close()
