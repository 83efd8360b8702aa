"""Who calls, and what they may do: secrets by SHA-256, or a client certificate's subject alternative name.

A secret is a bearer token, or the whole value of a header or cookie where a caller can do no other.
"""

import hashlib
import hmac
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aiohttp import web

from bridge.config.section import is_loopback
from bridge.config.settings import CallerSection, Role

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


@dataclass(frozen=True, slots=True)
class Place:
    """Where a caller's secret stands: in a header (lower case) or a cookie of its own; neither: a bearer token."""

    header: str = ""
    cookie: str = ""


BEARER, AUTHORIZATION = Place(), Place(header="authorization")
_NO_DIGEST = b""


class Callers:
    """Authenticates requests. Without configured callers (loopback only) everyone is `local` and may do all."""

    def __init__(self, sections: Sequence[CallerSection]) -> None:
        self._by_secret: list[tuple[Place, bytes, AuthenticatedCaller]] = []
        self._by_san: dict[str, AuthenticatedCaller] = {}
        for section in sections:
            caller = AuthenticatedCaller(
                name=section.name,
                roles=frozenset(section.roles),
                issuer=section.issuer or section.name,
                doors=None if section.doors is None else frozenset(section.doors),
                grant_types=None if section.grant_types is None else frozenset(section.grant_types),
            )
            place = Place(section.header.lower(), section.cookie)
            self._by_secret.extend((place, bytes.fromhex(token), caller) for token in section.token_sha256)
            if section.tls_san:
                self._by_san[section.tls_san] = caller
        self.issuers = frozenset(s.issuer or s.name for s in sections if "token_service" in s.roles) or {LOCAL}
        """The authorization servers that ask here."""
        self._places = tuple(dict.fromkeys(place for place, *_ in self._by_secret))
        self._local = None if sections else AuthenticatedCaller(LOCAL, ALL_ROLES, LOCAL)

    def authenticate(self, request: web.Request) -> AuthenticatedCaller:
        """The caller of `request`, or CallerRefused."""
        if self._local is not None:
            # A web page that resolves its own name to this machine must not reach us through a browser.
            if not _names_this_machine(request.host):
                raise CallerRefused(421, "misdirected")
            return self._local
        shown = self._shown(request)
        # A secret that is shown must hold, and be the only one: a certificate beside it makes up for nothing.
        caller = self._from_secret(shown) if shown else self._from_certificate(request)
        if caller is None:
            raise CallerRefused(401, "unauthenticated")
        return caller

    def _shown(self, request: web.Request) -> list[tuple[Place, str]]:
        """Every secret of the request, with its place; other headers and cookies are none of ours."""
        found = [(BEARER, value) for value in request.headers.getall("Authorization", [])]
        for place in self._places:
            if place.cookie:
                found.extend((place, value) for name, value in _cookies(request) if name == place.cookie)
            elif place.header not in ("", "authorization"):
                found.extend((place, value) for value in request.headers.getall(place.header, []))
        return found

    def _from_secret(self, shown: list[tuple[Place, str]]) -> AuthenticatedCaller | None:
        if len(shown) != 1:
            return None
        ((place, value),) = shown
        whole = {place: value}
        if place == BEARER:
            scheme, _, token = value.partition(" ")
            whole = {AUTHORIZATION: value}
            if scheme.lower() == "bearer" and token.strip():
                whole[BEARER] = token.strip()
        digests = {at: hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest() for at, text in whole.items()}
        found: list[AuthenticatedCaller] = []
        for at, known, caller in self._by_secret:
            # No early end: the time taken does not tell which caller came close.
            if hmac.compare_digest(known, digests.get(at, _NO_DIGEST)):
                found.append(caller)
        return found[0] if len(found) == 1 else None

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


def _cookies(request: web.Request) -> Iterator[tuple[str, str]]:
    """Each cookie as it was sent (RFC 6265, section 4.2.1), one that stands twice included."""
    for header in request.headers.getall("Cookie", []):
        for pair in header.split(";"):
            name, _, value = pair.strip().partition("=")
            yield name, value
