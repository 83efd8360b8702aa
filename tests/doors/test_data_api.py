"""OPA's Data API: the native answer below `result`, and errors as OPA says them."""

import json
from typing import Any

import pytest

from bridge.doors.data_api import PATH
from tests.support.bridge import RunningBridge, bearer, caller, local_bridge, request


def ask(bridge: RunningBridge, asked: Any, **options: Any) -> Any:
    response = bridge.client.post(PATH, json={"input": asked, "unheard_of": 1}, **options)
    assert response.status_code == 200, response.text
    return response.json()


def without_what_differs(reply: dict[str, Any]) -> dict[str, Any]:
    return {**reply, "decision_id": "", "valid_until": "", "evidence": sorted(reply["evidence"])}


@pytest.mark.parametrize("scopes", [[], ["read"], ["write", "never"], ["sealed"], ["nobody:knows"]])
def test_the_result_is_the_native_reply(bridge: RunningBridge, scopes: list[str]) -> None:
    body = request(*scopes)
    reply = ask(bridge, body)
    assert reply.keys() == {"decision_id", "result"}
    allow = reply["result"].pop("allow")
    assert without_what_differs(reply["result"]) == without_what_differs(bridge.ask(body))
    assert allow is (scopes in ([], ["read"]))
    entry = bridge.entry_of(reply["decision_id"])
    assert (entry["door"], entry["id"]) == ("opa", reply["result"]["decision_id"])


async def test_allow_alone_means_that_nothing_else_has_to_be_read(tmp_path: Any) -> None:
    asked: list[tuple[dict[str, Any], bool, bool]] = [
        (request("read"), True, True),
        (request("read", "never"), False, False),
        (request("write"), False, True),  # at most 60 s
        (request("sealed"), False, False),
        (request("read", client={"id": "blocked"}), False, False),
        (request("detailed", authorization_details=[{"type": "payment"}]), True, True),
        (request("detailed", authorization_details=[{"type": "payment"}, {"type": "x"}]), False, False),
        (request("read", grant_type="authorization_code", subject={"type": "user", "id": "u"}), True, True),
        (request("pay", grant_type="authorization_code", subject={"type": "user", "id": "u"}), False, False),
    ]
    sections: list[dict[str, Any]] = [{}, {"hooks.opa": {"token_lifetime": 60}}]
    for number, settings in enumerate(sections):
        async with local_bridge(tmp_path / str(number), **settings) as bridge:
            for body, *expected in asked:
                async with bridge.session.post(PATH, json={"input": body}) as response:
                    assert (await response.json())["result"]["allow"] is expected[number], body


def test_query_parameters_of_opa(bridge: RunningBridge) -> None:
    quiet = {
        "metrics": "true",
        "provenance": "true",
        "instrument": "",
        "strict-builtin-errors": "true",
        "explain": "off",
    }
    assert ask(bridge, request("read"), params=quiet).keys() == {"decision_id", "result"}
    for pretty in ("pretty", "pretty=true"):
        text = bridge.client.post(f"{PATH}?{pretty}", json={"input": request("read")}).text
        assert '\n  "result": {' in text
        assert json.loads(text)["result"]["allow"] is True
    response = bridge.client.post(f"{PATH}?explain=full", json={"input": request("read")})
    assert (response.status_code, response.json()["code"]) == (400, "invalid_parameter")
    assert "policy explain" in response.json()["message"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "not one JSON value"),
        (b"[]", "must be a JSON object"),
        (b"{}", "input is missing"),
        (b'{"input": null}', "input must be the issuance request"),
        (b'{"input": {"grant_type": "x", "client": {"id": "c"}, "scopes": []}}', "subject is required"),
        (b'{"input": {"grant_type": "client_credentials", "client": {"id": "c"}}}', "input.scopes"),
        (
            b'{"input": {"grant_type": "client_credentials", "client": {"id": "c"}, "scopes": [], "id": "x"}}',
            "input.id",
        ),
        (b'{"input": {}, "input": {}}', "input"),
    ],
)
def test_a_bad_body_is_told_as_opa_tells_it(bridge: RunningBridge, body: bytes, named: str) -> None:
    response = bridge.client.post(PATH, content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.headers["Content-Type"]) == (400, "application/json")
    assert response.json().keys() == {"code", "message"}
    assert response.json()["code"] == "invalid_parameter"
    assert named in response.json()["message"]


async def test_who_may_ask(tmp_path: Any) -> None:
    callers = [caller("may", doors=["opa"], grant_types=["client_credentials"]), caller("other", doors=["native"])]
    code = request("read", grant_type="authorization_code", subject={"type": "user", "id": "u"})
    async with local_bridge(tmp_path, callers=callers) as bridge:
        for body, headers, status in [
            (request("read"), bearer("may"), 200),
            (code, bearer("may"), 403),
            (request("read"), bearer("other"), 403),
            (request("read"), {}, 401),
        ]:
            async with bridge.session.post(PATH, json={"input": body}, headers=headers) as response:
                assert response.status == status
                if status != 200:
                    assert await response.json() == {
                        "code": "unauthorized",
                        "message": "not allowed" if status == 403 else "unknown caller",
                    }
        async with bridge.session.get(PATH, headers=bearer("may")) as response:
            assert (response.status, (await response.json())["code"]) == (405, "invalid_parameter")
