"""`GET /.well-known/authzen-configuration` (Authorization API 1.0, section 9): what is served, from settings alone."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from aiohttp import web
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bridge.config.authzen import AuthzenSection
from bridge.doors._problem import problem
from bridge.doors.authzen.door import EVALUATION_PATH, EVALUATIONS_PATH
from bridge.doors.authzen.search import PATHS
from bridge.errors import ConfigFault
from bridge.model.entry import canonical

PATH = "/.well-known/authzen-configuration"
_ENDPOINTS = {
    "access_evaluation_endpoint": EVALUATION_PATH,
    "access_evaluations_endpoint": EVALUATIONS_PATH,
    **{f"search_{kind}_endpoint": path for kind, path in PATHS.items()},
}


class MetadataDoor:
    """Needs no credentials. ConfigFault when the key cannot be used."""

    def __init__(self, section: AuthzenSection) -> None:
        self._at = PATH + urlsplit(section.pdp).path.rstrip("/")
        self._body = b""
        if section.pdp:
            metadata = _metadata(section)
            if section.metadata_key:
                metadata["signed_metadata"] = _signed(metadata, _load(Path(section.metadata_key)))
            self._body = orjson.dumps(metadata)

    def routes(self) -> list[web.RouteDef]:
        return [web.get(PATH, self.get), web.get(PATH + "/{path:.*}", self.get)]

    async def get(self, request: web.Request) -> web.Response:
        """The document; 404 where no identifier is configured, or another one."""
        if not self._body:
            return problem(404, "authzen.pdp is not configured, so there is no metadata")
        if request.rel_url.raw_path != self._at:
            return problem(404, "this is not the place of the configured identifier's metadata")
        return web.Response(body=self._body, content_type="application/json")


def _metadata(section: AuthzenSection) -> dict[str, Any]:
    base = section.pdp.rstrip("/")
    endpoints = {name: base + path for name, path in _ENDPOINTS.items()}
    capabilities = {"capabilities": list(section.capabilities)} if section.capabilities else {}
    return {"policy_decision_point": section.pdp, **endpoints, **capabilities}


def _load(path: Path) -> Ed25519PrivateKey:
    try:
        if path.stat().st_mode & 0o007:
            raise ConfigFault(f"authzen.metadata_key {path} is open to every user of this machine: chmod 600 {path}")
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigFault(f"authzen.metadata_key {path} cannot be read as a PEM private key: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigFault(f"authzen.metadata_key {path} is no Ed25519 key (openssl genpkey -algorithm ed25519)")
    return key


def _signed(metadata: Mapping[str, Any], key: Ed25519PrivateKey) -> str:
    """A compact JWS (RFC 7515) by EdDSA (RFC 8037); `kid` is the key's thumbprint (RFC 7638)."""
    public = {"crv": "Ed25519", "kty": "OKP", "x": _base64(key.public_key().public_bytes_raw())}
    header = {"alg": "EdDSA", "typ": "JWT", "kid": _base64(hashlib.sha256(canonical(public)).digest())}
    claims = {"iss": metadata["policy_decision_point"], **metadata}
    text = f"{_base64(canonical(header))}.{_base64(canonical(claims))}"
    return f"{text}.{_base64(key.sign(text.encode()))}"


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
