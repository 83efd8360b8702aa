"""What the AuthZEN doors take and give, as OpenAPI tells it. Members beyond these are passed over."""

from typing import Any, Literal

from pydantic import BaseModel, Field

Properties = dict[str, Any] | None


class SubjectEntity(BaseModel):
    """Who: of a tuple about issuance `user`, `client` or `workload`, and the `sub` that the token will carry."""

    type: str
    id: str
    properties: Properties = None


class ActionEntity(BaseModel):
    """What: of a tuple about issuance a gate (`issue:<token_type>:<grant_type>`) or one scope, verbatim."""

    name: str
    properties: Properties = None


class ResourceEntity(BaseModel):
    """On what: type `audience` is about issuance, and the id is the target."""

    type: str
    id: str
    properties: Properties = None


class EvaluationRequest(BaseModel):
    """One tuple."""

    subject: SubjectEntity
    action: ActionEntity
    resource: ResourceEntity
    context: dict[str, Any] | None = None


class EvaluationOptions(BaseModel):
    """How a batch is answered."""

    evaluations_semantic: Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"] | None = None


class EvaluationsRequest(BaseModel):
    """A batch. Members of an item replace the defaults beside the batch whole; what results is judged item by item."""

    subject: dict[str, Any] | None = Field(default=None, description="default: see SubjectEntity")
    action: dict[str, Any] | None = Field(default=None, description="default: see ActionEntity")
    resource: dict[str, Any] | None = Field(default=None, description="default: see ResourceEntity")
    context: dict[str, Any] | None = Field(default=None, description="default")
    evaluations: list[dict[str, Any]] = Field(
        min_length=1, description="EvaluationRequest, less what the defaults give; absent or empty: the single form"
    )
    options: EvaluationOptions | None = None


class IssuanceShaping(BaseModel):
    """How a permit is narrowed (AuthZEN profile for token issuance); all of it must be understood but `claims`."""

    token_lifetime: int | None = Field(default=None, ge=1, description="seconds")
    granted_scope: str | None = None
    audience: list[str] | None = None
    authorization_details: list[dict[str, Any]] | None = None
    claims: dict[str, Any] | None = None
    crit: list[str] | None = None


class IssuanceExtension(BaseModel):
    """Our own members: what a step-up or consent must bring, and the id of the decision that is on record."""

    decision_id: str | None = None
    require: list[str | dict[str, Any]] | None = None


class ItemError(BaseModel):
    """What is wrong with an item of a batch."""

    status: int
    message: str


class DecisionContext(BaseModel):
    """What goes with a decision; of other tuples also what their policy gives."""

    issuance: IssuanceShaping | None = None
    issuance_ext: IssuanceExtension | None = None
    reason_admin: dict[str, Any] | None = Field(default=None, description="codes, for operators only")
    error: ItemError | None = None


class EvaluationReply(BaseModel):
    """The decision on one tuple."""

    decision: bool
    context: DecisionContext | None = None


class EvaluationsReply(BaseModel):
    """The decisions, in the order of the tuples; of a request without tuples the one decision."""

    evaluations: list[EvaluationReply] | None = None
    decision: bool | None = None
    context: DecisionContext | None = None


class ScopesRequest(BaseModel):
    """Curity's batch: an item for each scope. All of it may also stand in one member `input`."""

    subject: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    evaluations: list[dict[str, Any]] = Field(min_length=1, description="`resource` {type, id} and `action` {name}")


class ScopeReply(BaseModel):
    """The decision on one scope."""

    decision: bool


class ScopesReply(BaseModel):
    """The decisions, as many as items, in their order."""

    evaluations: list[ScopeReply]


class AuthzenError(BaseModel):
    """What is wrong with the request."""

    error: str


class SearchedEntity(BaseModel):
    """What is searched for: of which type. An identifier is passed over."""

    type: str
    properties: Properties = None


class PageRequest(BaseModel):
    """Which part of what is found."""

    limit: int | None = Field(default=None, ge=0, description="results in one reply; 0: not said")
    token: str | None = Field(default=None, description="next_token of the reply before; all else must be the same")
    properties: Properties = None


class SubjectSearch(BaseModel):
    """Who may do this to that?"""

    subject: SearchedEntity
    action: ActionEntity
    resource: ResourceEntity
    context: dict[str, Any] | None = None
    page: PageRequest | None = None


class ResourceSearch(BaseModel):
    """To what may this subject do this?"""

    subject: SubjectEntity
    action: ActionEntity
    resource: SearchedEntity
    context: dict[str, Any] | None = None
    page: PageRequest | None = None


class ActionSearch(BaseModel):
    """What may this subject do to that?"""

    subject: SubjectEntity
    resource: ResourceEntity
    context: dict[str, Any] | None = None
    page: PageRequest | None = None


class PageReply(BaseModel):
    """Which part this is; an empty `next_token` says that nothing comes after it."""

    next_token: str
    count: int
    total: int


class FoundEntity(BaseModel):
    """A subject or a resource."""

    type: str
    id: str
    properties: Properties = None


class FoundAction(BaseModel):
    """An action."""

    name: str
    properties: Properties = None


class EntitiesReply(BaseModel):
    """What is found."""

    results: list[FoundEntity]
    page: PageReply | None = None


class ActionsReply(BaseModel):
    """The actions that are found."""

    results: list[FoundAction]
    page: PageReply | None = None
