"""What WSO2 and Okta do with an answer, as strict models: what they would refuse or drop makes a test fail."""

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

WSO2_OWN = {"sub", "iss", "aud", "client_id", "aut", "expires_in", "binding_ref", "binding_type", "subject_type", "iat"}
OKTA_SYSTEM = {
    *("acr", "active", "as_uri", "auth_time", "authorization_details", "cid", "client_id", "cnf", "exp", "groups"),
    *("iat", "iss", "jti", "rpt", "rsi", "scope", "scp", "sid", "sub", "token_type", "uid", "username", "ver"),
    *("aid", "amr", "app_id", "at_hash", "c_hash", "idp", "nonce"),
}


@dataclass
class Token:
    """An access token as it would be issued."""

    scopes: list[str]
    claims: dict[str, Any]
    lives: int | None
    audience: list[str] = field(default_factory=list)


def said(response: web.Response) -> Any:
    raw = response.body
    assert isinstance(raw, bytes)
    return json.loads(raw)


def wso2(body: Mapping[str, Any], response: web.Response) -> Token | str:
    """The token, or the error of the client. AssertionError: an operation that the server would not do as told."""
    assert response.content_type == "application/json"
    answer = said(response)
    status = answer["actionStatus"]
    if status == "ERROR":
        assert response.status in (400, 401, 500)
        assert answer.keys() == {"actionStatus", "errorMessage", "errorDescription"}
        return "server_error"
    assert response.status == 200
    if status == "FAILED":
        assert answer.keys() == {"actionStatus", "failureReason", "failureDescription"}
        assert answer["failureReason"].lower() not in ("server_error", "internal_server_error", "500")
        return str(answer["failureReason"])
    assert status == "SUCCESS"
    for one in answer["operations"]:
        assert _wso2_allows(body.get("allowedOperations", []), one["op"], one["path"]), one
    return _wso2_applied(body, answer["operations"])


def _wso2_applied(body: Mapping[str, Any], operations: list[dict[str, Any]]) -> Token:
    was = body["event"]["accessToken"]
    had = {one["name"]: one["value"] for one in was["claims"]}
    token = Token(list(was["scopes"]), copy.deepcopy(had), had.get("expires_in"), list(had.get("aud", [])))
    below = {"scopes": (was["scopes"], token.scopes), "aud": (had.get("aud", []), token.audience)}
    indexes: dict[str, list[int]] = {}
    for one in operations:
        head, _, last = one["path"].rpartition("/")
        match one["op"], head, last:
            case "remove", "/accessToken/scopes" | "/accessToken/claims/aud", index:
                before, after = below[head.rpartition("/")[2]]
                assert re.fullmatch("[0-9]+", index)
                indexes.setdefault(head, []).append(int(index))
                after.remove(before[int(index)])  # by the list of the request, whatever was removed before
            case "replace", "/accessToken/claims", "expires_in":
                assert isinstance(one["value"], int) and one["value"] > 0
                token.lives = token.claims["expires_in"] = one["value"]
            case "add", "/accessToken/claims", "-":
                name, value = one["value"]["name"], one["value"]["value"]
                assert had and name not in had and name not in token.claims
                assert name.lower() != "scope" and name not in WSO2_OWN
                assert type(value) in (str, int, float, bool) or (
                    type(value) is list and all(type(item) is str for item in value)
                )
                token.claims[name] = value
            case "replace", "/accessToken/claims", name:
                assert name in had and not name.startswith("aud") and not re.fullmatch("[+-]?[0-9]+|-", name)
                assert not isinstance(had[name], list)
                token.claims[name] = one["value"]
            case "remove", "/accessToken/claims", name:
                assert name in had and not name.startswith("aud") and not re.fullmatch("[+-]?[0-9]+|-", name)
                del token.claims[name]
            case "remove", path, index:
                name = path.removeprefix("/accessToken/claims/")
                assert "/" not in name and isinstance(had.get(name), list)
                token.claims[name].remove(had[name][int(index)])
            case _:
                raise AssertionError(one)
    for found in indexes.values():
        assert found == sorted(found, reverse=True)
    return token


def _wso2_allows(operations: Any, op: str, path: str) -> bool:
    """The server's own comparison: the path itself, or all of it up to its last slash."""
    paths = [listed for one in operations if one["op"] == op for listed in one["paths"]]
    return path in paths or path[: path.rindex("/") + 1] in paths


def okta(body: Mapping[str, Any], response: web.Response) -> Token | str:
    """The token, or the error of the client. AssertionError: what Okta would not take, and then issue as it was."""
    was = body["data"]["access"]
    token = Token(
        list(was["scopes"]), copy.deepcopy(was["claims"]), was.get("token", {}).get("lifetime", {}).get("expiration")
    )
    aud = was["claims"].get("aud", [])
    token.audience = [aud] if isinstance(aud, str) else list(aud)
    if response.status == 204:
        assert not response.body
        return token
    assert (response.status, response.content_type) == (200, "application/json")
    assert isinstance(response.body, bytes) and len(response.body) < 256 * 1024
    answer = said(response)
    if "error" in answer:
        assert answer.keys() == {"error"} and answer["error"].keys() == {"errorSummary"}
        return "server_error"
    assert answer.keys() == {"commands"}
    for command in answer["commands"]:
        assert command["type"] == "com.okta.access.patch"  # no ID token need be asked for
        for one in command["value"]:
            assert one.keys() == {"op", "path", "value"}
            if one["path"] == "/token/lifetime/expiration":
                assert one["op"] == "replace" and type(one["value"]) is int and 300 <= one["value"] <= 86_400
                token.lives = one["value"]
                continue
            head, name = one["path"][:8], one["path"][8:]
            assert head == "/claims/" and name and "/" not in name and "~" not in name and name not in OKTA_SYSTEM
            assert one["op"] == ("replace" if name in token.claims else "add")
            token.claims[name] = one["value"]
            if name == "aud":
                token.audience = [one["value"]] if isinstance(one["value"], str) else list(one["value"])
    return token
