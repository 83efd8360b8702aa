"""The issuance request: what a token service says when it asks for one token, and the document that policies see."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

_NO_CONTROLS = r"^[^\x00-\x1f\x7f]+$"
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=_NO_CONTROLS)]
"""Bounded so that what identifies a request always fits into its evidence entry."""
Name = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=_NO_CONTROLS)]
FreeObject = dict[str, Any]
ScopeList = Annotated[list[str], Field(max_length=4096)]
ShortList = Annotated[list[str], Field(max_length=256)]


class Strict(BaseModel):
    """Takes no unknown member, and no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Subject(Strict):
    """Whom the token will be about: its `sub`."""

    type: Literal["user", "client", "workload"]
    id: Identifier
    properties: FreeObject | None = None


class Client(Strict):
    """The OAuth client that gets the token (RFC 6749, section 2)."""

    id: Identifier
    properties: FreeObject | None = None


class Actor(Strict):
    """The requesting party of a token exchange (RFC 8693, section 2.1)."""

    type: Name
    id: Identifier
    properties: FreeObject | None = None


class Session(Strict):
    """The sign-in session at the authorization server."""

    id: Identifier


class Grant(Strict):
    """What a refresh or a code hangs on, as the server knows it; `started` in seconds since the epoch."""

    id: Identifier | None = None
    scopes: ScopeList | None = None
    audience: ShortList | None = None
    started: int | None = None


class Authentication(Strict):
    """How the subject signed in (OpenID Connect Core 1.0, section 2); `auth_time` in seconds since the epoch."""

    acr: str | None = None
    amr: ShortList | None = None
    auth_time: int | None = None


class IssuanceRequest(Strict):
    """The wish for one token. Null is absent in every member defined here; the free objects stay verbatim."""

    grant_type: Name = Field(description="OAuth grant: authorization_code, client_credentials, refresh_token, ...")
    client: Client
    scopes: list[str] = Field(description="What the server would put into the token, its defaults included.")
    phase: Literal["authorization", "token"] = "token"
    token_type: Name = Field(default="access_token", description="access_token, refresh_token, id_token, ...")
    subject: Subject | None = Field(
        default=None, description="Needed, except for client_credentials: there the client."
    )
    actor: Actor | None = None
    session: Session | None = None
    grant: Grant | None = None
    subject_token: FreeObject | None = Field(
        default=None, description="Validated claims of the token exchanged or asserted; never the token itself."
    )
    consented_scopes: ScopeList | None = None
    audience: ShortList | None = None
    authorization_details: list[FreeObject] | None = Field(
        default=None, max_length=256, description="RFC 9396, section 2."
    )
    authentication: Authentication | None = None
    cnf: FreeObject | None = Field(default=None, description="Confirmation claim (RFC 7800).")
    context: FreeObject | None = Field(default=None, description="Whatever else the token service knows.")

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: item for name, item in value.items() if item is not None or name not in cls.model_fields}
        return value

    @model_validator(mode="after")
    def _complete(self) -> "IssuanceRequest":
        if self.subject is None and self.grant_type != "client_credentials":
            raise ValueError("subject is required for every grant type but client_credentials")
        for detail in self.authorization_details or ():
            if not isinstance(detail.get("type"), str):
                raise ValueError(
                    "authorization_details: every entry needs a string member 'type' (RFC 9396, section 2)"
                )
        return self

    def document(self) -> dict[str, Any]:
        """The request as policies see it, defaults filled in, scopes once each, absent members left out."""
        document = {name: _plain(value) for name, value in self.__dict__.items() if value is not None}
        document["scopes"] = list(dict.fromkeys(self.scopes))
        if self.subject is None:
            document["subject"] = {"type": "client", "id": self.client.id}
        return document


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return {name: item for name, item in value.__dict__.items() if item is not None}
    return value


class SourceValue(Strict):
    """What an external system answered, and how far it can be trusted."""

    value: Any = None
    status: Literal["fresh", "stale", "failed", "absent"]
    age_ms: int | None = None


class PolicyInput(IssuanceRequest):
    """The whole `input` of a policy: the request and what the bridge adds. Source of rego/schemas/input.json."""

    id: str
    time: str = Field(description="RFC 3339, UTC")
    door: str
    caller: str
    issuer: str = Field(description="The authorization server, from the caller's configuration.")
    scope: str | None = Field(default=None, description="Inside scope_prefix packages: the scope being asked.")
    sources: dict[str, SourceValue] | None = None
    salt: str | None = Field(
        default=None,
        description="Random, where evidence.personal is set: keeps the document from being guessed. Not to be used.",
    )
