"""Who may call, and what a caller who may not learns: nothing."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.doors.problems import problem_in
from tests.support.bridge import PATH, RunningBridge, bearer, caller, local_bridge, request, running_bridge, token_of

NEW, OLD = "token-new", "token-old"
CALLERS = [
    caller("as", issuer="https://as.example"),
    caller("nameless"),
    caller("rotating", token_sha256=[hashlib.sha256(token.encode()).hexdigest().upper() for token in (OLD, NEW)]),
    caller("native-only", doors=["native"]),
    caller("hooks-only", doors=["hydra"]),
    caller("no-door", doors=[]),
    caller("batch-only", grant_types=["client_credentials"]),
    caller("auditor", "auditor"),
    caller("operator", "operator"),
    caller("everything", "token_service", "auditor", "operator"),
]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBridge]:
    with running_bridge(tmp_path_factory.mktemp("guarded"), callers=CALLERS) as bridge:
        yield bridge


def authorization(value: str) -> dict[str, str]:
    return {"Authorization": value}


def test_a_known_token_is_its_caller_on_record(guarded: RunningBridge) -> None:
    entry = guarded.entry_of(guarded.ask(request("read"), headers=bearer("as"))["decision_id"])
    assert entry["caller"] == "as"
    assert entry["request"]["issuer"] == "https://as.example"


def test_the_issuer_is_the_name_unless_configured(guarded: RunningBridge) -> None:
    reply = guarded.ask(request("read"), headers=bearer("nameless"))
    assert guarded.input_of(reply["decision_id"])["issuer"] == "nameless"


def test_the_issuer_never_comes_from_the_request(guarded: RunningBridge) -> None:
    smuggled = {**bearer("as"), "X-Issuer": "https://evil.example", "Origin": "https://evil.example"}
    body = request("read", context={"issuer": "https://evil.example"})
    reply = guarded.ask(body, headers=smuggled, params={"issuer": "https://evil.example"})
    assert guarded.input_of(reply["decision_id"])["issuer"] == "https://as.example"
    problem_in(guarded.post(request("read", issuer="https://as.example"), headers=bearer("as")), 400)


@pytest.mark.parametrize("token", [OLD, NEW])
def test_both_tokens_hold_while_rotating(guarded: RunningBridge, token: str) -> None:
    reply = guarded.ask(request("read"), headers=authorization(f"Bearer {token}"))
    assert guarded.entry_of(reply["decision_id"])["caller"] == "rotating"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_written_as_one_likes(guarded: RunningBridge, scheme: str) -> None:
    guarded.ask(request("read"), headers=authorization(f"{scheme} {token_of('as')}"))


WRONG = [
    None,
    *("", "Bearer", "Bearer wrong", f"Basic {token_of('as')}", token_of("as"), f"Bearer{token_of('as')}"),
    f"Bearer {token_of('as')} x",
    f"Bearer x {token_of('as')}",
    f"Bearer {token_of('as')[:-1]}",
    f"Bearer {token_of('as')}%00",
    f"Bearer {token_of('as').upper()}",
    f"Bearer {hashlib.sha256(token_of('as').encode()).hexdigest()}",
    "Bearer " + "é",
]


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize("path", [PATH, "/metrics", "/openapi.json"])
def test_nobody_gets_in_without_a_token_that_is_known(guarded: RunningBridge, path: str, value: str | None) -> None:
    headers = [] if value is None else [(b"Authorization", value.encode())]
    method = "POST" if path == PATH else "GET"
    response = guarded.client.request(method, path, headers=headers)
    problem = problem_in(response, 401)
    assert problem["detail"] == "unknown caller"
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_two_credentials_are_none(guarded: RunningBridge) -> None:
    """A proxy might look at the other one."""
    both = [("Authorization", f"Bearer {token_of('as')}"), ("Authorization", "Bearer other")]
    response = guarded.client.post(PATH, json=request("read"), headers=both)
    problem_in(response, 401)


@pytest.mark.parametrize("place", ["access_token", "token"])
def test_a_token_in_the_address_or_the_body_is_none(guarded: RunningBridge, place: str) -> None:
    response = guarded.client.post(PATH, params={place: token_of("as")}, json={place: token_of("as")})
    problem_in(response, 401)
    assert token_of("as") not in guarded.log_text()


def test_who_is_unknown_learns_nothing_of_the_body(guarded: RunningBridge) -> None:
    for body in (b"{", b"x" * 5_000_000, request("read"), request(*map(str, range(10_000)))):
        assert problem_in(guarded.post(body), 401) == problem_in(guarded.post(request("read")), 401)


@pytest.mark.parametrize("name", ["auditor", "operator", "hooks-only", "no-door"])
def test_a_caller_without_the_role_or_the_door_is_forbidden(guarded: RunningBridge, name: str) -> None:
    for body in (request("read"), b"{"):
        response = guarded.post(body, headers=bearer(name))
        assert problem_in(response, 403)["detail"] == "not allowed"
        assert "WWW-Authenticate" not in response.headers


@pytest.mark.parametrize("name", ["as", "native-only", "batch-only", "everything"])
def test_a_caller_with_the_role_and_the_door_may_ask(guarded: RunningBridge, name: str) -> None:
    assert guarded.ask(request("read"), headers=bearer(name))["outcome"] == "allow"


def test_grant_types_may_be_limited(guarded: RunningBridge) -> None:
    user = {"subject": {"type": "user", "id": "alice"}}
    before = len(guarded.entries())
    for grant_type in ("authorization_code", "CLIENT_CREDENTIALS", "client_credentials "):
        body = request("read", grant_type=grant_type, **user)
        problem_in(guarded.post(body, headers=bearer("batch-only")), 403)
    assert len(guarded.entries()) == before
    assert guarded.ask(request("read"), headers=bearer("batch-only"))["outcome"] == "allow"


@pytest.mark.parametrize(("name", "status"), [("as", 403), ("auditor", 403), ("operator", 200), ("everything", 200)])
def test_metrics_are_for_operators(guarded: RunningBridge, name: str, status: int) -> None:
    response = guarded.get("/metrics", headers=bearer(name))
    assert response.status_code == status
    assert ("issuance_decisions" in response.text) == (status == 200)


@pytest.mark.parametrize("name", [entry["name"] for entry in CALLERS if entry["name"] != "rotating"])
def test_the_openapi_document_is_for_any_caller(guarded: RunningBridge, name: str) -> None:
    assert guarded.get("/openapi.json", headers=bearer(name)).json()["openapi"].startswith("3.1")


def test_refusals_are_counted_by_their_reason(guarded: RunningBridge) -> None:
    def counted(reason: str) -> float:
        text = guarded.get("/metrics", headers=bearer("operator")).text
        lines = [line for line in text.splitlines() if line.startswith("issuance_refused_calls_total")]
        return sum(float(line.rpartition(" ")[2]) for line in lines if f'"{reason}"' in line)

    before = {reason: counted(reason) for reason in ("unauthenticated", "forbidden", "forbidden_grant_type")}
    guarded.post(request("read"))
    guarded.post(request("read"), headers=bearer("auditor"))
    guarded.post(
        request("read", grant_type="password", subject={"type": "user", "id": "a"}), headers=bearer("batch-only")
    )
    assert {reason: counted(reason) - count for reason, count in before.items()} == dict.fromkeys(before, 1.0)


def test_with_callers_any_host_name_will_do(guarded: RunningBridge) -> None:
    headers = {**bearer("as"), "Host": "pdp.example"}
    assert guarded.post(request("read"), headers=headers).status_code == 200


HOSTS = {
    200: ["localhost", "localhost:1", "LOCALHOST", "localhost.", "127.0.0.1", "127.0.0.2:8380", "[::1]", "[::1]:80"],
    421: [
        *("evil.example", "evil.example:8380", "localhost.evil.example", "127.0.0.1.evil.example", "localhost@evil"),
        *(
            "192.0.2.1",
            "0.0.0.0",
            "[::]",
            "[::2]:80",
            "2130706433",
            "0x7f.1",
            "127.1",
            "[::ffff:192.0.2.1]",
            "xlocalhost",
        ),
        *("localhost:80@evil.example", "localhost:evil.example", "[::1]:evil.example", "::1"),
        *("localhost:80:80", "", ":80", "[", "]", "127.0.0.1, evil.example"),
    ],
}


@pytest.mark.parametrize(("status", "host"), [(status, host) for status, hosts in HOSTS.items() for host in hosts])
@pytest.mark.parametrize("path", [PATH, "/metrics", "/openapi.json"])
def test_without_callers_only_this_machine_is_meant(bridge: RunningBridge, path: str, status: int, host: str) -> None:
    method = "POST" if path == PATH else "GET"
    content = b'{"grant_type": "client_credentials", "client": {"id": "c"}, "scopes": []}'
    headers = {"Host": host, "Content-Type": "application/json"}
    response = bridge.client.request(method, path, content=content, headers=headers)
    if status == 200:
        assert response.status_code == 200, response.text
    else:
        problem_in(response, status)


def test_a_forwarded_host_counts_for_nothing(bridge: RunningBridge) -> None:
    headers = {"Host": "evil.example", "X-Forwarded-Host": "localhost", "Forwarded": "host=localhost"}
    problem_in(bridge.post(request("read"), headers=headers), 421)


def test_without_callers_everyone_is_local_and_may_do_all(bridge: RunningBridge) -> None:
    reply = bridge.ask(request("read"), headers=authorization("Bearer whatever"))
    assert bridge.entry_of(reply["decision_id"])["caller"] == "local"
    assert bridge.get("/metrics").status_code == 200


def test_health_needs_nothing(guarded: RunningBridge) -> None:
    for path in ("/health/live", "/health/ready"):
        assert guarded.get(path).status_code == 200
        assert guarded.get(path, headers=authorization("Bearer wrong")).status_code == 200


async def test_a_token_beside_others_is_found_wherever_it_stands(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(50)]
    async with local_bridge(tmp_path, callers=[caller(name) for name in names]) as bridge:
        for name in (names[0], names[24], names[49]):
            reply = await bridge.ask(request("read"), headers=bearer(name))
            assert bridge.entry_of(reply["decision_id"])["caller"] == name


async def test_a_value_that_is_two_callers_secret_is_nobody_s(tmp_path: Path) -> None:
    whole = hashlib.sha256(b"Bearer " + token_of("as").encode()).hexdigest()
    callers = [caller("as"), caller("by-header", header="Authorization", token_sha256=whole)]
    async with local_bridge(tmp_path, callers=callers) as bridge:
        response = await bridge.session.post(PATH, json=request("read"), headers=bearer("as"))
        assert response.status == 401


def test_a_refused_call_is_logged_without_its_token(guarded: RunningBridge) -> None:
    secret: dict[str, Any] = authorization("Bearer very-secret-token")
    httpx.post(f"{guarded.url}{PATH}", headers=secret, json=request("read"), trust_env=False)
    assert guarded.log_events("call_refused")
    assert "very-secret-token" not in guarded.log_text()
