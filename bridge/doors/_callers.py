"""Who calls, and what they may do: bearer tokens by SHA-256, or a client certificate's subject alternative name."""

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from bridge.config.settings import CallerSection, Role, is_loopback

LOCAL = "local"
ALL_ROLES: frozenset[Role] = frozenset({"token_service", "auditor", "operator"})


class CallerRefused(Exception):
    """401 (nobody we know) or 403 (may not do this); 421 (a host name that is not ours)."""

    def __init__(self, status: int, reason: str, caller: str | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.caller = status, reason, caller


@dataclass(frozen=True, slots=True)
class AuthenticatedCaller:
    """A caller whose identity was checked. None in `doors` or `grant_types`: not limited."""

    name: str
    roles: frozenset[Role]
    issuer: str
    doors: frozenset[str] | None = None
    grant_types: frozenset[str] | None = None

    def require(self, role: Role, door: str | None = None) -> None:
        """CallerRefused (403) when this caller may not."""
        if role not in self.roles or (door is not None and self.doors is not None and door not in self.doors):
            raise CallerRefused(403, "forbidden", self.name)

    def require_grant_type(self, grant_type: str) -> None:
        if self.grant_types is not None and grant_type not in self.grant_types:
            raise CallerRefused(403, "forbidden_grant_type", self.name)


class Callers:
    """Authenticates requests. Without configured callers (loopback only) everyone is `local` and may do all."""

    def __init__(self, sections: Sequence[CallerSection]) -> None:
        self._by_token: list[tuple[bytes, AuthenticatedCaller]] = []
        self._by_san: dict[str, AuthenticatedCaller] = {}
        for section in sections:
            caller = AuthenticatedCaller(
                name=section.name,
                roles=frozenset(section.roles),
                issuer=section.issuer or section.name,
                doors=None if section.doors is None else frozenset(section.doors),
                grant_types=None if section.grant_types is None else frozenset(section.grant_types),
            )
            self._by_token.extend((bytes.fromhex(token), caller) for token in section.token_sha256)
            if section.tls_san:
                self._by_san[section.tls_san] = caller
        self._local = None if sections else AuthenticatedCaller(LOCAL, ALL_ROLES, LOCAL)

    def authenticate(self, request: web.Request) -> AuthenticatedCaller:
        """The caller of `request`, or CallerRefused."""
        if self._local is not None:
            # A web page that resolves its own name to this machine must not reach us through a browser.
            if not _names_this_machine(request.host):
                raise CallerRefused(421, "misdirected")
            return self._local
        shown = request.headers.getall("Authorization", [])
        # A token that is shown must hold, and be the only one: a certificate beside it makes up for nothing.
        caller = self._from_token(shown) if shown else self._from_certificate(request)
        if caller is None:
            raise CallerRefused(401, "unauthenticated")
        return caller

    def _from_token(self, shown: list[str]) -> AuthenticatedCaller | None:
        scheme, _, token = shown[0].partition(" ")
        if len(shown) != 1 or scheme.lower() != "bearer" or not token.strip():
            return None
        digest = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).digest()
        found = None
        for known, caller in self._by_token:
            # No early end: the time taken does not tell which caller came close.
            if hmac.compare_digest(known, digest):
                found = caller
        return found

    def _from_certificate(self, request: web.Request) -> AuthenticatedCaller | None:
        certificate = request.get_extra_info("peercert")
        if not certificate:
            return None
        for kind, name in certificate.get("subjectAltName", ()):
            if kind in ("DNS", "URI", "email") and name in self._by_san:
                return self._by_san[name]
        return None


def _names_this_machine(host: str) -> bool:
    name = re.sub(r":[0-9]*$", "", host)
    return is_loopback(name.lower().rstrip("."))
