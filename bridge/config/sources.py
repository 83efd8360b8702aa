"""The configuration of external sources, `[[sources]]`."""

from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field, StringConstraints, field_validator, model_validator

from bridge.config.section import Label, Section, is_loopback
from bridge.model.authzen import ENTITIES
from bridge.model.issuance import IssuanceRequest
from bridge.model.mask import parse_pointer
from bridge.model.policy import resource_package
from bridge.model.scope import is_scope_token
from bridge.model.source import Declared

GATE = "gate"
FILE_LOOK_S = 1.0
ENDINGS, ENDINGS_KEY = "lifecycle:clients", ("/issuer", "/client/id")
"""The log as a source, and the only key that it has."""
_LISTS = frozenset({"scopes", "consented_scopes", "audience", "authorization_details"})
KEY_MEMBERS = frozenset({*IssuanceRequest.model_fields, *ENTITIES, "door", "caller", "issuer"}) - _LISTS
"""Members of input documents that a key may be made of: not what differs each time, nor lists."""


class SourceSection(Section):
    """One source: where it is, whose it is, what is asked of it, who uses it, and what its failure means."""

    name: Label
    owner: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
    url: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    key: tuple[str, ...] = Field(min_length=1, max_length=8)
    scopes: tuple[str, ...] = Field(default=(), max_length=256)
    scope_prefixes: tuple[Annotated[str, StringConstraints(min_length=1, max_length=256)], ...] = ()
    resource_types: tuple[Annotated[str, StringConstraints(min_length=1, max_length=512)], ...] = ()
    timeout_ms: int = Field(default=50, ge=1, le=10_000)
    max_age_s: int = Field(default=60, ge=0, le=86_400)
    on_failure: Literal["deny", "stale", "absent"] = "deny"
    max_stale_s: int | None = Field(default=None, ge=1, le=30 * 86_400)
    token_file: str = Field(default="", description="a file with a bearer token")
    tls_cert: str = ""
    tls_key: str = ""
    ca: str = ""

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme == "file":
            if parts.netloc or not parts.path or parts.query or parts.fragment:
                raise ValueError("must name a file as in file:///srv/people.json or file:people.json")
            return url
        if parts.scheme == "lifecycle":
            if url != ENDINGS:
                raise ValueError(f"must be {ENDINGS}: what the log knows of the endings of clients")
            return url
        if parts.scheme not in ("http", "https"):
            raise ValueError(f"must begin with http://, https:// or file:, or be {ENDINGS}")
        if not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError("must be printable ASCII without spaces")
        if "@" in parts.netloc:
            raise ValueError("must not hold a login: see token_file, or tls_cert and tls_key")
        try:
            named = parts.hostname and parts.port != 0
        except ValueError:
            named = None
        if not named or parts.fragment:
            raise ValueError("must name a host, no port or one that is a number and not 0, and no fragment")
        return url

    @field_validator("key")
    @classmethod
    def _pointers(cls, key: tuple[str, ...]) -> tuple[str, ...]:
        for pointer in key:
            if parse_pointer(pointer)[0] not in KEY_MEMBERS:
                raise ValueError(f"{pointer!r}: a key is made of {', '.join(sorted(KEY_MEMBERS))}, or what is in them")
        if len(set(key)) != len(key):
            raise ValueError("every pointer may stand once")
        return key

    @field_validator("scopes")
    @classmethod
    def _scopes(cls, scopes: tuple[str, ...]) -> tuple[str, ...]:
        for scope in scopes:
            if not is_scope_token(scope):
                raise ValueError(f"{scope!r} is neither {GATE!r} nor a scope (RFC 6749, section 3.3)")
        return scopes

    @model_validator(mode="after")
    def _whole(self) -> "SourceSection":
        scheme, host = urlsplit(self.url).scheme, urlsplit(self.url).hostname or ""
        if not (self.scopes or self.scope_prefixes or self.resource_types):
            raise ValueError(f"source {self.name!r} needs scopes, scope_prefixes or resource_types: who uses it")
        if (self.on_failure == "stale") is not (self.max_stale_s is not None):
            raise ValueError(f"source {self.name!r}: max_stale_s belongs to on_failure = 'stale', which needs it")
        if self.max_stale_s is not None and self.max_stale_s < self.max_age_s:
            raise ValueError(f"source {self.name!r}: max_stale_s must not be less than max_age_s")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError(f"source {self.name!r}: tls_cert and tls_key belong together")
        if scheme != "https" and (self.tls_cert or self.ca):
            raise ValueError(f"source {self.name!r}: tls_cert, tls_key and ca need an https URL")
        if self.token_file and (scheme == "file" or (scheme == "http" and not is_loopback(host))):
            raise ValueError(f"source {self.name!r}: a token is sent over https alone (or on loopback)")
        if scheme == "lifecycle" and (self.key != ENDINGS_KEY or self.on_failure == "stale" or self.token_file):
            raise ValueError(
                f"source {self.name!r}: the log has the key {list(ENDINGS_KEY)}, no token, and is never stale"
            )
        if scheme == "file" and self.max_age_s < 2 * FILE_LOOK_S:
            raise ValueError(f"source {self.name!r}: a file is looked at each second: max_age_s must be 2 or more")
        return self

    @property
    def scheme(self) -> str:
        return urlsplit(self.url).scheme

    @property
    def file(self) -> str:
        """The path that a `file:` URL names."""
        return unquote(urlsplit(self.url).path)

    def declared(self) -> Declared:
        """The same, as the decision road sees it."""
        return Declared(
            name=self.name,
            owner=self.owner,
            key=tuple(map(parse_pointer, self.key)),
            uses=(frozenset(self.scopes) - {GATE}) | frozenset(map(resource_package, self.resource_types)),
            prefixes=self.scope_prefixes,
            gate=GATE in self.scopes,
            max_age_s=self.max_age_s,
            on_failure=self.on_failure,
            max_stale_s=self.max_stale_s or 0,
        )
