"""What came in secret goes nowhere: not into a reply, not into the process log, not into the evidence folder."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.model.mask import SECRET_NAMES, SECRET_SUFFIXES
from tests.support.bridge import PATH, RunningBridge, bearer, caller, local_bridge, request, running_bridge, token_of
from tests.support.policies import POLICIES, write_policies

SECRET = "S3CR3T-7f1c"


@pytest.fixture(scope="module")
def verbose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBridge]:
    """A bridge that says all it can, with one policy that fails and shows the whole request in its claims."""
    folder = tmp_path_factory.mktemp("verbose")
    broken = {
        "issuance.scope.broken": "allow if to_number(input.context.note) > 0",
        "issuance.scope.echo": 'allow := true\nclaims["request"] := input',
    }
    with running_bridge(
        folder,
        write_policies(folder / "rego", {**POLICIES, **broken}),
        log={"format": "json", "level": "debug"},
        callers=[caller("as"), caller("operator", "operator")],
    ) as bridge:
        yield bridge


def everything_kept(bridge: RunningBridge) -> dict[str, bytes]:
    """The process log and every file of the evidence folder."""
    files = [path for path in bridge.evidence.rglob("*") if path.is_file()]
    assert any(path.name.endswith(".sqlite") for path in files)
    return {"process log": bridge.log_text().encode(), **{path.name: path.read_bytes() for path in files}}


def assert_nowhere(bridge: RunningBridge, secret: str, *replies: str) -> None:
    for name, content in {
        **everything_kept(bridge),
        **{f"reply {n}": r.encode() for n, r in enumerate(replies)},
    }.items():
        at = content.find(secret.encode())
        assert at < 0, f"in {name}: {content[max(0, at - 100) : at + 50]!r}"


NAMES = [*SECRET_NAMES, *SECRET_SUFFIXES, *(f"my_{suffix}" for suffix in SECRET_SUFFIXES)]
NAMES += ["Authorization", "COOKIE", "accessToken", "client_assertion", "Client_Secret"]


def test_members_with_secret_names_are_masked_before_anyone_sees_them(verbose: RunningBridge) -> None:
    secrets = {name: f"{SECRET}-{name}" for name in NAMES}
    body = request(
        "read",
        "echo",
        "detailed",
        subject={"type": "client", "id": "c", "properties": {**secrets, "list": [secrets]}},
        client={"id": "c", "properties": secrets},
        actor={"type": "user", "id": "a", "properties": secrets},
        subject_token={"sub": "bob", **secrets},
        cnf={"deep": {"er": [[secrets]]}},
        context={"headers": secrets, "refresh_token": [SECRET, [SECRET]]},
        authorization_details=[{"type": "payment", **secrets}],
    )
    response = verbose.post(body, headers=bearer("as"))
    reply = response.json()
    assert reply["outcome"] == "allow"
    document = verbose.input_of(reply["decision_id"])
    assert document["client"]["properties"] == dict.fromkeys(NAMES, "***")
    assert document["context"] == {"headers": dict.fromkeys(NAMES, "***"), "refresh_token": ["***", ["***"]]}
    assert document["subject_token"] == {"sub": "bob", **dict.fromkeys(NAMES, "***")}
    assert_nowhere(verbose, SECRET, response.text)


@pytest.mark.parametrize("name", ["codec", "tokens", "secretary", "note", "password_changed", "code_challenge"])
def test_a_name_that_is_only_like_a_secrets_stays(verbose: RunningBridge, name: str) -> None:
    reply = verbose.ask(request("read", context={name: "plain"}), headers=bearer("as"))
    assert verbose.input_of(reply["decision_id"])["context"] == {name: "plain"}


def test_numbers_and_objects_under_a_secret_name_stay(verbose: RunningBridge) -> None:
    context = {"code": 7, "access_token": {"exp": 1, "scope": "a"}, "secret": None, "cookie": True}
    reply = verbose.ask(request("read", context=context), headers=bearer("as"))
    assert verbose.input_of(reply["decision_id"])["context"] == context


def malformed_bodies() -> list[bytes]:
    """A secret at every place where a body may be wrong."""
    wrong: list[Any] = [
        request("read", grant_type=[SECRET]),
        request("read", phase=SECRET),
        request("read", subject={"type": SECRET, "id": "a"}),
        request("read", subject=SECRET),
        request("read", client=SECRET),
        request("read", client={"id": SECRET + "\n"}),
        request("read", client={"id": SECRET * 100}),
        request("read", audience=SECRET),
        request("read", audience=[{"x": SECRET}]),
        request("read", authentication={"auth_time": SECRET}),
        request("read", authentication={"amr": SECRET}),
        request("read", authorization_details=[SECRET]),
        request("read", authorization_details=[{"type": [SECRET]}]),
        request("read", context=SECRET),
        request("read", unknown=SECRET),
        request("read", issuer=SECRET),
        request("read", grant_type="authorization_code", context={"password": SECRET}),
        {**request(), "scopes": SECRET},
        {**request(), "scopes": [{"x": SECRET}]},
        request(*(f"{SECRET}{n}" for n in range(300))),
        [SECRET],
        SECRET,
    ]
    raw = [
        f'{{"code": "{SECRET}"'.encode(),
        f'{{"code": "{SECRET}" "x"}}'.encode(),
        f'{{"a": "{SECRET}", "a": "{SECRET}"}}'.encode(),
        f"{SECRET}".encode(),
        f'{{"a": {"1" * 5000}, "b": "{SECRET}"}}'.encode(),
        f'{{"a": "\\ud800", "b": "{SECRET}"}}'.encode(),
        f'{{"a": "{SECRET}'.encode() + b"\xff",
        b"[" * 200 + f'"{SECRET}"'.encode() + b"]" * 200,
        f'{{"context": {{"password": "{SECRET}{"x" * 5_000_000}"}}}}'.encode(),
    ]
    return [json.dumps(body).encode() for body in wrong] + raw


def test_an_error_quotes_no_value(verbose: RunningBridge) -> None:
    for body in malformed_bodies():
        response = verbose.post(body, headers=bearer("as"))
        assert response.status_code in (400, 413), (body[:200], response.text)
        assert SECRET not in response.text, (body[:200], response.text)
    assert_nowhere(verbose, SECRET)


def test_what_stands_in_headers_or_the_address_is_not_kept(verbose: RunningBridge) -> None:
    replies = [
        verbose.client.post(PATH, json=request("read"), headers={"Authorization": f"Bearer {SECRET}"}),
        verbose.client.post(f"{PATH}?code={SECRET}", json=request("read"), headers=bearer("as")),
        verbose.client.post(PATH, json=request("read"), headers={**bearer("as"), "Cookie": f"s={SECRET}"}),
        verbose.client.post(PATH, content=b"{", headers={**bearer("as"), "Content-Type": SECRET}),
        verbose.client.get(f"/{SECRET}"),
        verbose.client.get(f"/metrics?token={SECRET}", headers=bearer("operator")),
        verbose.client.request("PUT", f"{PATH}?token={SECRET}"),
        verbose.client.post(PATH, json=request("read"), headers={**bearer("as"), "X-Request-ID": SECRET + "x" * 300}),
    ]
    assert [reply.status_code for reply in replies] == [401, 200, 200, 415, 404, 200, 405, 400]
    assert_nowhere(verbose, SECRET, *(reply.text for reply in replies))


def test_a_callers_token_is_kept_nowhere(verbose: RunningBridge) -> None:
    reply = verbose.post(request("read"), headers=bearer("as"))
    assert_nowhere(verbose, token_of("as"), reply.text)


def test_a_policy_error_is_for_the_evidence_and_not_for_the_caller(verbose: RunningBridge) -> None:
    note = "a-note-that-is-no-number"
    response = verbose.post(request("broken", "read", context={"note": note}), headers=bearer("as"))
    reply = response.json()
    assert reply["scopes"]["broken"]["findings"] == [{"code": "policy_error"}]
    assert not re.search(r"to_number|strconv|rego|\.go|eval_|line|issuance\.scope", response.text)
    (path,) = verbose.entry_of(reply["decision_id"])["exceptions"]
    assert path["path"] == "policy_error"
    assert "to_number" in path["message"]


def test_nobody_sees_a_stack_trace_or_a_path(verbose: RunningBridge) -> None:
    for body in [*malformed_bodies(), json.dumps(request("broken", context={"note": "x"})).encode()]:
        text = verbose.post(body, headers=bearer("as")).text
        assert not re.search(r"Traceback|\.py\b|/bridge/|pydantic|orjson|aiohttp|/tmp|sqlite", text), text
    assert "Traceback" not in verbose.log_text()
    assert not verbose.log_events("door_defect")


def test_who_may_not_know_gets_no_reason(verbose: RunningBridge) -> None:
    """Beside the decision, a caller learns neither files nor rows nor owners of policies."""
    text = verbose.post(request("read", "never", "sealed", "echo"), headers=bearer("as")).text
    assert not re.search(r"\.rego|\"row\"|\"owner\"|\"file\"|\"risk\"|issuance\.scope", text), text


async def test_the_list_of_secrets_is_configurable(tmp_path: Path) -> None:
    names = {"secret_names": ["pin", "Ssn"], "secret_suffixes": ["_key"]}
    async with local_bridge(tmp_path, server=names) as bridge:
        context = {"pin": "1", "SSN": "2", "api_key": "3", "code": "4", "access_token": "5"}
        reply = await bridge.ask(request("read", context=context))
        seen = bridge.input_of(reply["decision_id"])["context"]
    assert seen == {"pin": "***", "SSN": "***", "api_key": "***", "code": "4", "access_token": "5"}


async def test_personal_values_are_masked_in_entries_by_pointer(tmp_path: Path) -> None:
    mask = [
        "/subject/id",
        "/context/people/*/ssn",
        "/client/properties/a~1b~0",
        "/audience/1",
        "/nowhere/x",
        "/context/*/z",
    ]
    async with local_bridge(tmp_path, evidence={"path": str(tmp_path / "evidence"), "mask": mask}) as bridge:
        body = request(
            "read",
            subject={"type": "user", "id": "alice@example.org"},
            client={"id": "c", "properties": {"a/b~": [1, 2], "a": 1}},
            context={"people": [{"ssn": "1", "n": 1}, {"ssn": "2"}], "y": {"z": {"deep": 1}, "w": 1}},
            audience=["https://a.example", "https://b.example"],
        )
        reply = await bridge.ask(body)
        shown, seen = bridge.entry_of(reply["decision_id"])["request"], bridge.input_of(reply["decision_id"])
    assert shown["subject"] == {"type": "user", "id": "***"}
    assert shown["context"] == {"people": [{"ssn": "***", "n": 1}, {"ssn": "***"}], "y": {"z": "***", "w": 1}}
    assert shown["client"]["properties"] == {"a/b~": "***", "a": 1}
    assert shown["audience"] == ["https://a.example", "***"]
    # The engine saw all of it, and what it saw lies beside the log, where retention and erasure act.
    assert {name: seen[name] for name in body} == body
