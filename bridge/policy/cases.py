"""Case tables: client x grant type x scope -> what the bridge must say. YAML files that never decide."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from bridge.errors import PolicyRefused
from bridge.model import gate
from bridge.model.issuance import (
    Actor,
    Authentication,
    FreeObject,
    Grant,
    Identifier,
    IssuanceRequest,
    Name,
    ScopeList,
    Session,
    ShortList,
    SourceValue,
    Strict,
    Subject,
)
from bridge.model.times import parse_rfc3339
from bridge.policy.load import one_document
from bridge.policy.syntax import load_yamls

GRANT_TYPES = (*gate.GRANT_TYPES, "ciba", "password", "implicit", "pre_authorized_code")
"""The grant types that have a name of the bridge's own; others may come, too."""

_ANYBODY = {"type": "user", "id": "user-1"}
_NOT_ASKED = {"name", "client", "grant_type", "scope", "issuer", "time", "sources"}
_EXPECTED = frozenset({"expect", "codes", "granted", "limit", "claims", "require"})
_LIMITS = frozenset({"audience", "authorization_details", "token_lifetime"})
"""Of the merged limit; the scopes that it left are told by `granted`."""

OneOrMore = Name | Annotated[list[Name], Field(min_length=1)]
ScopeText = Annotated[str, Field(description="One request's scopes, space-delimited (RFC 6749, section 3.3).")]


class Asked(Strict):
    """The request. A list stands for as many requests; `scope` may name several, for one request."""

    client: OneOrMore | None = Field(default=None, description="A client's id, or several: a request for each.")
    grant_type: OneOrMore | None = Field(default=None, description="A grant type, or several: a request for each.")
    scope: ScopeText | Annotated[list[ScopeText], Field(min_length=1)] | None = None
    issuer: Identifier | None = Field(default=None, description="The authorization server; absent: local.")
    time: str | None = Field(default=None, description="When it is asked (RFC 3339); absent: now.")
    subject: Subject | None = Field(default=None, description="Absent: a user, or the client for client_credentials.")
    phase: Literal["authorization", "token"] | None = None
    token_type: Name | None = None
    actor: Actor | None = None
    session: Session | None = None
    grant: Grant | None = None
    subject_token: FreeObject | None = None
    consented_scopes: ScopeList | None = None
    audience: ShortList | None = None
    authorization_details: list[FreeObject] | None = None
    authentication: Authentication | None = None
    cnf: FreeObject | None = None
    context: FreeObject | None = None
    sources: dict[str, SourceValue] | None = Field(default=None, description="What external systems answered.")

    @model_validator(mode="after")
    def _at_a_time(self) -> "Asked":
        if self.time is not None and parse_rfc3339(self.time) is None:
            raise ValueError("time must be RFC 3339")
        return self


class Case(Asked):
    """One row: what is asked, and what must be said to it."""

    name: Name
    expect: Literal["allow", "deny", "conditional"]
    codes: list[str] | None = Field(default=None, description="Codes that must be among those that spoke.")
    granted: ScopeText | None = Field(default=None, description="Exactly the scopes granted; not named: not looked at.")
    limit: FreeObject | None = Field(default=None, description="Keys of the merged limit; null: must not be there.")
    claims: FreeObject | None = Field(default=None, description="Claims for the token; null: must not be there.")
    require: list[Any] | None = Field(default=None, description="Exactly what is still required.")

    @model_validator(mode="after")
    def _can_fail(self) -> "Case":
        """What looks at nothing would pass whatever the policy says."""
        if empty := sorted(name for name in self.model_fields_set & _EXPECTED if getattr(self, name) is None):
            raise ValueError(f"{', '.join(empty)}: say what is expected, or leave it out")
        if unknown := sorted((self.limit or {}).keys() - _LIMITS):
            raise ValueError(f"limit has no {', '.join(unknown)}; there is: {', '.join(sorted(_LIMITS))}")
        return self


class CaseTable(Strict):
    """One file. `defaults` counts for each case that does not say otherwise, member by member."""

    defaults: Asked = Asked()
    cases: Annotated[list[Case], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Question:
    """One request of a case; `request` as policies see it, less what the bridge adds."""

    file: str
    row: int
    case: Case
    client: str
    grant_type: str
    scope: str
    request: Mapping[str, Any]

    def __str__(self) -> str:
        """Where it stands, and what is asked."""
        return (
            f"{self.file}:{self.row}: {self.case.name!r} ({self.client}, {self.grant_type}, {self.scope or 'no scope'})"
        )


def schema() -> dict[str, Any]:
    """The JSON Schema of a case table."""
    return CaseTable.model_json_schema(mode="validation")


def read_cases(files: Mapping[str, bytes], opa: Path) -> list[Question]:
    """The questions of these tables, in their order. PolicyRefused names every row that is none."""
    found: list[Question] = []
    reasons: list[str] = []
    texts: dict[str, str] = {}
    for file, content in sorted(files.items()):
        try:
            texts[file] = one_document(content, opa)
        except ValueError as error:
            reasons.append(f"{file}:1: {error}")
    for (file, text), value in zip(texts.items(), load_yamls(opa, list(texts.values())), strict=True):
        try:
            found.extend(_read(file, text, value))
        except PolicyRefused as refused:
            reasons.extend(refused.reasons)
    if reasons:
        raise PolicyRefused(reasons)
    return found


def _read(file: str, text: str, value: Any) -> list[Question]:
    rows = _Rows(text)
    if not isinstance(value, dict):
        raise PolicyRefused([f"{file}:1: this is no YAML (a tab at the begin of a row?), or holds no `cases:`"])
    try:
        table = CaseTable.model_validate(value)
    except ValidationError as error:
        raise PolicyRefused([f"{file}:1: {_place(e['loc'])}: {e['msg']}" for e in error.errors()]) from error
    found: list[Question] = []
    reasons: list[str] = []
    for case in table.cases:
        row = rows.of(case.name)
        merged = Case.model_validate({**_told(table.defaults), **_told(case)})
        if missing := [name for name in ("client", "grant_type", "scope") if getattr(merged, name) is None]:
            reasons.append(f"{file}:{row}: {case.name!r}: {', '.join(missing)} must be named, here or in the defaults")
            continue
        for client, grant_type, scope in product(*map(_each, (merged.client, merged.grant_type, merged.scope))):
            try:
                request = _request(merged, client, grant_type, scope)
            except ValidationError as error:
                reasons.extend(f"{file}:{row}: {case.name!r}: {_place(e['loc'])}: {e['msg']}" for e in error.errors())
                break
            found.append(Question(file, row, merged, client, grant_type, scope, request))
    if reasons:
        raise PolicyRefused(reasons)
    return found


def _request(case: Case, client: str, grant_type: str, scope: str) -> dict[str, Any]:
    rest = {name: value for name, value in _told(case).items() if name not in _NOT_ASKED | _EXPECTED}
    if "subject" not in rest and grant_type != "client_credentials":
        rest["subject"] = _ANYBODY
    asked = {**rest, "client": {"id": client}, "grant_type": grant_type, "scopes": list(filter(None, scope.split(" ")))}
    return IssuanceRequest.model_validate(asked).document()


def _told(model: Asked) -> dict[str, Any]:
    """What a row says, and nothing that it leaves open."""
    return model.model_dump(mode="json", exclude_unset=True)


def _each(value: str | list[str] | None) -> list[str]:
    return value if isinstance(value, list) else [value or ""]


def _place(loc: tuple[int | str, ...]) -> str:
    return "/".join(str(step) for step in loc) or "the file"


class _Rows:
    """Where cases stand in a file, by their names; equal names one after the other."""

    def __init__(self, text: str) -> None:
        self._lines = list(enumerate(text.split("\n"), 1))

    def of(self, name: str) -> int:
        named = re.compile(rf"(?:^|[\s{{,-])name:\s*[\"']?{re.escape(name)}[\"']?\s*(?:[,}}#]|$)")
        for place, (row, line) in enumerate(self._lines):
            if named.search(line):
                del self._lines[: place + 1]
                return row
        return 1
