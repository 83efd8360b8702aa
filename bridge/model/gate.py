"""Gate actions of the AuthZEN profile for OAuth token issuance: `issue:<token_type>:<grant_type>`."""

import re
from dataclasses import dataclass
from typing import Any

TOKEN_TYPES = ("access_token", "refresh_token", "id_token", "id_jag", "txn_token", "jwt", "saml1", "saml2")
GRANT_TYPES = (
    "authorization_code",
    "client_credentials",
    "refresh_token",
    "token_exchange",
    "device_code",
    "jwt_bearer",
    "saml2_bearer",
)
"""The short names that the profile and its token exchange binding register; others may come, and policy decides."""
KNOWN_GRANTS = (*GRANT_TYPES, "ciba", "password", "implicit", "pre_authorized_code")
"""And those that servers name in other ways."""
MAX_GATE_CHARS = 50
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,128}")
_GRANT_URN = re.compile(r"urn:(?:ietf:params:oauth|openid:params):grant-type:")
_SAME_GRANTS = {"code": "authorization_code", "refresh": "refresh_token", "device": "device_code"}
_GATE = re.compile(r"issue:([a-z][a-z0-9_]{0,30}):([a-z][a-z0-9_]{0,30})")


@dataclass(frozen=True, slots=True)
class Gate:
    """Which kind of token is to be issued, and by which grant."""

    token_type: str
    grant_type: str

    def __str__(self) -> str:
        return f"issue:{self.token_type}:{self.grant_type}"


def parse_gate(name: str) -> Gate | None:
    """The gate with this action name; None when it is none."""
    match = _GATE.fullmatch(name) if len(name) <= MAX_GATE_CHARS else None
    return None if match is None else Gate(match[1], match[2])


def registered_gates() -> list[Gate]:
    """Every gate that can be composed of registered short names."""
    return [Gate(token_type, grant_type) for token_type in TOKEN_TYPES for grant_type in GRANT_TYPES]


def grant_name(value: Any) -> str | None:
    """The grant type by its short name, or as it was sent when it has none; None when it is no name at all."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        return None
    name = _GRANT_URN.sub("", value.strip().lower()).replace("-", "_")
    name = _SAME_GRANTS.get(name, name)
    return name if name in KNOWN_GRANTS else value
