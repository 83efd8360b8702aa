"""The configuration of logout: `[logout]`, whom we tell (`[[relying_parties]]`) and hear (`[[logout_senders]]`)."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, field_validator, model_validator

from bridge.config.section import Section, http_url, keeps_secrets
from bridge.model.issuance import Identifier


def _page(url: str) -> str:
    """An address that may have a query, as those of relying parties may (Back-Channel Logout 1.0, section 2.2)."""
    if not url:
        return url
    address, mark, query = url.partition("?")
    host = urlsplit(http_url(address)).hostname or ""
    labels = host.removesuffix(".").split(".")  # what DNS has no room for, clients refuse in ways of their own
    named = all(0 < len(label) < 64 for label in labels) and len(host) < 254
    if not named or not all(character.isalnum() or character in "-._:" for character in host):
        raise ValueError(
            "must name a host by letters, digits, dots and hyphens, at most 63 between two dots, or an IP address"
        )
    if "#" in query or not query.isascii() or not query.isprintable() or " " in query:
        raise ValueError("must be printable ASCII without spaces and fragment")
    return f"{address}{mark}{query}"


class LogoutSection(Section):
    """What logout tokens are signed with, and where browsers find the front-channel page."""

    signing_key: str = Field(default="", description="a PEM private key: RSA, P-256 or Ed25519; signs logout tokens")
    signing_key_id: Annotated[str, StringConstraints(max_length=256)] = Field(
        default="", description="`kid` of the tokens; empty: the key's thumbprint (RFC 7638)"
    )
    token_lifetime_s: int = Field(default=120, ge=10, le=600, description="until a logout token expires")
    public_url: str = Field(default="", description="where browsers reach this bridge; empty: no front-channel page")
    post_logout_redirect_uri: str = Field(default="", description="where that page leads on to")

    _address = field_validator("public_url")(lambda url: http_url(url) if url else url)
    _onward = field_validator("post_logout_redirect_uri")(_page)

    @model_validator(mode="after")
    def _whole(self) -> "LogoutSection":
        if self.signing_key_id and not self.signing_key:
            raise ValueError("signing_key_id needs signing_key")
        if self.post_logout_redirect_uri and not self.public_url:
            raise ValueError("post_logout_redirect_uri needs public_url: it is a link on the page there")
        if self.public_url and not keeps_secrets(self.public_url):
            raise ValueError("public_url must be https (or loopback): the session's id leaves through it")
        return self


class RelyingPartySection(Section):
    """A client with sign-in sessions of its own, and how it is told that one has ended."""

    issuer: Identifier
    client_id: Identifier
    backchannel_logout_uri: Annotated[str, StringConstraints(max_length=2048)] = ""
    frontchannel_logout_uri: Annotated[str, StringConstraints(max_length=2048)] = ""
    session_required: bool = Field(default=False, description="it wants to be told which session (`sid`)")
    subject_type: Literal["public", "pairwise"] = Field(
        default="public", description="pairwise: it knows subjects by other ids than the log, and is told none"
    )
    session_check_url: Annotated[str, StringConstraints(max_length=2048)] = Field(
        default="", description="where it says whether it still accepts a session"
    )
    session_check_token_file: str = Field(default="", description="a file with a bearer token for that")
    timeout_ms: int = Field(default=5000, ge=10, le=30_000, description="one request to it")

    _addresses = field_validator("backchannel_logout_uri", "frontchannel_logout_uri", "session_check_url")(_page)

    @model_validator(mode="after")
    def _whole(self) -> "RelyingPartySection":
        if not (self.backchannel_logout_uri or self.frontchannel_logout_uri or self.session_check_url):
            raise ValueError(
                f"relying party {self.client_id!r} needs backchannel_logout_uri, frontchannel_logout_uri or "
                "session_check_url"
            )
        if self.session_check_token_file and not self.session_check_url:
            raise ValueError(f"relying party {self.client_id!r}: session_check_token_file needs session_check_url")
        for name in ("backchannel_logout_uri", "frontchannel_logout_uri", "session_check_url"):
            if (url := getattr(self, name)) and not keeps_secrets(url):
                raise ValueError(f"relying party {self.client_id!r}: {name} must be https (or loopback)")
        return self


class LogoutSenderSection(Section):
    """An OpenID provider whose logout tokens are taken here."""

    issuer: Identifier
    audience: Identifier = Field(description="`aud` of its tokens for us: our client id there")
    jwks_url: Annotated[str, StringConstraints(max_length=2048)] = ""
    jwks_file: str = ""
    require_exp: bool = Field(default=True, description="refuse tokens without `exp`")
    max_age_s: int = Field(default=300, ge=10, le=86_400, description="how old (`iat`) a token may be")

    _address = field_validator("jwks_url")(_page)

    @model_validator(mode="after")
    def _whole(self) -> "LogoutSenderSection":
        if bool(self.jwks_url) == bool(self.jwks_file):
            raise ValueError(f"sender {self.issuer!r} needs one of jwks_url and jwks_file: where its keys are")
        if self.jwks_url and not keeps_secrets(self.jwks_url):
            raise ValueError(f"sender {self.issuer!r}: jwks_url must be https (or loopback): keys come from there")
        return self
