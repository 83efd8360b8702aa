"""What the OpenAPI document says of these routes."""

from collections.abc import Mapping
from typing import Any

from bridge.doors.logout import backchannel, jwks, ticket

_ERROR = {
    "type": "object",
    "required": ["error", "error_description"],
    "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}},
}


def described(problem: Mapping[str, Any]) -> dict[str, Any]:
    """The paths; `problem`: the content of an error of other doors."""
    return {backchannel.PATH: _backchannel(), ticket.PATH: _page(), jwks.PATH: _keys(problem)}


def _backchannel() -> dict[str, Any]:
    form = {"type": "object", "required": ["logout_token"], "properties": {"logout_token": {"type": "string"}}}
    told = {"content": {"application/json": {"schema": _ERROR}}}
    return {
        "post": {
            "summary": "A logout token (OpenID Connect Back-Channel Logout 1.0); it is the credential.",
            "operationId": "backchannelLogout",
            "security": [],
            "requestBody": {"required": True, "content": {backchannel.FORM: {"schema": form}}},
            "responses": {
                "200": {"description": "What it names has ended, durably."},
                "400": {"description": "It is not believed.", **told},
                "503": {"description": "Nothing is known to have ended: send it again.", **told},
            },
        }
    }


def _page() -> dict[str, Any]:
    html = {"content": {"text/html": {"schema": {"type": "string"}}}}
    return {
        "get": {
            "summary": "The page that tells applications of a logout in the user's browser.",
            "operationId": "frontchannelLogout",
            "security": [],
            "parameters": [{"name": "ticket", "in": "path", "required": True, "schema": {"type": "string"}}],
            "responses": {
                "200": {"description": "A frame for each application.", **html},
                "404": {"description": "No ticket, or one that has run out.", **html},
                "503": {"description": "The log cannot be read now.", **html},
            },
        }
    }


def _keys(problem: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "get": {
            "summary": "The public key of logout tokens, a JWK Set.",
            "operationId": "logoutKeys",
            "security": [],
            "responses": {
                "200": {
                    "description": "The set.",
                    "content": {"application/jwk-set+json": {"schema": {"type": "object"}}},
                },
                "404": {"description": "Nothing is signed here.", "content": problem},
            },
        }
    }
