"""The key that signs logout tokens, and its public half as others find it (RFC 7515, RFC 7517)."""

import json
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from joserfc import jws
from joserfc.errors import UnsupportedAlgorithmError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from typing_extensions import override

from bridge.config.logout import LogoutSection
from bridge.errors import ConfigFault
from bridge.model.logout import TYPE

MIN_RSA_BITS = 2048
_KINDS = f"RSA with at least {MIN_RSA_BITS} bits, EC over P-256, or Ed25519"


class Only(jws.JWSRegistry):
    """One algorithm, for signing and for verifying. Unknown header members count for nothing (RFC 7515, section 4)."""

    max_header_length = 8 * 1024

    def __init__(self, algorithm: str) -> None:
        super().__init__(algorithms=[algorithm], strict_check_header=False)

    @override
    def get_alg(self, name: str) -> Any:
        """Without the warning that `EdDSA` has a successor (RFC 9864): it is what is spoken."""
        if name not in (self.allowed or ()) or name not in self.algorithms:
            raise UnsupportedAlgorithmError
        return self.algorithms[name]


class LogoutKey:
    """Signs; `keys` is a JWK Set with the public half alone."""

    def __init__(self, section: LogoutSection) -> None:
        """ConfigFault when `signing_key` holds no PEM private key that can be used."""
        self._algorithm, self._key = _loaded(Path(section.signing_key))
        self._id = section.signing_key_id or self._key.thumbprint()
        self.lifetime_s = section.token_lifetime_s
        public = self._key.as_dict(private=False)
        self.keys: dict[str, Any] = {"keys": [{**public, "kid": self._id, "use": "sig", "alg": self._algorithm}]}

    def sign(self, claims: dict[str, Any]) -> str:
        """A logout token with these claims (JWS, compact)."""
        header = {"alg": self._algorithm, "typ": TYPE, "kid": self._id}
        return jws.serialize_compact(header, json.dumps(claims), self._key, registry=Only(self._algorithm))


def logout_key(section: LogoutSection) -> LogoutKey | None:
    """The configured one, if there is one."""
    return LogoutKey(section) if section.signing_key else None


def _loaded(file: Path) -> tuple[str, RSAKey | ECKey | OKPKey]:
    """The key, and the algorithm that goes with it."""
    try:
        if file.stat().st_mode & 0o007:
            raise ConfigFault(f"logout.signing_key {file} is open to every user of this machine: chmod 600 {file}")
        key = load_pem_private_key(file.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigFault(f"logout.signing_key {file} cannot be read as a PEM private key: {error}") from error
    match key:
        case rsa.RSAPrivateKey() if key.key_size >= MIN_RSA_BITS:
            return "RS256", RSAKey.import_key(_alone(key))
        case ec.EllipticCurvePrivateKey() if key.curve.name == "secp256r1":
            return "ES256", ECKey.import_key(_alone(key))
        case ed25519.Ed25519PrivateKey():
            return "EdDSA", OKPKey.import_key(_alone(key))
        case _:
            raise ConfigFault(f"logout.signing_key {file} must be {_KINDS}")


def _alone(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    """As PEM, without what else stands in the file: a public key or a certificate before it would be taken instead."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
