"""The OpenAPI 3.1 document, made from the models: what the code accepts is what the document says."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from bridge import __version__
from bridge.doors import issued, native
from bridge.model.issuance import IssuanceRequest
from bridge.model.issued import IssuedReport

_REFUSALS = {
    "400": "The body breaks the contract; `errors` names each field.",
    "401": "Unknown caller.",
    "403": "The caller may not do this.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "415": "Not application/json.",
    "421": "On loopback without callers: the Host is not localhost.",
}


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


def document() -> dict[str, Any]:
    """The document for everything that is served."""
    models: tuple[type[BaseModel], ...] = (
        IssuanceRequest,
        native.DecisionReply,
        IssuedReport,
        issued.ReportedReply,
        Problem,
    )
    refs, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    asked, decided, report, reported, problem = (refs[(model, "validation")] for model in models)

    def refused(texts: dict[str, str]) -> dict[str, Any]:
        content = {"application/problem+json": {"schema": problem}}
        return {status: {"description": text, "content": content} for status, text in texts.items()}

    refusals = refused(_REFUSALS)

    def post(
        name: str, summary: str, body: dict[str, Any], reply: dict[str, Any], good: str, **also: str
    ) -> dict[str, Any]:
        answer = {"description": good, "content": {"application/json": {"schema": reply}}}
        described = {
            "summary": summary,
            "operationId": name,
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
            "responses": {"200": answer, **refusals, **refused(also)},
        }
        return {"post": described}

    def get(
        summary: str, media: str, *, secured: bool, codes: tuple[str, ...] = ("200",), named: str = ""
    ) -> dict[str, Any]:
        answers: dict[str, Any] = {code: {"description": summary, "content": {media: {"schema": {}}}} for code in codes}
        if secured:
            answers.update({code: refusals[code] for code in ("401", "403", "421")})
        described: dict[str, Any] = {"summary": summary, "responses": answers}
        if not secured:
            described["security"] = []
        if named:
            described["parameters"] = [{"name": named, "in": "path", "required": True, "schema": {"type": "string"}}]
            answers["404"] = {"description": "There is none.", "content": answers["401"]["content"]}
        return {"get": described}

    return {
        "openapi": "3.1.0",
        "info": {"title": "Issuance authorizer bridge", "version": __version__, "license": {"name": "Apache-2.0"}},
        "security": [{"bearer": []}, {"mtls": []}, {}],
        "paths": {
            native.PATH: post(
                "decide",
                "Ask whether a token may be minted.",
                asked,
                decided,
                "The decision; a denial too, and every fault is a denial.",
            ),
            issued.PATH: post(
                "report",
                "Report a token that was minted.",
                report,
                reported,
                "It is in the log, with how it breaks its decision.",
                **{"503": "It is not in the log: repeat it."},
            ),
            "/health/live": get("The process answers.", "application/json", secured=False),
            "/health/ready": get("Decisions can be made.", "application/json", secured=False, codes=("200", "503")),
            "/metrics": get("Prometheus metrics.", "text/plain", secured=True),
            "/log/{file}": get(
                "A file of the published log (C2SP tlog-tiles).", "application/octet-stream", secured=True, named="file"
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
