"""The HTTP of the AuthZEN door: statuses, the echoed request id, and who may ask."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from bridge.doors._body import MAX_BODY_BYTES
from tests.authzen.asking import EVALUATION, EVALUATIONS, JSON, batch, gate, post, user, write_saying
from tests.support.bridge import RunningBridge, bearer, caller, running_bridge

PATHS = (EVALUATION, EVALUATIONS)
BODY = {"subject": user(), "action": {"name": "open"}, "resource": {"type": "door", "id": "d"}}
CALLERS = [
    caller("as"),
    caller("native-only", doors=["native"]),
    caller("authzen-only", doors=["authzen"]),
    caller("no-door", doors=[]),
    caller("batch-only", grant_types=["client_credentials"]),
    caller("auditor", "auditor"),
    caller("operator", "operator"),
]
ODD_IDS = [b"plain", b"a b\tc", b"\xc3\xa9t\xc3\xa9", b"x" * 300, b"x" * 4000, b"", b'"{}%00', b"a,b"]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBridge]:
    folder = tmp_path_factory.mktemp("guarded")
    with running_bridge(folder, write_saying(folder / "rego"), callers=CALLERS) as running:
        yield running


def raw(bridge: RunningBridge, request: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body of the reply to these bytes, since clients bend what they do not like."""
    with socket.create_connection(("127.0.0.1", bridge.port), timeout=20) as connection:
        connection.sendall(request)
        with connection.makefile("rb") as reply:  # not to its end: that waits for a body announced which never comes
            first, *lines = iter(lambda: reply.readline().rstrip(b"\r\n"), b"")
            headers = {name: value.strip() for name, _, value in (line.partition(b":") for line in lines)}
            body = reply.read(int(headers[b"Content-Length"]))
    return int(first.split()[1]), headers, body


def sent(
    request_id: bytes, *, path: str = EVALUATION, method: str = "POST", body: bytes | None = None, **headers: Any
) -> bytes:
    content = json.dumps(BODY).encode() if body is None else body
    own = {"Host": "localhost", "Connection": "close", "Content-Length": str(len(content)), **JSON}
    lines = {**own, **{name.replace("_", "-"): value for name, value in headers.items()}}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}X-Request-ID: ".encode() + request_id + b"\r\n\r\n" + content


@pytest.mark.parametrize("request_id", ODD_IDS)
@pytest.mark.parametrize("path", PATHS)
def test_any_request_id_comes_back_as_it_was(bridge: RunningBridge, path: str, request_id: bytes) -> None:
    status, headers, body = raw(bridge, sent(request_id, path=path))
    assert (status, json.loads(body)["decision"]) == (200, True)
    assert headers[b"X-Request-ID"] == request_id
    entry = bridge.entries()[-1]
    assert entry["kind"] == "evaluation"
    assert len(entry["request_id"]) <= 256
    if request_id == b"plain":
        assert entry["request_id"] == "plain"


REFUSED: list[tuple[int, dict[str, Any]]] = [
    (400, {"body": b"{"}),
    (400, {"body": b""}),
    (400, {"Content_Type": "text/plain"}),
    (404, {"path": "/access/v1/none"}),
    (405, {"method": "GET"}),
    (405, {"method": "PUT", "path": EVALUATIONS}),
    (413, {"Content_Length": str(MAX_BODY_BYTES + 1)}),
    (421, {"Host": "bridge.example"}),
]


@pytest.mark.parametrize(("status", "changed"), REFUSED)
@pytest.mark.parametrize("request_id", [b"r-1", b"\xc3\xa9", b"", b"x" * 300])
def test_the_request_id_comes_back_on_errors(
    bridge: RunningBridge, request_id: bytes, status: int, changed: dict[str, Any]
) -> None:
    got, headers, body = raw(bridge, sent(request_id, **changed))
    assert (got, headers[b"X-Request-ID"]) == (status, request_id)
    assert headers[b"Content-Type"].split(b";")[0] == b"application/json"
    assert isinstance(json.loads(body)["error"], str)
    assert (b"Allow" in headers) == (status == 405)


@pytest.mark.parametrize("request_id", [b"\xff", b"r\x80", b"\xed\xa0\x80", b"\xc0\xaf"])
def test_a_request_id_that_is_no_text_is_a_400_and_decides_nothing(bridge: RunningBridge, request_id: bytes) -> None:
    before = len(bridge.entries())
    for path in (*PATHS, "/access/v1/none"):
        status, headers, body = raw(bridge, sent(request_id, path=path))
        assert (status, json.loads(body)) == (400, {"error": "X-Request-ID must be UTF-8"})
        assert b"X-Request-ID" not in headers
    assert len(bridge.entries()) == before


@pytest.mark.parametrize("request_id", [b"r-1", b"\xc3\xa9"])
def test_the_request_id_comes_back_to_those_who_may_not_ask(guarded: RunningBridge, request_id: bytes) -> None:
    status, headers, body = raw(guarded, sent(request_id))
    assert (status, headers[b"X-Request-ID"], json.loads(body)) == (401, request_id, {"error": "unknown caller"})
    assert headers[b"WWW-Authenticate"].startswith(b"Bearer")
    status, headers, body = raw(guarded, sent(request_id, Authorization=bearer("auditor")["Authorization"]))
    assert (status, headers[b"X-Request-ID"], json.loads(body)) == (403, request_id, {"error": "not allowed"})
    status, headers, _ = raw(guarded, sent(request_id, Authorization=bearer("as")["Authorization"]))
    assert (status, headers[b"X-Request-ID"]) == (200, request_id)


def test_without_a_request_id_there_is_none(bridge: RunningBridge) -> None:
    for path in PATHS:
        response = post(bridge, BODY, path)
        assert response.status_code == 200
        assert "X-Request-ID" not in response.headers
        assert response.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
def test_other_methods_are_a_405_with_allow(bridge: RunningBridge, path: str, method: str) -> None:
    response = bridge.client.request(method, path, headers=JSON)
    assert response.status_code == 405
    assert response.headers["Allow"] == "POST"


TYPES = [
    None,
    "",
    "text/plain",
    "application/jsonx",
    "application/json-seq",
    "json",
    "application/x-www-form-urlencoded",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("content_type", TYPES)
def test_a_wrong_or_absent_content_type_is_a_400(bridge: RunningBridge, path: str, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    response = bridge.client.post(path, content=json.dumps(BODY).encode(), headers=headers)
    assert response.status_code == 400
    assert "Content-Type" in response.json()["error"]


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON", "application/json ;x=1"]
)
def test_content_types_that_are_json(bridge: RunningBridge, content_type: str) -> None:
    response = post(bridge, BODY, EVALUATION, headers={"Content-Type": content_type})
    assert response.json() == {"decision": True}


@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_is_too_large_is_a_413(bridge: RunningBridge, path: str) -> None:
    body = json.dumps({**BODY, "context": {"x": "x" * MAX_BODY_BYTES}}).encode()
    try:
        response = bridge.client.post(path, content=body, headers=JSON)
    except httpx.HTTPError:
        return  # the bridge hung up while the body was still on its way
    assert response.status_code == 413
    assert "error" in response.json()


@pytest.mark.parametrize("name", ["native-only", "no-door", "auditor", "operator"])
@pytest.mark.parametrize("path", PATHS)
def test_who_may_not_ask_gets_a_403_before_anything_is_read(guarded: RunningBridge, path: str, name: str) -> None:
    for body in (BODY, b"{", batch(gate(), "s:a")):
        response = post(guarded, body, path, headers=bearer(name))
        assert (response.status_code, response.json()) == (403, {"error": "not allowed"})


def test_the_door_is_named_authzen(guarded: RunningBridge) -> None:
    assert post(guarded, BODY, headers=bearer("authzen-only")).json() == {"decision": True}


def test_a_grant_type_that_the_caller_may_not_use_is_a_403_for_the_whole_batch(guarded: RunningBridge) -> None:
    may, may_not = gate(grant_type="client_credentials"), gate(grant_type="authorization_code")
    before = len(guarded.entries())
    for items in ((may_not,), (may_not, "s:a"), (may, may_not), (may, "s:a", may_not)):
        response = post(guarded, batch(*items), headers=bearer("batch-only"))
        assert (response.status_code, response.json()) == (403, {"error": "not allowed"})
    assert len(guarded.entries()) == before
    reply = post(guarded, batch(may, "s:a"), headers=bearer("batch-only")).json()
    assert [one["decision"] for one in reply["evaluations"]] == [True, True]
    assert post(guarded, BODY, headers=bearer("batch-only")).json() == {"decision": True}


def test_unknown_callers_learn_nothing_else(guarded: RunningBridge) -> None:
    for body in (BODY, b"{", b""):
        for headers in ({}, bearer("nobody"), {"Authorization": "Basic YTpi"}):
            response = post(guarded, body, headers=headers)
            assert (response.status_code, response.json()) == (401, {"error": "unknown caller"})
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
