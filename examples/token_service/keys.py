"""The server's signing key: made at start, never stored. ES256, as RFC 9068 asks for an asymmetric algorithm."""

from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet


class SigningKey:
    """Signs tokens, and shows the public half."""

    def __init__(self) -> None:
        self._key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True)

    def sign(self, typ: str, claims: dict[str, Any]) -> str:
        """A JWS in compact form over `claims`; `typ` tells access tokens (`at+jwt`, RFC 9068) from ID tokens."""
        return jwt.encode({"alg": "ES256", "typ": typ, "kid": self._key.kid}, claims, self._key, algorithms=["ES256"])

    def jwks(self) -> dict[str, Any]:
        """The JWK set (RFC 7517) that resource servers verify with."""
        return dict(KeySet([self._key]).as_dict(private=False))
