"""What the client is told when no token is issued.

RFC 6749, section 5.2, has six codes for the token endpoint, and `access_denied` is not one of them (it belongs to the
authorization endpoint). So: a sign-in or consent that does not suffice is `invalid_grant`, since a new grant mends it;
so is what was revoked; no scope left is `invalid_scope`; the gate's denial is `unauthorized_client`. RFC 8707 and
RFC 9396 add one code each.
A fault on our side is none of these, since the client did nothing wrong: 503 `temporarily_unavailable`.
"""

# mypy: disallow-subclassing-any=False
# Authlib ships no types.

from typing import Any

from authlib.oauth2 import OAuth2Error

from examples.token_service.bridge_client import Answer

FAULTS = frozenset({"engine_unavailable", "deadline", "overloaded", "evidence_unavailable", "policy_mismatch"})
"""Codes of the bridge that mean: no decision could be made."""


class Refusal(OAuth2Error):
    """No token. `members` stand beside `error` and `error_description`."""

    def __init__(self, error: str, description: str, status_code: int = 400, **members: Any) -> None:
        super().__init__(description=_allowed(description), status_code=status_code, error=error)
        self._members = {name: value for name, value in members.items() if value is not None}

    def get_body(self) -> list[tuple[str, Any]]:
        return [*super().get_body(), *self._members.items()]


def unavailable() -> Refusal:
    """Why, is for the server's log and not for the client."""
    return Refusal("temporarily_unavailable", "no decision could be made; nothing was issued", 503)


def refusal(answer: Answer) -> Refusal:
    """The OAuth error for an answer that allows no token. Codes go out, for support; titles stay with the bridge."""
    codes = {finding.code for finding in answer.findings}
    by_scope = {scope: sorted(f.code for f in said.findings) for scope, said in answer.scopes.items()}
    codes |= {code for found in by_scope.values() for code in found}
    if codes & FAULTS:
        return unavailable()
    if answer.outcome == "conditional":
        return Refusal(
            "invalid_grant",
            f"the sign-in or consent does not suffice; decision {answer.decision_id}",
            decision_id=answer.decision_id,
            **_step_up(answer),
        )
    if "ended" in codes:
        error = "invalid_grant"  # revoked: the client shall drop what it has
    elif "no_audience" in codes:
        error = "invalid_target"
    elif "details_denied" in codes:
        error = "invalid_authorization_details"
    elif "gate_denied" in codes or not by_scope:
        error = "unauthorized_client"
    else:
        error = "invalid_scope"
    # On a request denied as a whole, the findings of the whole say why; else they only tell that the gate allowed.
    whole = "" if error == "invalid_scope" else ", ".join(sorted(f.code for f in answer.findings))
    reasons = "; ".join(filter(None, [whole, *(f"{scope}: {', '.join(found)}" for scope, found in by_scope.items())]))
    said = f"denied by policy ({reasons}); decision {answer.decision_id}"
    return Refusal(error, said, decision_id=answer.decision_id)


def _step_up(answer: Answer) -> dict[str, Any]:
    # The parameters of a new authorization request that mends it (OpenID Connect Core 1.0, section 3.1.2.1).
    needed = [requirement for requirement in answer.require if requirement != "consent"]
    ages = [one.max_age for one in needed if one.max_age is not None]
    return {
        "prompt": "consent" if "consent" in answer.require else None,
        # Each list is one of which any value does; all lists must be satisfied.
        "acr_values": " ".join(_in_all([one.acr_values for one in needed if one.acr_values])) or None,
        "max_age": min(ages) if ages else None,
    }


def _in_all(lists: list[list[str]]) -> list[str]:
    return [value for value in lists[0] if all(value in one for one in lists)] if lists else []


def _allowed(text: str) -> str:
    # RFC 6749, section 5.2: %x20-21 / %x23-5B / %x5D-7E
    return "".join(c if " " <= c <= "~" and c not in '"\\' else "?" for c in text)
