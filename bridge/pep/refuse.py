"""What the client is told when nothing is minted. Nothing that a policy wrote gets into it.

RFC 6749, section 5.2, has no `access_denied` for the token endpoint; this library says it there all the same, as the
profile's short word for a closed gate. A server that keeps to the registry tells its client `unauthorized_client`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bridge.pep.wish import Wish

OAuthError = Literal[
    "access_denied",
    "invalid_scope",
    "invalid_target",
    "invalid_authorization_details",
    "invalid_request",
    "invalid_grant",
    "unmet_authentication_requirements",
    "consent_required",
]

_TEXTS: Mapping[OAuthError, str] = {
    "access_denied": "the token may not be issued",
    "invalid_scope": "none of the scopes may be issued",
    "invalid_target": "the token may not be issued for this target",
    "invalid_authorization_details": "the authorization details may not be granted",
    "invalid_request": "the request may not be fulfilled",
    "invalid_grant": "the sign-in or the consent does not suffice",
    "unmet_authentication_requirements": "the sign-in does not suffice",
    "consent_required": "the user must consent",
}


@dataclass(frozen=True, slots=True)
class StepUp:
    """What would turn a denial into a permit, for a new authorization request.

    `acr_values`: one of them will do, `amr`: all of them are needed, `max_age` in seconds.
    """

    consent: bool = False
    acr_values: tuple[str, ...] = ()
    max_age: int | None = None
    amr: tuple[str, ...] = ()

    @property
    def only_consent(self) -> bool:
        return self == StepUp(consent=True)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nothing is minted. `error` and `description` are for the client; `reason` and the ids for the server's log.

    `step_up` says what a new sign-in or consent needs. Its values are the PDP's; a server that passes them on as
    `acr_values` and `max_age` tells the client which sign-in a policy asks for.
    """

    error: OAuthError
    reason: str
    step_up: StepUp | None = None
    decision_ids: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """A sentence that depends on nothing but `error`."""
        return _TEXTS[self.error]

    def told(self) -> dict[str, str]:
        """The members of the OAuth error response (RFC 6749, sections 4.1.2.1 and 5.2)."""
        return {"error": self.error, "error_description": self.description}


class Denied(Exception):
    """Nothing is minted, and `refusal` says why. Does not leave this library."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


def denied(wish: Wish, reason: str) -> Refusal:
    """The refusal of a whole request. In an exchange it never tells whose gate was closed."""
    return Refusal("invalid_request" if wish.grant_type == "token_exchange" else "access_denied", reason)


def waits(wish: Wish, step_up: StepUp, reason: str) -> Refusal:
    """The refusal that a better sign-in or a consent would mend."""
    error: OAuthError = "invalid_grant"
    if wish.endpoint == "authorization":
        error = "consent_required" if step_up.only_consent else "unmet_authentication_requirements"
    return Refusal(error, reason, step_up)


def together(requirements: Iterable[Mapping[str, Any] | str]) -> StepUp | None:
    """One step-up that meets all `requirements` (checked ones, see reply.py); None: no single sign-in could."""
    consent, max_age, amr = False, None, dict[str, None]()
    acr_values: tuple[str, ...] | None = None
    for one in requirements:
        if isinstance(one, str):
            consent = True
            continue
        if "acr_values" in one:
            named = tuple(dict.fromkeys(one["acr_values"]))
            acr_values = named if acr_values is None else tuple(acr for acr in acr_values if acr in named)
        if "max_age" in one:
            max_age = one["max_age"] if max_age is None else min(max_age, one["max_age"])
        amr |= dict.fromkeys(one.get("amr", ()))
    if acr_values == ():
        return None
    return StepUp(consent, acr_values or (), max_age, tuple(amr))
