"""Checks a DPoP proof at the token endpoint (RFC 9449, section 4.3). Left out: server nonces and `dpop_jkt`."""

# mypy: disallow-subclassing-any=False
# Authlib ships no types.

import time

from authlib.oauth2 import OAuth2Error
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import import_key

from examples.token_service.store import Store

ALGORITHMS = ("ES256", "EdDSA", "Ed25519", "PS256", "RS256")
MAX_AGE_S = 60


class InvalidProof(OAuth2Error):
    """RFC 9449, section 5."""

    error = "invalid_dpop_proof"


def key_thumbprint(proofs: list[str], method: str, url: str, store: Store) -> str | None:
    """The thumbprint (RFC 7638) of the key that the client proved to hold; None without a `DPoP` header.

    Raises InvalidProof. `url` is the token endpoint without query and fragment.
    """
    if not proofs:
        return None
    if len(proofs) > 1:
        raise InvalidProof("more than one DPoP header")
    try:
        header = jws.extract_compact(proofs[0].encode()).headers()
        public = header.get("jwk")
        if header.get("typ") != "dpop+jwt" or not isinstance(public, dict):
            raise InvalidProof("the proof needs typ dpop+jwt and a jwk")
        key = import_key(public)
        if key.is_private or key.key_type == "oct":
            raise InvalidProof("the jwk must be a public key")
        claims = jwt.decode(proofs[0], key, algorithms=ALGORITHMS).claims
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise InvalidProof("the proof does not verify") from error

    jti, issued = claims.get("jti"), claims.get("iat")
    if claims.get("htm") != method or claims.get("htu") != url:
        raise InvalidProof("htm or htu are not those of this request")
    if type(issued) is not int or abs(time.time() - issued) > MAX_AGE_S:
        raise InvalidProof("iat is not within a minute of now")
    thumbprint = key.thumbprint()
    if not isinstance(jti, str) or not jti or not store.first_sight(thumbprint, jti, issued + MAX_AGE_S + 1):
        raise InvalidProof("jti is missing or was used before")
    return thumbprint
