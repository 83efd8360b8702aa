"""The registered keys of an issuance tuple's context, each of one JSON type (AuthZEN token issuance profile)."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bridge.doors._problem import problems_of
from bridge.errors import MalformedRequest
from bridge.model.issuance import FreeObject, Identifier, ShortList


class _Context(BaseModel):
    """What is read of a context; whatever else it has reaches the policies unread, as `input.context`."""

    model_config = ConfigDict(strict=True, extra="ignore")

    client_id: Identifier | None = None
    acr: str | None = None
    amr: ShortList | None = None
    auth_time: int | None = None
    cnf: FreeObject | None = None
    authorization_details: Annotated[list[FreeObject], Field(max_length=256)] | None = None
    subject_token: FreeObject | None = None


def checked_context(context: Mapping[str, Any]) -> None:
    """MalformedRequest when a registered key has a value of another type."""
    try:
        read = _Context.model_validate(dict(context))
    except ValidationError as error:
        raise MalformedRequest([(f"/context{at}", text) for at, text in problems_of(error, "")]) from None
    if not all(isinstance(detail.get("type"), str) for detail in read.authorization_details or ()):
        text = "every entry needs a string member 'type' (RFC 9396, section 2)"
        raise MalformedRequest([("/context/authorization_details", text)])


def members_of(subject: Mapping[str, Any], context: Mapping[str, Any]) -> dict[str, Any]:
    """The members of the input document that a (checked) context gives, and the context itself."""
    client = context.get("client_id")
    if client is None and subject["type"] in ("client", "workload"):
        client = subject["id"]
    authentication = {name: context[name] for name in ("acr", "amr", "auth_time") if context.get(name) is not None}
    verbatim = ("cnf", "authorization_details", "subject_token")
    members: dict[str, Any] = {name: context[name] for name in verbatim if context.get(name) is not None}
    if client is not None:
        members["client"] = {"id": client}
    if authentication:
        members["authentication"] = authentication
    if context:
        members["context"] = context
    return members
