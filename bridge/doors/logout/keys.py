"""The keys of one OpenID provider: its JWK Set, fetched or read within bounds, and kept until a key is missed."""

import asyncio
import ssl
import time
from pathlib import Path
from typing import Any

import aiohttp
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from bridge import __version__
from bridge.config.logout import LogoutSenderSection
from bridge.errors import MalformedRequest
from bridge.model import strict_json

MAX_SET_BYTES, MAX_KEYS, MAX_DEPTH = 256 * 1024, 100, 8
FETCH_S = 3.0
AGAIN_S, OLD_S = 10.0, 3600.0
"""No set is asked for twice within ten seconds, though everybody may name a key that is not in it; one of an hour is
asked for again, so that a withdrawn key goes."""
MIN_RSA_BITS, RSA_TEXT, MAX_EXPONENT_TEXT = 2048, range(340, 1400), 8
"""Of a modulus in base64url: a larger one than 8192 bits would keep everybody waiting, as would an exponent of 2^48."""
Key = RSAKey | ECKey | OKPKey
_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_ED25519 = ("EdDSA", "Ed25519")
log = structlog.get_logger(__name__)


class KeysUnavailable(Exception):
    """There is no set to look into."""


class SenderKeys:
    """What a sender's tokens are verified with: the key, and the algorithms that its type allows."""

    def __init__(self, section: LogoutSenderSection) -> None:
        self._section = section
        self._kept: list[tuple[str | None, Key, tuple[str, ...]]] | None = None
        self._asked = self._got = float("-inf")
        self._turn = asyncio.Lock()

    async def find(self, kid: str | None, algorithm: str) -> Key | None:
        """The one key of this id that may be used with `algorithm`; without an id there must be only one that fits.

        KeysUnavailable: no set could be had yet.
        """
        # Who names a key that is there does not wait for those who do not.
        if (found := self._fitting(kid, algorithm)) and not self._stale():
            return found[0] if len(found) == 1 else None
        async with self._turn:
            found, now = self._fitting(kid, algorithm), time.monotonic()
            if (self._stale() or not found) and now - self._asked >= AGAIN_S:
                self._asked = now
                await self._load()
                found = self._fitting(kid, algorithm)
        if self._kept is None:
            raise KeysUnavailable
        return found[0] if len(found) == 1 else None

    def _stale(self) -> bool:
        return self._kept is None or time.monotonic() - self._got > OLD_S

    def _fitting(self, kid: str | None, algorithm: str) -> list[Key]:
        kept = self._kept or ()
        return [key for known, key, allowed in kept if algorithm in allowed and kid in (None, known)]

    async def _load(self) -> None:
        """What was kept before stays where this fails."""
        section = self._section
        try:
            async with asyncio.timeout(FETCH_S):
                raw = await (
                    _fetched(section.jwks_url) if section.jwks_url else asyncio.to_thread(_read, section.jwks_file)
                )
            self._kept = _usable(strict_json.loads(raw, max_depth=MAX_DEPTH))
            self._got = time.monotonic()
        except (TimeoutError, OSError, aiohttp.ClientError, MalformedRequest, _NoSetError) as error:
            reason = str(error) if isinstance(error, _NoSetError) else type(error).__name__
            log.warning("logout_keys_failed", issuer=section.issuer, reason=reason)


class _NoSetError(Exception):
    """The answer is no JWK Set; the text holds nothing of it."""


async def _fetched(url: str) -> bytes:
    tls: ssl.SSLContext | bool = ssl.create_default_context() if url.startswith("https") else True
    headers = {"Accept": "application/json", "User-Agent": f"issuance-bridge/{__version__}"}
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls, limit=1, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        ) as session,
        session.get(url, headers=headers, allow_redirects=False) as response,
    ):
        if response.status != 200:
            raise _NoSetError(f"it answers with status {response.status}")
        raw = bytearray()
        async for part in response.content.iter_any():
            raw += part
            if len(raw) > MAX_SET_BYTES:
                raise _NoSetError(f"it is longer than {MAX_SET_BYTES} bytes")
    return bytes(raw)


def _read(file: str) -> bytes:
    with Path(file).open("rb") as opened:
        raw = opened.read(MAX_SET_BYTES + 1)
    if len(raw) > MAX_SET_BYTES:
        raise _NoSetError(f"it is longer than {MAX_SET_BYTES} bytes")
    return raw


def _usable(value: Any) -> list[tuple[str | None, Key, tuple[str, ...]]]:
    """The keys that may verify a signature; others in the set are for other things, and no fault of it."""
    listed = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise _NoSetError(f"it is no JWK Set of at most {MAX_KEYS} keys")
    found = []
    for one in listed:
        if isinstance(one, dict) and (made := _made(one)) is not None:
            key, allowed = made
            kid = one.get("kid")
            found.append((kid if isinstance(kid, str) else None, key, allowed))
    return found


def _made(jwk: dict[str, Any]) -> tuple[Key, tuple[str, ...]] | None:
    """The public key, and what may be used with it; None: it verifies nothing."""
    try:
        if jwk.get("use", "sig") != "sig" or "verify" not in jwk.get("key_ops", ["verify"]):
            return None
        made = _of_type(jwk)
    except (JoseError, ValueError, KeyError, TypeError):
        return None
    if made is None:
        return None
    key, allowed = made
    said = jwk.get("alg")
    return key, allowed if said is None else tuple(name for name in allowed if name == said)


def _of_type(jwk: dict[str, Any]) -> tuple[Key, tuple[str, ...]] | None:
    kind, curve = jwk.get("kty"), jwk.get("crv")
    if kind == "RSA" and len(jwk["n"]) in RSA_TEXT and len(jwk["e"]) <= MAX_EXPONENT_TEXT:
        key = RSAKey.import_key({name: jwk[name] for name in ("kty", "n", "e")})
        bits = key.public_key.key_size
        return (key, _RSA) if bits >= MIN_RSA_BITS else None
    if kind == "EC" and curve in _CURVES:
        return ECKey.import_key({name: jwk[name] for name in ("kty", "crv", "x", "y")}), (_CURVES[curve],)
    if kind == "OKP" and curve == "Ed25519":
        return OKPKey.import_key({name: jwk[name] for name in ("kty", "crv", "x")}), _ED25519
    return None
