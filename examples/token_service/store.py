"""What the server remembers: clients, users, sign-ins, grants, codes and refresh tokens. In memory: a restart forgets.

Which scopes, audiences and lifetimes a client may have is not kept here: that is what the policies say.
"""

import hashlib
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from joserfc.jwk import Key

CODE_LIFETIME_S = 60


@dataclass(frozen=True)
class User:
    """A resource owner; `properties` are passed on to the policies."""

    id: str
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SignIn:
    """One sign-in: who, and how (OpenID Connect Core 1.0, section 2). `auth_time` in s since the epoch."""

    session_id: str
    user: User
    acr: str
    amr: tuple[str, ...]
    auth_time: int


@dataclass
class Grant:
    """What a user allowed a client: everything that codes and refresh tokens hang on."""

    client_id: str
    sign_in: SignIn
    scopes: tuple[str, ...]
    audience: tuple[str, ...]
    authorization_details: list[dict[str, Any]] | None
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    started: int = field(default_factory=lambda: int(time.time()))
    revoked: bool = False


@dataclass
class Code:
    """An authorization code (RFC 6749, section 4.1.2), with the names that Authlib's PKCE check looks for."""

    grant: Grant
    redirect_uri: str | None
    nonce: str | None
    code_challenge: str
    code_challenge_method: str
    expires: float = field(default_factory=lambda: time.time() + CODE_LIFETIME_S)
    spent: bool = False

    def get_redirect_uri(self) -> str | None:
        return self.redirect_uri

    def get_scope(self) -> str:
        return " ".join(self.grant.scopes)


@dataclass(frozen=True)
class RefreshToken:
    """What an opaque refresh token stands for: what a JWT would carry, `claims` included, is kept here.

    `jkt`: the key that a public client must show again (RFC 9449, section 5); None for a confidential one.
    """

    grant: Grant
    scopes: tuple[str, ...]
    audience: tuple[str, ...]
    authorization_details: list[dict[str, Any]] | None
    claims: Mapping[str, Any]
    jkt: str | None
    expires: int

    def get_scope(self) -> str:
        return " ".join(self.scopes)

    def check_client(self, client: Any) -> bool:
        return bool(self.grant.client_id == client.client_id)


class Store:
    """All of it, safe for several threads."""

    def __init__(self) -> None:
        self.clients: dict[str, Any] = {}
        self.users: dict[str, User] = {}
        self.trusted_issuers: dict[str, Key] = {}
        self.consents: dict[tuple[str, str], tuple[str, ...]] = {}
        self._lock = threading.Lock()
        self._sign_ins: dict[str, SignIn] = {}
        self._codes: dict[str, Code] = {}
        self._refresh_tokens: dict[str, RefreshToken] = {}
        self._seen: dict[tuple[str, str], float] = {}

    def sign_in(self, user: User, acr: str, amr: tuple[str, ...], auth_time: int) -> str:
        """Remembers a sign-in; the cookie value that stands for it."""
        cookie = secrets.token_urlsafe(32)
        self._sign_ins[cookie] = SignIn(secrets.token_urlsafe(16), user, acr, amr, auth_time)
        return cookie

    def signed_in(self, cookie: str | None) -> SignIn | None:
        return self._sign_ins.get(cookie or "")

    def consented(self, user_id: str, client_id: str) -> tuple[str, ...]:
        """The scopes that the user consents to share with the client, as of now."""
        return self.consents.get((user_id, client_id), ())

    def save_code(self, value: str, code: Code) -> None:
        self._codes[value] = code

    def spend_code(self, value: str, client_id: str) -> Code | None:
        """The code, once; a second use revokes what came of the first (RFC 6749, section 4.1.2)."""
        with self._lock:
            code = self._codes.get(value)
            if code is None or code.grant.client_id != client_id:
                return None
            if code.spent:
                code.grant.revoked = True
                return None
            code.spent = True
            return code if code.expires > time.time() else None

    def save_refresh_token(self, token: RefreshToken) -> str:
        """Remembers what the token stands for; its value, of which only the hash is kept."""
        value = secrets.token_urlsafe(32)
        self._refresh_tokens[_digest(value)] = token
        return value

    def refresh_token(self, value: str) -> RefreshToken | None:
        token = self._refresh_tokens.get(_digest(value))
        return token if token and not token.grant.revoked and token.expires > time.time() else None

    def first_sight(self, issuer: str, jti: str, until: float) -> bool:
        """Whether the pair is new; it is remembered `until` (s since the epoch). Keeps assertions and proofs single."""
        now = time.time()
        with self._lock:
            self._seen = {key: end for key, end in self._seen.items() if end > now}
            if (issuer, jti) in self._seen:
                return False
            self._seen[issuer, jti] = until
            return True


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()
