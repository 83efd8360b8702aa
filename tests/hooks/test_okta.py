"""Okta's token inline hook: every no is an error object, and no patch goes out that Okta would drop as a whole."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from bridge.config.hooks import OktaSection
from bridge.doors.hooks.okta import EVENT, RESERVED, Okta
from bridge.errors import MalformedRequest
from bridge.model.decision import Code, Outcome
from tests.hooks import deciding
from tests.hooks.deciding import SCOPES, answer, assert_not_broader, wish_of
from tests.hooks.products import OKTA_SYSTEM, Token, okta, said

HOOK = Okta(OktaSection())
YES = {"allow": True}
ALL_YES = dict.fromkeys(SCOPES, YES)
TOKEN_URL = "https://org.example/oauth2/default/v1/token"
REFUSAL = {"error": {"errorSummary": "not allowed"}}


def body_of(
    *scopes: str, claims: dict[str, Any] | None = None, lives: Any = 3600, context: Any = None, **request: Any
) -> dict[str, Any]:
    asked = {"scope": " ".join(scopes), "client_id": "shop", "grant_type": "authorization_code", **request}
    has = {"ver": 1, "iss": "https://org.example", "aud": "api://default", "cid": "shop", "sub": "alice@example.com"}
    lifetime = {} if lives is None else {"token": {"lifetime": {"expiration": lives}}}
    return {
        "eventType": EVENT,
        "eventId": "e1",
        "source": TOKEN_URL,
        "data": {
            "context": {
                "protocol": {"type": "OAUTH2.0", "request": asked, "client": {"id": "shop", "type": "PUBLIC"}},
                "session": {"id": "s1", "amr": ["PASSWORD"]},
                "user": {"id": "00u1", "profile": {"login": "alice@example.com"}},
                **(context or {}),
            },
            "access": {
                "claims": {**has, **(claims or {})},
                **lifetime,
                "scopes": {scope: {"id": f"scp-{scope}", "action": "GRANT"} for scope in scopes},
            },
        },
    }


def patch(body: dict[str, Any], gate: Any = YES, packages: Any = None) -> list[dict[str, Any]]:
    *_, response = answer(HOOK, body, gate, packages or ALL_YES)
    assert isinstance(okta(body, response), Token), said(response)
    if response.status == 204:
        return []
    (command,) = said(response)["commands"]
    found: list[dict[str, Any]] = command["value"]
    return found


def is_refused(body: dict[str, Any], gate: Any = YES, packages: Any = None) -> bool:
    *_, response = answer(HOOK, body, gate, packages or ALL_YES)
    if okta(body, response) != "server_error":
        return False
    assert (response.status, said(response)) == (200, REFUSAL)
    return True


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    custom = {name: value for name, value in draw(deciding.claims).items() if name not in RESERVED}
    audiences: list[Any] = ["api://default", "https://r1", ["https://r1", "https://r2"], ["shop"]]
    custom["aud"] = draw(st.sampled_from(audiences))
    scopes = draw(st.lists(st.sampled_from(SCOPES), unique=True, max_size=3))
    return body_of(*scopes, claims=custom, lives=draw(st.sampled_from([None, 60, 300, 3600, 86_400])))


@given(bodies(), deciding.gates, deciding.packages, deciding.ceilings)
def test_what_okta_makes_of_it_is_never_broader_than_the_decision(
    body: dict[str, Any], gate: Any, packages: Any, ceiling: int | None
) -> None:
    whole, decision, response = answer(HOOK, body, gate, packages, ceiling)
    token, access = okta(body, response), body["data"]["access"]
    if isinstance(token, str):
        event("refused")
        assert decision.outcome is Outcome.DENY
        return
    event(f"status {response.status}")
    assert whole == decision
    aud = access["claims"]["aud"]
    lives: int | None = access.get("token", {}).get("lifetime", {}).get("expiration")
    before = Token(list(access["scopes"]), access["claims"], lives, [aud] if isinstance(aud, str) else aud)
    assert_not_broader(token, before, decision)
    new = {name for name, value in token.claims.items() if access["claims"].get(name) != value}
    assert new <= decision.claims.keys() | {"aud"}


def test_scopes_are_all_or_nothing() -> None:
    assert patch(body_of("a", "b")) == []
    assert is_refused(body_of("a", "b"), packages={"a": YES, "b": {"allow": False}})
    assert is_refused(body_of("a"), packages={"a": {"allow": True, "require": ["consent"]}})
    stated = body_of("a", claims={"scp": ["a", "b"]})
    assert is_refused(stated, packages={"a": YES, "b": {"allow": False}})


@pytest.mark.parametrize(
    ("most", "lives", "value"),
    [
        (300, 3600, 300),
        (299, 3600, None),
        (1, 3600, None),
        (299, 299, "as it is"),
        (3600, 3600, "as it is"),
        (86_400, 86_400, "as it is"),
        (90_000, None, 86_400),
        (600, None, 600),
        (200, None, None),
        (90_000, 100_000, 86_400),
        (200, 0, None),
        (600, 0, 600),
    ],
)
def test_a_life_has_bounds(most: int, lives: int | None, value: Any) -> None:
    body, gate = body_of("a", lives=lives), {"allow": True, "limit": {"token_lifetime": most}}
    if value is None:
        assert is_refused(body, gate)
    elif value == "as it is":
        assert patch(body, gate) == []
    else:
        assert patch(body, gate) == [{"op": "replace", "path": "/token/lifetime/expiration", "value": value}]


def test_claims_are_added_or_replaced_by_what_is_there() -> None:
    gate = {"allow": True, "claims": {"tier": "gold", "mail": "new", "same": [1]}}
    assert patch(body_of("a", claims={"mail": "old", "same": [1]}), gate) == [
        {"op": "add", "path": "/claims/tier", "value": "gold"},
        {"op": "replace", "path": "/claims/mail", "value": "new"},
    ]
    assert [one["op"] for one in patch(body_of("a", claims={"same": [1.0]}), gate)] == ["add", "add", "replace"]


@pytest.mark.parametrize("name", sorted(RESERVED | OKTA_SYSTEM | {"https://x/y", "a~b"}))
def test_claims_that_okta_would_refuse_are_never_set(name: str) -> None:
    *_, response = answer(HOOK, body_of("a"), {"allow": True, "claims": {name: "x"}}, ALL_YES)
    assert (response.status, said(response)) == (200, REFUSAL)


def test_what_okta_keeps_for_itself_may_be_said_again_as_it_is() -> None:
    body = body_of("a", claims={"ver": 1})
    assert patch(body, {"allow": True, "claims": {"ver": 1}}) == []
    for other in (True, 1.0, 2):
        assert is_refused(body, {"allow": True, "claims": {"ver": other}})


def test_an_audience_is_narrowed_where_there_are_several() -> None:
    gate = {"allow": True, "limit": {"audience": ["https://r1"]}}
    assert patch(body_of("a", claims={"aud": ["https://r1", "https://r2"]}), gate) == [
        {"op": "replace", "path": "/claims/aud", "value": "https://r1"}
    ]
    assert patch(body_of("a", claims={"aud": "https://r1"}), gate) == []
    assert is_refused(body_of("a"), gate)
    assert is_refused(body_of("a", claims={"aud": []}), gate)


def test_a_reply_that_okta_would_not_read_is_never_made() -> None:
    gate = {"allow": True, "claims": {"big": "x" * (256 * 1024)}}
    with pytest.raises(ValueError, match="more than"):
        answer(HOOK, body_of("a"), gate, ALL_YES)


@pytest.mark.parametrize("status", [400, 401, 403, 408, 413, 421, 500])
def test_no_fault_is_an_http_error(status: int) -> None:
    response = HOOK.fault(status, "why")
    assert response is not None
    assert (response.status, said(response)) == (200, REFUSAL)


@pytest.mark.parametrize(
    ("change", "known"),
    [
        ({}, "authorization_code"),
        ({"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange"}, "token_exchange"),
        ({"grant_type": None, "response_type": "code"}, "authorization_code"),
        ({"grant_type": None, "response_type": "token id_token", "source": "authorize"}, "implicit"),
        ({"grant_type": None, "response_type": "code id_token token", "source": "authorize"}, "implicit"),
        ({"grant_type": None, "response_type": "code", "source": "authorize"}, None),
        ({"grant_type": None, "response_type": "token"}, None),
        ({"grant_type": None}, None),
        ({"grant_type": 7, "response_type": "code"}, None),
        ({"grant_type": ["client_credentials"]}, None),
    ],
)
def test_the_grant_type(change: dict[str, Any], known: str | None) -> None:
    source = change.pop("source", "token") if change else "token"
    body = {**body_of("a", **change), "source": f"https://org.example/oauth2/default/v1/{source}?x=/token"}
    wish, document = wish_of(HOOK, body)
    assert (wish.refused, document["grant_type"]) == ((None, known) if known else (Code.NOT_SHOWN, "unknown"))
    wish = asyncio.run(Okta(OktaSection(grant_type="password")).read(body, "/hooks/okta"))
    named = body["data"]["context"]["protocol"]["request"]["grant_type"] is not None  # then nothing else counts
    expected = (Code.NOT_SHOWN, "unknown") if named and known is None else (None, known or "password")
    assert (wish.refused, wish.request["grant_type"]) == expected


def test_a_source_that_is_no_address_tells_nothing() -> None:
    body = {**body_of("a", grant_type=None, response_type="code"), "source": "https://[org.example/token"}
    assert wish_of(HOOK, body)[0].refused == Code.NOT_SHOWN


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"access": None}, False),
        ({"access": {"claims": {}}}, False),
        ({"access": {"scopes": {}}}, True),
        ({"access": {"claims": {"scp": ["a"]}}}, True),
        ({"access": {"scopes": {}, "claims": {"authorization_details": [{"no": "type"}]}}}, False),
    ],
)
def test_what_is_not_shown_is_refused(change: dict[str, Any], shown: bool) -> None:
    body = body_of("a")
    body["data"] |= change
    wish, _ = wish_of(HOOK, body)
    assert wish.refused == (None if shown else Code.NOT_SHOWN)


def test_a_service_has_no_user() -> None:
    nobody = {"user": None, "session": None}
    wish, document = wish_of(HOOK, body_of("a", context=nobody, grant_type="client_credentials"))
    assert (wish.refused, document["subject"]) == (None, {"type": "client", "id": "shop"})
    assert "session" not in document
    wish, _ = wish_of(HOOK, body_of("a", context=nobody))
    assert wish.refused == Code.NOT_SHOWN


def test_the_document() -> None:
    body = body_of("a", "b", claims={"upstream_token": "t-1"}, client_secret="s-1", code="s-2")
    body["data"]["identity"] = {"claims": {"acr": "urn:hi", "amr": ["pwd", "otp"], "auth_time": 1795600000}}
    _, document = wish_of(HOOK, body)
    assert document["subject"] == {
        "type": "user",
        "id": "alice@example.com",
        "properties": {"user_id": "00u1", "profile": {"login": "alice@example.com"}},
    }
    assert document["authentication"] == {"acr": "urn:hi", "amr": ["pwd", "otp"], "auth_time": 1795600000}
    assert (document["session"], document["audience"], document["scopes"]) == (
        {"id": "s1"},
        ["api://default"],
        ["a", "b"],
    )
    assert not {"t-1", "s-1", "s-2"} & set(json.dumps(document).replace('"', " ").split())


@pytest.mark.parametrize(
    "change",
    [
        {"eventType": "com.okta.saml.tokens.transform"},
        {"data": []},
        {"data": {"context": {"protocol": {}}}},
        {"data": {**body_of()["data"], "access": {"scopes": ["a"]}}},
        {"data": {**body_of()["data"], "access": {"scopes": {}, "claims": {"aud": 7}}}},
        {"data": {**body_of()["data"], "access": {"scopes": {}, "claims": {"scp": "a b"}}}},
    ],
)
def test_another_body_is_malformed(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedRequest):
        asyncio.run(HOOK.read({**body_of("a"), **change}, "/hooks/okta"))
