"""Signed OPA bundles: one JWT over the hashes of all files, in `.signatures.json`, as OPA makes and checks it."""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from bridge.errors import ConfigFault, PolicyRefused
from bridge.policy.bundle import canonical, unique
from bridge.policy.listing import SIGNATURES, listing

ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512")
MIN_RSA_BITS = 2048
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_HASHES: dict[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)
_KEY_KINDS = f"RSA with at least {MIN_RSA_BITS} bits, or EC over P-256, P-384 or P-521"


class Signer:
    """Signs with one private key. The same files give the same bytes, with ECDSA by RFC 6979."""

    def __init__(self, file: Path, key_id: str = "", algorithm: str = "") -> None:
        """ConfigFault when `file` holds no PEM key that can be used, or not with `algorithm` (one of ALGORITHMS)."""
        try:
            if file.stat().st_mode & 0o007:
                raise ConfigFault(f"the signing key {file} is open to every user of this machine: chmod 600 {file}")
            key = load_pem_private_key(file.read_bytes(), None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ConfigFault(f"the signing key {file} cannot be read as a PEM private key: {error}") from error
        if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
            raise ConfigFault(f"the signing key {file} must be {_KEY_KINDS}")
        allowed = _algorithms(key.public_key(), file)
        if algorithm and algorithm not in allowed:
            raise ConfigFault(f"the signing key {file} cannot sign with {algorithm}; it can with {', '.join(allowed)}")
        self._key, self._algorithm = key, algorithm or allowed[0]
        self._header = {"alg": self._algorithm, **({"kid": key_id} if key_id else {})}

    def sign(self, files: Mapping[str, bytes]) -> bytes:
        """The content of `.signatures.json` for a bundle of exactly these files."""
        payload = {"files": [{"algorithm": "SHA-256", "hash": h, "name": n} for n, h in sorted(listing(files).items())]}
        text = f"{_encoded(canonical(self._header))}.{_encoded(canonical(payload))}"
        return canonical({"signatures": [f"{text}.{_encoded(self._signature(text.encode()))}"]})

    def _signature(self, text: bytes) -> bytes:
        algorithm = _HASHES[self._algorithm[2:]]
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(text, padding.PKCS1v15(), algorithm)
        try:
            r, s = decode_dss_signature(self._key.sign(text, ec.ECDSA(algorithm, deterministic_signing=True)))
        except UnsupportedAlgorithm as error:
            raise ConfigFault("this OpenSSL cannot sign by RFC 6979: take an RSA key") from error
        size = _octets(self._key.curve)
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")


class Verifier:
    """Accepts bundles that were signed with the private half of one public key."""

    def __init__(self, file: Path) -> None:
        """ConfigFault when `file` holds no PEM public key that can be used."""
        try:
            key = load_pem_public_key(file.read_bytes())
        except (OSError, ValueError, UnsupportedAlgorithm) as error:
            raise ConfigFault(f"policy.verification_key {file} cannot be read as a PEM public key: {error}") from error
        if not isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey)):
            raise ConfigFault(f"policy.verification_key {file} must be {_KEY_KINDS}")
        self._key, self._allowed = key, _algorithms(key, file)

    def check(self, archive: Mapping[str, bytes | None]) -> None:
        """PolicyRefused unless the signature is good and covers exactly the files of `archive` (name -> content).

        None stands for what is no file, such as a link.
        """
        files = {name: content for name, content in archive.items() if content is not None}
        if odd := sorted(archive.keys() - files.keys()):
            raise PolicyRefused([f"the bundle holds {odd[0]!r} as a link or device, which no signature covers"])
        if SIGNATURES not in files:
            raise PolicyRefused(
                [f"the bundle is not signed: it holds no {SIGNATURES}, and policy.verification_key is set"]
            )
        try:
            text, header, payload, signature = _parts(files.pop(SIGNATURES))
            self._check_signature(text, header, signature)
            signed = _signed(payload)
            held = listing(files)
        except (ValueError, RecursionError) as error:
            raise PolicyRefused([f"{SIGNATURES}: {error}"]) from error
        reasons = [
            f"{name}: is not what was signed"
            for name in sorted(held.keys() & signed.keys())
            if held[name] != signed[name]
        ]
        reasons += [f"{name}: was not signed" for name in sorted(held.keys() - signed.keys())]
        reasons += [f"{name}: was signed and is not in the bundle" for name in sorted(signed.keys() - held.keys())]
        if reasons:
            raise PolicyRefused(reasons)

    def _check_signature(self, text: bytes, header: dict[str, Any], signature: bytes) -> None:
        name = header.get("alg")
        if "crit" in header:
            raise ValueError("the JWT's header has `crit`, and asks for more than is known here")
        if name not in self._allowed:
            raise ValueError(
                f"signed with {str(name)[:32]!r}; policy.verification_key allows {', '.join(self._allowed)}"
            )
        algorithm = _HASHES[name[2:]]
        try:
            if isinstance(self._key, rsa.RSAPublicKey):
                self._key.verify(signature, text, padding.PKCS1v15(), algorithm)
            else:
                self._key.verify(_der(signature, _octets(self._key.curve)), text, ec.ECDSA(algorithm))
        except InvalidSignature:
            raise ValueError("the signature is not by policy.verification_key") from None


def covers(signatures: bytes, files: Mapping[str, bytes]) -> bool:
    """Whether `signatures` (a `.signatures.json`) names exactly these contents; who signed it is not looked at."""
    try:
        return _signed(_parts(signatures)[2]) == listing(files)
    except (ValueError, RecursionError):
        return False


def _parts(signatures: bytes) -> tuple[bytes, dict[str, Any], dict[str, Any], bytes]:
    """What was signed, header, payload and signature; ValueError when it is not one JWT as OPA writes it."""
    value = _object(signatures, "the file")
    tokens = value.get("signatures")
    if not isinstance(tokens, list) or len(tokens) != 1 or not isinstance(tokens[0], str):
        raise ValueError("must hold exactly one JWT, in `signatures`")
    if value.get("plugin") not in (None, "", "_default"):
        raise ValueError("`plugin` names another form of signature, which is not known here")
    parts = tokens[0].split(".")
    if len(parts) != 3:
        raise ValueError("must hold a JWT of three parts")
    header, payload, signature = map(_decoded, parts)
    return (
        tokens[0].rpartition(".")[0].encode(),
        _object(header, "the JWT's header"),
        _object(payload, "the JWT"),
        signature,
    )


def _signed(payload: Mapping[str, Any]) -> dict[str, str]:
    """File -> SHA-256 (hex), as the JWT names them."""
    if payload.get("scope"):
        raise ValueError("is signed for a scope; only bundles without one are for this bridge")
    files = payload.get("files")
    if not isinstance(files, list):
        raise ValueError("the JWT names no `files`")
    signed: dict[str, str] = {}
    for file in files:
        told = file if isinstance(file, dict) else {}
        name, digest = told.get("name"), told.get("hash")
        if not isinstance(name, str) or not isinstance(digest, str) or told.get("algorithm") != "SHA-256":
            raise ValueError("each of `files` must have a name, and a hash by SHA-256")
        if name in signed:
            raise ValueError(f"names {name!r} twice")
        signed[name] = digest.lower()
    return signed


def _object(raw: bytes, what: str) -> dict[str, Any]:
    value = json.loads(raw.decode(), object_pairs_hook=unique)
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be a JSON object")
    return value


def _algorithms(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey, file: Path) -> tuple[str, ...]:
    """What may be used with `key`, the usual one first."""
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= MIN_RSA_BITS:
        return ALGORITHMS[:3]
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return (_CURVES[key.curve.name],)
    raise ConfigFault(f"the key {file} must be {_KEY_KINDS}")


def _octets(curve: ec.EllipticCurve) -> int:
    return (curve.key_size + 7) // 8


def _der(signature: bytes, size: int) -> bytes:
    if len(signature) != 2 * size:
        raise InvalidSignature
    return encode_dss_signature(int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big"))


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    if not _BASE64URL.fullmatch(text):
        raise ValueError("the JWT is not base64url")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise ValueError("the JWT is not base64url") from None
