"""What the lifecycle's door answers."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from bridge.doors.native import EvidenceReply
from bridge.model.ended import Effect, What
from bridge.model.step import Standing


class TokenTold(BaseModel):
    """What came of a token; `observed`: the HTTP status, an error code, or a fault. `failed`: repeat the order."""

    standing: Standing
    observed: dict[str, int | str]


class RevocationReply(BaseModel):
    """It is in the log, and from there on nothing is granted to what ended."""

    id: str
    what: What
    effect: Effect
    evidence: EvidenceReply
    repeated: Literal[True] | None = Field(default=None, description="it had ended, or begun anew, before")
    foreign: Literal[True] | None = Field(
        default=None, description="no caller has this issuer: only tokens that name it are refused by it"
    )
    tokens: list[TokenTold] | None = Field(default=None, description="in the order in which they were given")
    frontchannel_logout: str | None = Field(
        default=None, description="of a session: the page that tells its applications in the user's own browser"
    )


class StepTold(BaseModel):
    """What was tried last about an ending; ids that are hidden for good are null."""

    step: str
    connector: str
    standing: Standing
    asked: str
    observed: dict[str, Any]
    attempts: int
    time: str
    what: What
    issuer: str
    client: str | None = None
    subject: str | None = None
    session: str | None = None
    grant: str | None = None


class UnconfirmedTold(BaseModel):
    """An ending about which not all is done; `steps`: those that were tried."""

    ending: int
    ending_id: str
    time: str
    age_s: int
    what: What
    issuer: str
    client: str | None = None
    subject: str | None = None
    session: str | None = None
    grant: str | None = None
    steps: list[StepTold]


class StatusReply(BaseModel):
    """The oldest 1,000 endings that are not settled, oldest first."""

    unconfirmed: list[UnconfirmedTold]


class SubjectTold(BaseModel):
    """Whose the delegation is."""

    type: str
    id: str


class EndedTold(BaseModel):
    """That it has ended, or what it hangs on: by the entry at `index`."""

    what: What
    index: int
    time: str


class DelegationTold(BaseModel):
    """What was granted to a client for a subject; times in RFC 3339."""

    issuer: str
    client: str
    subject: SubjectTold
    scopes: list[str]
    actors: list[str] | None = None
    sessions: list[str] | None = None
    grants: list[str] | None = None
    granted: int
    first: str
    last: str
    minted: int = Field(description="tokens that were reported")
    live_until: str | None = Field(default=None, description="the latest expiry that was reported")
    ended: EndedTold | None = None
    exchanged: "list[DelegationTold] | None" = Field(default=None, description="tokens exchanged for these")


class TreeReply(BaseModel):
    """What hangs on a client, or on what would end; `exchanged`: for tokens of others whose chain names it."""

    what: What
    issuer: str
    client: dict[str, str] | None = None
    subject: dict[str, str] | None = None
    session: dict[str, str] | None = None
    grant: dict[str, str] | None = None
    registered: str | None = Field(default=None, description="when it was imported last")
    ended: EndedTold | None = None
    delegations: list[DelegationTold]
    exchanged: list[DelegationTold]
    more: Literal[True] | None = Field(
        default=None, description="there are more than 1,000, or more than eight exchanges deep"
    )
