"""The configuration of the AuthZEN doors, `[authzen]`."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, field_validator

from bridge.config.section import Label, Section
from bridge.model.scope import is_scope_token


class PlainScopes(Section):
    """Tuples that ask for one scope each and show no gate: which ones they are, and what is not shown."""

    resource_type: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    action: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    grant_type: Label
    token_type: Label = "access_token"  # noqa: S105 - a kind of token
    subject_type: Literal["user", "client", "workload"] = Field(
        default="client", description="for subjects whose own type is none of these"
    )
    audience: tuple[str, ...] = Field(default=(), description="whom the server's tokens are for")
    token_lifetime: int | None = Field(default=None, ge=1, description="how long the server's tokens live, s")


class CurityScope(Section):
    """How one scope looks when Curity asks about it; `path` is the resource's id, if it has one."""

    resource_type: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    path: Annotated[str, StringConstraints(max_length=512)] = ""
    action: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    scope: Annotated[str, StringConstraints(min_length=1, max_length=512)]

    @field_validator("scope")
    @classmethod
    def _token(cls, scope: str) -> str:
        if not is_scope_token(scope):
            raise ValueError("must be a scope (RFC 6749, section 3.3) that does not begin with issue:")
        return scope


class CuritySection(Section):
    """Curity's form: how its authorizer is configured, and what it does not show."""

    available_actions: tuple[Annotated[str, StringConstraints(min_length=1, pattern=r"^[^:]+$")], ...] = ("read",)
    default_action: Annotated[str, StringConstraints(min_length=1, pattern=r"^[^:]+$")] = "read"
    scopes: tuple[CurityScope, ...] = ()
    grant_type: Label | None = Field(default=None, description="where the context does not tell it")
    token_type: Label = "access_token"  # noqa: S105 - a kind of token
    subject_type: Literal["user", "client", "workload"] = Field(
        default="user", description="for subjects whose own type is none of these"
    )
    audience: tuple[str, ...] = Field(default=(), description="whom the server's tokens are for")
    token_lifetime: int | None = Field(default=None, ge=1, description="how long the server's tokens live, s")

    @field_validator("scopes")
    @classmethod
    def _told_apart(cls, scopes: tuple[CurityScope, ...]) -> tuple[CurityScope, ...]:
        looks = [(one.resource_type, one.path, one.action) for one in scopes]
        if len(set(looks)) != len(looks):
            raise ValueError("resource_type, path and action together may stand once")
        return scopes


class AuthzenSection(Section):
    """The AuthZEN door."""

    pdp: str = Field(default="", description="the PDP's identifier, an https URL; without it no metadata is served")
    capabilities: tuple[Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^urn:")], ...] = (
        "urn:ietf:params:authzen:token-issuance",
    )
    max_items: int = Field(default=200, ge=1, le=256, description="evaluations in one batch")
    max_results: int = Field(default=1000, ge=1, le=10_000, description="of a search, in one reply")
    search_deadline_ms: int = Field(default=10_000, ge=100, le=60_000, description="a whole search")
    metadata_key: str = Field(default="", description="a PEM file: the Ed25519 key that signs the metadata")
    plain_scopes: tuple[PlainScopes, ...] = ()
    curity: CuritySection = CuritySection()

    @field_validator("pdp")
    @classmethod
    def _identifier(cls, pdp: str) -> str:
        parts = urlsplit(pdp)  # ValueError for a host or port that is none
        if pdp and (parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment or "?" in pdp):
            raise ValueError("must be an https URL without query and fragment")
        if "@" in parts.netloc:
            raise ValueError("must be an https URL without user and password: it is published")
        if "#" in pdp or not pdp.isascii() or not pdp.isprintable() or " " in pdp:
            raise ValueError("must be printable ASCII without spaces and fragment")
        return pdp

    @field_validator("plain_scopes")
    @classmethod
    def _told_apart(cls, forms: tuple[PlainScopes, ...]) -> tuple[PlainScopes, ...]:
        pairs = [(form.resource_type, form.action) for form in forms]
        if len(set(pairs)) != len(pairs) or any(resource_type == "audience" for resource_type, _ in pairs):
            raise ValueError("each pair of resource_type and action may stand once, and never with audience")
        return forms
