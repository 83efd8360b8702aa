"""Asks the bridge at authorization time: may this user give this client these scopes, and what is still missing?

Whatever goes wrong is a BridgeFailure, and that means: nothing is granted.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

Text = Annotated[str, StringConstraints(min_length=1)]
CONSENT = "consent"


class BridgeFailure(Exception):
    """There is no usable decision."""


class _Reply(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class Login(_Reply):
    """What a sign-in lacks; `max_age` in seconds. A member that is not known here cannot be met, so it is refused."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    acr_values: list[Text] | None = None
    max_age: int | None = None
    amr: list[Text] | None = None


class Limit(_Reply):
    """Only the audience is narrowed here; how long tokens live is for the token hook to judge."""

    audience: list[Text] | None = None


class ScopeAnswer(_Reply):
    """What was said of one scope."""

    outcome: Literal["allow", "deny", "conditional"]
    require: list[Literal["consent"] | Login] = []


class Answer(_Reply):
    """The reply of `POST /v1/issuance/decisions`, as far as it is used."""

    decision_id: Text
    outcome: Literal["allow", "deny", "conditional"]
    granted_scopes: list[Text]
    scopes: dict[str, ScopeAnswer]
    limit: Limit
    require: Annotated[list[Literal["consent"] | Login], Field(max_length=256)]

    def waiting_for_consent(self) -> list[str]:
        """The scopes that lack nothing but the user's consent."""
        return [name for name, answer in self.scopes.items() if answer.require == [CONSENT]]

    def lacks(self, acr: str, amr: Sequence[str]) -> bool:
        """Whether a sign-in with this class and these methods would help."""
        wanted = [one for one in self.require if isinstance(one, Login)]
        return any(acr in (one.acr_values or ()) or set(one.amr or ()) & set(amr) for one in wanted)


class BridgeClient:
    """The bridge at `url`, called with the bearer token that its `[[callers]]` entry knows the SHA-256 of."""

    def __init__(self, url: str, token: str, timeout_s: float = 2.0) -> None:
        self._http = httpx.Client(
            base_url=url,
            timeout=timeout_s,
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
            follow_redirects=False,
        )

    def ask(self, question: dict[str, Any]) -> Answer:
        """The decision. Raises BridgeFailure when there is none."""
        asked = {"grant_type": "authorization_code", "phase": "authorization", **question}
        try:
            reply = self._http.post("/v1/issuance/decisions", json=asked)
            reply.raise_for_status()
            return Answer.model_validate_json(reply.content)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise BridgeFailure(f"the bridge did not answer: {type(error).__name__}") from error
        except ValidationError as error:
            raise BridgeFailure("the bridge's reply does not fit") from error

    def close(self) -> None:
        self._http.close()
