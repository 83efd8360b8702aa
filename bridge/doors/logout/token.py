"""A logout token that came: whose it says it is, whether that one signed it, and what it says then.

Whose keys are looked into is said by the token's own `iss`, which is nothing but a choice among the configured senders;
its header chooses a key among theirs, and an algorithm among those of that key. Keys in the header are passed over.
"""

import base64
import binascii
import time
from collections.abc import Sequence
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError

from bridge.config.logout import LogoutSenderSection
from bridge.config.logout_key import Only
from bridge.doors.logout.keys import SenderKeys
from bridge.errors import LogoutRefused, MalformedRequest
from bridge.model import strict_json
from bridge.model.logout import Logout, Rule, believed

MAX_TOKEN, MAX_DEPTH = 32 * 1024, 16
_TYPES = (None, "logout+jwt", "application/logout+jwt", "jwt")


class Tokens:
    """Reads the tokens of the configured senders."""

    def __init__(self, senders: Sequence[LogoutSenderSection]) -> None:
        self._senders = {
            one.issuer: (Rule(one.issuer, one.audience, one.require_exp, one.max_age_s), SenderKeys(one))
            for one in senders
        }

    async def __call__(self, token: str) -> Logout:
        """LogoutRefused; KeysUnavailable."""
        header, claims = _parts(token)
        algorithm, kid = _header(header)
        issuer = claims.get("iss")
        if not isinstance(issuer, str) or issuer not in self._senders:
            raise LogoutRefused("iss", "is none whose tokens are taken here")
        rule, keys = self._senders[issuer]
        key = await keys.find(kid, algorithm)
        if key is None:
            raise LogoutRefused("kid", "there is not one key that fits `kid` and `alg`")
        try:
            jws.deserialize_compact(token, key, registry=Only(algorithm))
        except (JoseError, ValueError, TypeError):
            raise LogoutRefused("signature", "does not hold") from None
        return believed(claims, rule, time.time())


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    parts = token.split(".")
    if len(token) > MAX_TOKEN or len(parts) != 3 or not all(parts):
        raise LogoutRefused("logout_token", f"must be a signed JWT of at most {MAX_TOKEN} bytes")
    return _object(parts[0], "header"), _object(parts[1], "claims")


def _object(part: str, what: str) -> dict[str, Any]:
    try:
        # Encoded anew and compared: one value has one spelling, so that what was signed is what is read here.
        raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        value = strict_json.loads(raw, max_depth=MAX_DEPTH)
    except (binascii.Error, ValueError, MalformedRequest):
        value, raw = None, b""
    if not isinstance(value, dict) or base64.urlsafe_b64encode(raw).decode().rstrip("=") != part:
        raise LogoutRefused(what, "must be a JSON object without duplicate names, in base64url")
    return value


def _header(header: dict[str, Any]) -> tuple[str, str | None]:
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ")
    if not isinstance(algorithm, str):
        raise LogoutRefused("alg", "is needed")
    if "crit" in header or "b64" in header:
        raise LogoutRefused("crit", "asks for more than is known here")
    if kid is not None and not isinstance(kid, str):
        raise LogoutRefused("kid", "must be a text")
    if (kind.lower() if isinstance(kind, str) else kind) not in _TYPES:
        raise LogoutRefused("typ", "must be logout+jwt or JWT, or not be there")
    return algorithm, kid
