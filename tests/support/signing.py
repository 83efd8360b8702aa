"""Keys that sign bundles, as files."""

from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


CURVES: dict[str, ec.EllipticCurve] = {
    "p256": ec.SECP256R1(),
    "p384": ec.SECP384R1(),
    "p521": ec.SECP521R1(),
    "k256": ec.SECP256K1(),
}


@cache
def key(kind: str) -> PrivateKey:
    """The key of this name: `rsa`, `rsa-other`, `rsa-short`, `ed25519`, or a curve; the same in one run."""
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, 1024 if kind == "rsa-short" else 2048)
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(CURVES[kind])


def key_files(folder: Path, kind: str = "rsa") -> tuple[Path, Path]:
    """Private (mode 600) and public key of `key(kind)`, as PEM files."""
    private, public = folder / f"{kind}.pem", folder / f"{kind}.pub"
    private.touch(0o600)
    private.write_bytes(key(kind).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key(kind).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public
