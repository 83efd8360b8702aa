"""The configuration of what follows an ending: `[lifecycle]`, and `[[servers]]`, where it is done."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from bridge.config.section import Section, http_url, keeps_secrets

_OF_KIND = {
    "hydra": frozenset({"admin_url", "admin_token_file", "admin_header", "list_clients_s"}),
    "rfc7009": frozenset({"revocation_url", "client_id", "client_secret_file"}),
}
_OF_ALL = frozenset({"issuer", "kind", "timeout_ms"})


class LifecycleSection(Section):
    """When it is time to look at what is not confirmed."""

    alarm_after_s: int = Field(default=60, ge=1, le=86_400, description="an ending that is not settled then alarms")


class AuthorizationServerSection(Section):
    """One authorization server, and how something is ended there."""

    issuer: Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^[^\x00-\x1f\x7f]+$")]
    kind: Literal["hydra", "rfc7009"]
    timeout_ms: int = Field(default=5000, ge=10, le=15_000, description="one request to it")
    admin_url: str = Field(default="", description="hydra: where its admin API listens")
    admin_token_file: str = Field(default="", description="hydra: what a gateway before that API wants to see")
    admin_header: str = Field(default="", description="hydra: the header for it; empty: a bearer token")
    list_clients_s: int = Field(
        default=60, ge=0, le=86_400, description="hydra: how often its clients are listed; 0: never"
    )
    revocation_url: str = Field(default="", description="rfc7009: where tokens are taken back")
    client_id: Annotated[str, StringConstraints(max_length=512)] = ""
    client_secret_file: str = Field(default="", description="rfc7009: the client's secret; empty: a public client")

    @field_validator("admin_url", "revocation_url")
    @classmethod
    def _address(cls, url: str) -> str:
        return http_url(url) if url else url

    @model_validator(mode="after")
    def _whole(self) -> "AuthorizationServerSection":
        mine = _OF_KIND[self.kind]
        if stray := sorted(self.model_fields_set - mine - _OF_ALL):
            raise ValueError(f"{stray[0]} is nothing of kind {self.kind!r}; there are {', '.join(sorted(mine))}")
        needed = ("admin_url",) if self.kind == "hydra" else ("revocation_url", "client_id")
        if lacking := [name for name in needed if not getattr(self, name)]:
            raise ValueError(f"kind {self.kind!r} needs {lacking[0]}")
        if self.admin_token_file and not keeps_secrets(self.admin_url):
            raise ValueError("admin_token_file: it is sent over https alone (or on loopback)")
        if self.admin_header and not self.admin_token_file:
            raise ValueError("admin_header needs admin_token_file")
        if self.revocation_url and not keeps_secrets(self.revocation_url):
            raise ValueError("revocation_url: tokens are sent over https alone (or on loopback)")
        return self
