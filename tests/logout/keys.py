"""Keys for the tests, made once: RSA ones take a while."""

from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import ECKey, OKPKey, RSAKey

Key = RSAKey | ECKey | OKPKey
KINDS = ("RS256", "ES256", "EdDSA")


@cache
def pem(kind: str, number: int) -> bytes:
    """A private key for this algorithm; another one for each number."""
    made: dict[str, Any] = {
        "RS256": lambda: rsa.generate_private_key(65537, 2048),
        "weak": lambda: rsa.generate_private_key(65537, 1024),
        "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate,
    }
    key = made[kind]()
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


@cache
def key_of(kind: str, number: int = 0) -> Key:
    types: dict[str, Any] = {"R": RSAKey, "w": RSAKey, "E": OKPKey if kind == "EdDSA" else ECKey}
    found: Key = types[kind[0]].import_key(pem(kind, number))
    return found


def public(kind: str, kid: str, number: int = 0, **members: Any) -> dict[str, Any]:
    """The JWK that others may see."""
    return {**key_of(kind, number).as_dict(private=False), "kid": kid, **members}


def signing_key(folder: Path, kind: str = "ES256") -> str:
    """The file for `logout.signing_key`."""
    file = folder / f"logout-{kind}.pem"
    file.write_bytes(pem(kind, 0))
    file.chmod(0o600)
    return str(file)
