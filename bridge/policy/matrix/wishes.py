"""The requests that are tried: of a registered client, by somebody who signed in well and consented to all."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bridge.model.times import now_ms
from bridge.model.verdict import Requirement
from bridge.policy.answer import Wish
from bridge.policy.matrix.model import Kind

USER = {"type": "user", "id": "matrix-user"}
THUMBPRINT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
MEMBERS = (
    "actor",
    "audience",
    "authentication",
    "authorization_details",
    "cnf",
    "consented_scopes",
    "context",
    "grant",
    "session",
    "subject_token",
)
"""Optional members of a request that may make the difference."""


def wish(
    issuer: str, client: str, kind: Kind, scopes: Sequence[str], *, answer: tuple[str, ...] | None = None, **more: Any
) -> Wish:
    """A request that shows whatever a server could show; `more` is laid on top, None takes a member away."""
    itself = {"type": "client", "id": client}
    seconds = now_ms() // 1000
    request: dict[str, Any] = {
        "grant_type": kind.grant_type,
        "token_type": kind.token_type,
        "phase": "token",
        "client": {"id": client},
        "subject": itself if kind.grant_type == "client_credentials" else USER,
        "scopes": list(scopes),
        "consented_scopes": list(scopes),
        "authentication": {"amr": ["pwd", "otp", "hwk", "user", "mfa"], "auth_time": seconds - 1},
        "cnf": {"jkt": THUMBPRINT, "x5t#S256": THUMBPRINT},
        "session": {"id": "matrix-session"},
    }
    if kind.grant_type not in ("client_credentials", "token_exchange", "jwt_bearer", "saml2_bearer"):
        request["grant"] = {"id": "matrix-grant", "scopes": list(scopes), "started": seconds - 1}
    if kind.grant_type in ("token_exchange", "jwt_bearer", "saml2_bearer"):
        subject_token = {"sub": USER["id"], "scope": " ".join(scopes), "client_id": client, "may_act": {"sub": client}}
        request |= {"subject_token": subject_token, "actor": itself}
    laid = {name: value for name, value in {**request, **more}.items() if value is not None}
    return Wish(laid, issuer, answer=answer)


def variations(issuer: str, client: str, kind: Kind, scope: str, audience: Sequence[str]) -> Iterator[Wish]:
    """Other requests for one scope: for each audience, by another subject, at the authorization endpoint."""
    yield wish(issuer, client, kind, [scope])
    for target in audience[:4]:
        yield wish(issuer, client, kind, [scope], audience=[target])
    for subject_type in ("user", "client", "workload"):
        yield wish(issuer, client, kind, [scope], subject={"type": subject_type, "id": client})
    yield wish(issuer, client, kind, [scope], phase="authorization")


def as_of_now(asked: Wish) -> Wish:
    """The request of a case as if it were made now: its sign-in and its grant are as old as they were then."""
    if asked.time_ms is None:
        return asked
    later = (now_ms() - asked.time_ms) // 1000
    request = dict(asked.request)
    for member, name in (("authentication", "auth_time"), ("grant", "started")):
        if isinstance(request.get(member, {}).get(name), int):
            request[member] = {**request[member], name: request[member][name] + later}
    return Wish(request, asked.issuer, None, asked.sources)


def moved(template: Wish, kind: Kind, issuer: str, client: str) -> Wish:
    """The request of a case, for another client and kind of token."""
    request = {**template.request, "client": {"id": client}, **_members(kind)}
    base = wish(issuer, client, kind, template.request["scopes"]).request
    subject: Mapping[str, Any] = request.get("subject", {})
    if (subject.get("type") == "client") != (kind.grant_type == "client_credentials"):
        request["subject"] = base["subject"]
    for name in ("grant", "subject_token", "actor", "consented_scopes"):
        if name in base:
            request.setdefault(name, base[name])
    return Wish(request, issuer, template.time_ms, template.sources)


def _members(kind: Kind) -> dict[str, str]:
    return {"grant_type": kind.grant_type, "token_type": kind.token_type}


def stepped_up(asked: Wish, missing: Iterable[Requirement]) -> Wish:
    """The same request, after what was `missing`: a sign-in as required, and consent."""
    request = dict(asked.request)
    authentication = dict(request.get("authentication", {}))
    for one in missing:
        if one == "consent":
            request["consented_scopes"] = request["scopes"]
        elif isinstance(one, dict):
            if one.get("acr_values"):
                authentication["acr"] = one["acr_values"][0]
            if "max_age" in one:
                authentication["auth_time"] = (now_ms() if asked.time_ms is None else asked.time_ms) // 1000
            if "amr" in one:
                authentication["amr"] = [*authentication.get("amr", ()), *one["amr"]]
    return Wish({**request, "authentication": authentication}, asked.issuer, asked.time_ms, asked.sources)


def without_each(asked: Wish) -> Iterator[tuple[str, Wish]]:
    """The request without one of its optional members each, by name."""
    for name in MEMBERS:
        if name in asked.request:
            rest = {key: value for key, value in asked.request.items() if key != name}
            yield name, Wish(rest, asked.issuer, asked.time_ms, asked.sources)
    subject = asked.request.get("subject", {})
    if subject.get("properties"):
        bare = {key: value for key, value in subject.items() if key != "properties"}
        yield "subject.properties", Wish({**asked.request, "subject": bare}, asked.issuer, asked.time_ms, asked.sources)
    for source in asked.sources or {}:
        rest = {key: value for key, value in (asked.sources or {}).items() if key != source}
        yield f"sources.{source}", Wish(asked.request, asked.issuer, asked.time_ms, rest)
