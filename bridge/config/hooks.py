"""The configuration of the hooks, `[hooks.NAME]`: what a product does not show, and how it is asked back."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from bridge.config.section import Label, Section, http_url, keeps_secrets


class HydraSection(Section):
    """Ory Hydra: its admin API, where consents are looked up."""

    admin_url: str = Field(default="", description="where its admin API listens; empty: no consent is looked up")
    admin_token_file: str = Field(default="", description="a file with what a gateway before that API wants to see")
    admin_header: str = Field(default="", description="the header for it; empty: a bearer token")
    admin_timeout_ms: int = Field(default=500, ge=10, le=2000, description="one look-up")
    without_consent: Literal["deny", "requested"] = Field(
        default="deny",
        description="where a consent is not found: deny, or what the client asked for must all be allowed",
    )
    jwt_bearer_subject: Literal["user", "client", "workload"] = Field(
        default="user", description="whom assertions of the jwt-bearer grant are about"
    )

    @field_validator("admin_url")
    @classmethod
    def _address(cls, url: str) -> str:
        return http_url(url) if url else url

    @model_validator(mode="after")
    def _whole(self) -> "HydraSection":
        if self.admin_token_file and not self.admin_url:
            raise ValueError("admin_token_file needs admin_url")
        if self.admin_token_file and not keeps_secrets(self.admin_url):
            raise ValueError("admin_token_file: it is sent over https alone (or on loopback)")
        if self.admin_header and not self.admin_token_file:
            raise ValueError("admin_header needs admin_token_file")
        return self


class OpaSection(Section):
    """OPA's Data API: what is known of the tokens of those who read nothing but `allow`."""

    token_lifetime: int | None = Field(default=None, ge=1, description="how long they live (s), if that is fixed")


class IndigoIamSection(Section):
    """INDIGO IAM: what its callout does not show."""

    grant_type: Label | None = Field(default=None, description="of requests with a user")
    client_grant_type: Label | None = Field(default=None, description="of requests without one")
    token_type: Label = "access_token"  # noqa: S105 - a kind of token
    audience: tuple[Annotated[str, StringConstraints(min_length=1, max_length=512)], ...] = Field(
        default=(), max_length=64, description="whom its tokens are for, if that is fixed"
    )
    token_lifetime: int | None = Field(default=None, ge=1, description="how long they live (s), if that is fixed")


class OktaSection(Section):
    """Okta: what its event may not show."""

    grant_type: Label | None = Field(default=None, description="where the request names none")


class HooksSection(Section):
    """What each hook is told; one without settings has no table here."""

    hydra: HydraSection = HydraSection()
    indigo_iam: IndigoIamSection = IndigoIamSection()
    okta: OktaSection = OktaSection()
    opa: OpaSection = OpaSection()
