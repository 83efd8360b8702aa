"""The OpenAPI 3.1 document, made from the models: what the code accepts is what the document says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from bridge import __version__
from bridge.doors import bundles, data_api, issued, lifecycle, native
from bridge.doors._lifecycle import RevocationReply, StatusReply, TreeReply
from bridge.doors.authzen import door as authzen
from bridge.doors.authzen import metadata, search, wire
from bridge.doors.curity import door as curity
from bridge.doors.hooks import hydra, indigo_iam, okta, wso2
from bridge.doors.logout._described import described as logout
from bridge.model.issuance import IssuanceRequest
from bridge.model.issued import IssuedReport

_REFUSALS = {
    "400": "The body breaks the contract; the error names each field.",
    "401": "Unknown caller.",
    "403": "The caller may not do this.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "421": "On loopback without callers: the Host is not localhost.",
}
_WRONG_TYPE = {"415": "Not application/json."}
_UNKNOWN = {**_WRONG_TYPE, "503": "It is not known to be in the log: repeat it."}


class ProblemError(BaseModel):
    """One field that does not fit."""

    pointer: str
    detail: str


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[ProblemError] = []


@dataclass(frozen=True, slots=True)
class _Post:
    """An operation with a body. `also`: further refusals. `or_else`: another form of the reply."""

    path: str
    name: str
    summary: str
    asked: type[BaseModel]
    reply: type[BaseModel]
    good: str
    error: type[BaseModel] = Problem
    error_type: str = "application/problem+json"
    also: Mapping[str, str] = field(default_factory=dict)
    or_else: type[BaseModel] | None = None


def _authzen(path: str, name: str, summary: str, asked: type[BaseModel], reply: type[BaseModel]) -> _Post:
    good = "The decision; a denial too, and every fault is a denial."
    return _Post(path, name, summary, asked, reply, good, wire.AuthzenError, "application/json")


_POSTS = (
    _Post(
        native.PATH,
        "decide",
        "Ask whether a token may be minted.",
        IssuanceRequest,
        native.DecisionReply,
        "The decision; a denial too, and every fault is a denial.",
        also=_WRONG_TYPE,
    ),
    _Post(
        issued.PATH,
        "report",
        "Report a token that was minted.",
        IssuedReport,
        issued.ReportedReply,
        "It is in the log, with how it breaks its decision.",
        also={**_WRONG_TYPE, "503": "It is not in the log: repeat it."},
    ),
    _Post(
        lifecycle.END,
        "end",
        "A client, a subject, a session, a delegation or a grant ends.",
        lifecycle.LifecycleOrder,
        RevocationReply,
        "It is in the log, and from there on nothing is granted to it.",
        also=_UNKNOWN,
        or_else=TreeReply,
    ),
    _Post(
        lifecycle.REINSTATE,
        "reinstate",
        "A client, a subject or a delegation that ended begins anew.",
        lifecycle.LifecycleOrder,
        RevocationReply,
        "It is in the log; nothing old comes back.",
        also={**_UNKNOWN, "409": "It has not ended, or never begins anew."},
        or_else=TreeReply,
    ),
    _authzen(
        authzen.EVALUATION_PATH, "evaluate", "Ask one AuthZEN tuple.", wire.EvaluationRequest, wire.EvaluationReply
    ),
    _authzen(
        authzen.EVALUATIONS_PATH,
        "evaluateAll",
        "Ask a batch of AuthZEN tuples.",
        wire.EvaluationsRequest,
        wire.EvaluationsReply,
    ),
    _Post(
        data_api.PATH,
        "decideAsData",
        "Ask as OPA's Data API is asked.",
        data_api.DataRequest,
        data_api.DataReply,
        "The decision; a denial too, and every fault is a denial.",
        data_api.DataError,
        "application/json",
    ),
    _authzen(curity.PATH, "evaluateScopes", "Ask about scopes in Curity's form.", wire.ScopesRequest, wire.ScopesReply),
)


@dataclass(frozen=True, slots=True)
class _Hook:
    """The call of an authorization server, in its own words; `codes`: what it is answered with beside the refusals."""

    path: str
    name: str
    summary: str
    codes: Mapping[str, str]


_HYDRA = {"200": "Mint, with these claims.", "204": "Mint.", "403": "Do not mint; or the caller may not do this."}
_HOOKS: tuple[_Hook, ...] = (
    _Hook(hydra.PATH, "hydraToken", "Ory Hydra's token hook.", _HYDRA),
    _Hook(hydra.REFRESH_PATH, "hydraRefresh", "Ory Hydra's refresh token hook.", _HYDRA),
    _Hook(
        indigo_iam.PATH,
        "indigoIam",
        "INDIGO IAM's scope policy callout.",
        {"200": "The scopes that are left.", "403": "A denial, and every fault; or the caller may not do this."},
    ),
    _Hook(
        okta.PATH,
        "okta",
        "Okta's token inline hook.",
        {"200": "A patch of the access token, or an error object for every no.", "204": "As it is."},
    ),
    _Hook(
        wso2.PATH,
        "wso2",
        "WSO2 Identity Server's pre-issue access token action.",
        {
            "200": "Operations on the access token, or a denial.",
            "400": "The body is none of that action's.",
            "500": "Nothing was decided.",
        },
    ),
)
_UNSAID = {
    "500": "A policy failed.",
    "501": "Nobody can list what is searched for.",
    "503": "It could not be found out, or not be written down: ask again.",
}


def _search(
    path: str, name: str, summary: str, asked: type[BaseModel], reply: type[BaseModel] = wire.EntitiesReply
) -> _Post:
    good = "What is found; an empty list says that there is nothing."
    return _Post(path, name, summary, asked, reply, good, wire.AuthzenError, "application/json", _UNSAID)


_SEARCHES = (
    _search(search.PATHS["subject"], "searchSubject", "Who may do this to that?", wire.SubjectSearch),
    _search(search.PATHS["resource"], "searchResource", "To what may this subject do this?", wire.ResourceSearch),
    _search(
        search.PATHS["action"],
        "searchAction",
        "What may this subject do to that?",
        wire.ActionSearch,
        wire.ActionsReply,
    ),
)


def document() -> dict[str, Any]:
    """The document for everything that is served."""
    used: list[type[BaseModel]] = [
        Problem,
        TreeReply,
        StatusReply,
        *(model for post in (*_POSTS, *_SEARCHES) for model in (post.asked, post.reply, post.error)),
    ]
    models = list(dict.fromkeys(used))
    refs, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    schemas = {model: refs[model, "validation"] for model in models}
    refusals = _refused(_REFUSALS, schemas[Problem], "application/problem+json")

    def get(
        summary: str,
        media: str,
        *,
        secured: bool,
        codes: tuple[str, ...] = ("200",),
        named: str = "",
        may_lack: bool = False,
    ) -> dict[str, Any]:
        answers: dict[str, Any] = {code: {"description": summary, "content": {media: {"schema": {}}}} for code in codes}
        if secured:
            answers.update({code: refusals[code] for code in ("401", "403", "421")})
        described: dict[str, Any] = {"summary": summary, "responses": answers}
        if not secured:
            described["security"] = []
        if named or may_lack:
            answers["404"] = {"description": "There is none.", "content": refusals["403"]["content"]}
        if named:
            described["parameters"] = [{"name": named, "in": "path", "required": True, "schema": {"type": "string"}}]
        return {"get": described}

    def on_client() -> dict[str, Any]:
        def described(summary: str, name: str, schema: Any, codes: tuple[str, ...], *query: str) -> dict[str, Any]:
            texts = {**_REFUSALS, **_UNKNOWN, "404": "The log knows nothing of it."}
            named = [(one, "path") for one in ("issuer", "id")] + [(one, "query") for one in query]
            boolean, text = {"type": "boolean"}, {"type": "string"}
            return {
                "summary": summary,
                "operationId": name,
                "parameters": [
                    {"name": one, "in": at, "required": at == "path", "schema": boolean if one == "dry_run" else text}
                    for one, at in named
                ],
                "responses": {
                    "200": {"description": "What hangs on it.", "content": {"application/json": {"schema": schema}}},
                    **_refused({c: texts[c] for c in codes}, schemas[Problem], "application/problem+json"),
                },
            }

        tree, usual = schemas[TreeReply], ("400", "401", "403", "421", "503")
        either = {"anyOf": [schemas[RevocationReply], tree]}
        return {
            "get": described("What hangs on a client.", "showClient", tree, (*usual, "404")),
            "delete": described("A client ends.", "deleteClient", either, usual, "reason", "dry_run"),
        }

    def on_status() -> dict[str, Any]:
        good = {"schema": schemas[StatusReply]}
        return {
            "get": {
                "summary": "The endings about which not all is done yet.",
                "operationId": "showUnconfirmed",
                "responses": {
                    "200": {"description": "Those, oldest first.", "content": {"application/json": good}},
                    **_refused(
                        {**{c: _REFUSALS[c] for c in ("401", "403", "421")}, "503": "The log cannot be read now."},
                        schemas[Problem],
                        "application/problem+json",
                    ),
                },
            }
        }

    return {
        "openapi": "3.1.0",
        "info": {"title": "Issuance authorizer bridge", "version": __version__, "license": {"name": "Apache-2.0"}},
        "security": [{"bearer": []}, {"mtls": []}, {}],
        "paths": {
            **{post.path: _described(post, schemas) for post in (*_POSTS, *_SEARCHES)},
            **{hook.path: _hooked(hook, schemas[Problem]) for hook in _HOOKS},
            lifecycle.CLIENT: on_client(),
            lifecycle.STATUS: on_status(),
            **logout(refusals["403"]["content"]),
            metadata.PATH: get("The PDP's metadata (AuthZEN).", "application/json", secured=False, may_lack=True),
            metadata.PATH + "/{path}": get(
                "The same, of an identifier with a path.", "application/json", secured=False, named="path"
            ),
            "/health/live": get("The process answers.", "application/json", secured=False),
            "/health/ready": get("Decisions can be made.", "application/json", secured=False, codes=("200", "503")),
            "/metrics": get("Prometheus metrics.", "text/plain", secured=True),
            "/log/{file}": get(
                "A file of the published log (C2SP tlog-tiles).", "application/octet-stream", secured=True, named="file"
            ),
            bundles.PATH: get(
                "The policy set that decides, as an OPA bundle.",
                "application/gzip",
                secured=True,
                codes=("200", "304"),
                may_lack=True,
            ),
            "/openapi.json": get("This document.", "application/json", secured=True),
        },
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "mtls": {"type": "mutualTLS"},
            },
        },
    }


def _described(post: _Post, schemas: Mapping[type[BaseModel], Any]) -> dict[str, Any]:
    reply = schemas[post.reply]
    reply = reply if post.or_else is None else {"anyOf": [reply, schemas[post.or_else]]}
    answer = {"description": post.good, "content": {"application/json": {"schema": reply}}}
    described = {
        "summary": post.summary,
        "operationId": post.name,
        "requestBody": {"required": True, "content": {"application/json": {"schema": schemas[post.asked]}}},
        "responses": {
            "200": answer,
            **_refused({**_REFUSALS, **post.also}, schemas[post.error], post.error_type),
        },
    }
    return {"post": described}


def _hooked(hook: _Hook, problem: Any) -> dict[str, Any]:
    """Bodies as that product documents them."""
    refusals = _refused(_REFUSALS, problem, "application/problem+json")
    answers = {
        code: {"description": text, "content": {"application/json": {"schema": {"type": "object"}}}}
        for code, text in hook.codes.items()
    }
    for code in refusals.keys() & answers.keys():
        answers[code]["content"].update(refusals[code]["content"])  # type: ignore[attr-defined]
    described = {
        "summary": hook.summary,
        "operationId": hook.name,
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
        "responses": {**refusals, **answers},
    }
    return {"post": described}


def _refused(texts: Mapping[str, str], schema: Any, media: str) -> dict[str, Any]:
    return {status: {"description": text, "content": {media: {"schema": schema}}} for status, text in texts.items()}
