"""WSO2's pre-issue access token action: what is read of a body, and that only operations go out that it would do."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from bridge.doors.hooks.wso2 import MARK, OWN, Wso2
from bridge.errors import MalformedRequest
from bridge.model.decision import Code, Outcome, deny_all
from bridge.pdp.decide import Answered
from tests.hooks import deciding
from tests.hooks.deciding import SCOPES, answer, assert_not_broader, wish_of
from tests.hooks.products import WSO2_OWN, Token, said, wso2

HOOK = Wso2()
ALLOWED = [
    {"op": "add", "paths": ["/accessToken/claims/", "/accessToken/scopes/", "/accessToken/claims/aud/"]},
    {"op": "remove", "paths": ["/accessToken/scopes/", "/accessToken/claims/aud/"]},
    {
        "op": "replace",
        "paths": ["/accessToken/scopes/", "/accessToken/claims/aud/", "/accessToken/claims/expires_in"],
    },
]
YES = {"allow": True}
ALL_YES = dict.fromkeys(SCOPES, YES)


def body_of(
    *scopes: str,
    claims: dict[str, Any] | None = None,
    allowed: Any = None,
    grant: Any = "authorization_code",
    **token: Any,
) -> dict[str, Any]:
    """As the server makes it: what it has of custom claims may be changed as its list says."""
    custom = claims or {}
    paths = [f"/accessToken/claims/{n}{'/' if isinstance(v, list) else ''}" for n, v in custom.items()]
    lists = json.loads(json.dumps(ALLOWED if allowed is None else allowed))
    for one in lists if allowed is None else []:
        one["paths"] += paths if one["op"] != "add" else []
    has = {"sub": "alice", "client_id": "shop", "aud": ["shop", "https://r1"], "expires_in": 3600, **custom}
    return {
        "actionType": "PRE_ISSUE_ACCESS_TOKEN",
        "event": {
            "request": {"clientId": "shop", "grantType": grant, "scopes": list(scopes)},
            "user": {"id": "u1"},
            "accessToken": {
                "tokenType": "JWT",
                "scopes": list(scopes),
                "claims": [{"name": name, "value": value} for name, value in has.items() if value != "absent"],
                **token,
            },
        },
        "allowedOperations": lists,
    }


def operations(body: dict[str, Any], gate: Any = YES, packages: Any = None) -> list[dict[str, Any]]:
    *_, response = answer(HOOK, body, gate, packages or ALL_YES)
    assert isinstance(wso2(body, response), Token), said(response)
    found: list[dict[str, Any]] = said(response)["operations"]
    return found


def failed(body: dict[str, Any], gate: Any = YES, packages: Any = None) -> str:
    *_, response = answer(HOOK, body, gate, packages or ALL_YES)
    reason = wso2(body, response)
    assert isinstance(reason, str), said(response)
    return reason


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    custom = draw(deciding.claims)
    names = st.lists(st.sampled_from(sorted(custom)), unique=True) if custom else st.just(list[str]())
    ours = draw(st.none() | names.map(json.dumps))
    if ours is not None:
        custom[MARK] = ours
    body = body_of(
        *draw(st.lists(st.sampled_from(SCOPES), max_size=4)),
        claims=custom,
        grant=draw(st.sampled_from(["authorization_code", "refresh_token", "client_credentials"])),
        tokenType=draw(st.sampled_from(["JWT", "JWT", "JWT", "Opaque"])),
    )
    for one in draw(st.lists(st.sampled_from(body["allowedOperations"]), max_size=1)):
        one["paths"] = draw(st.lists(st.sampled_from(one["paths"]), unique=True))
    if draw(st.booleans()):
        body["event"]["refreshToken"] = {"claims": [{"name": "expires_in", "value": 86_400}]}
    for name in draw(st.lists(st.sampled_from(["aud", "expires_in"]), max_size=1)):
        had = body["event"]["accessToken"]["claims"]
        body["event"]["accessToken"]["claims"] = [one for one in had if one["name"] != name]
    return body


def as_it_was(body: dict[str, Any]) -> Token:
    token = body["event"]["accessToken"]
    had = {one["name"]: one["value"] for one in token["claims"]}
    return Token(token["scopes"], had, had.get("expires_in"), had.get("aud", []))


@given(bodies(), deciding.gates, deciding.packages, deciding.ceilings)
def test_what_the_server_makes_of_it_is_never_broader_than_the_decision(
    body: dict[str, Any], gate: Any, packages: Any, ceiling: int | None
) -> None:
    whole, decision, response = answer(HOOK, body, gate, packages, ceiling)
    token, before = wso2(body, response), as_it_was(body)
    if isinstance(token, str):
        event(token)
        assert decision.outcome is not Outcome.ALLOW
        return
    event(f"{len(said(response)['operations'])} operations")
    assert whole == decision
    assert_not_broader(token, before, decision)
    ours = json.loads(before.claims.get(MARK, "[]"))
    for name, value in token.claims.items():
        new = name not in before.claims or before.claims[name] != value
        assert name in decision.claims or not new or name in ("expires_in", MARK) or (name in ours and value == [])
    for name in ours:
        assert name in decision.claims or token.claims.get(name, []) == []
    if "refreshToken" in body["event"] or body["event"]["request"]["grantType"] != "client_credentials":
        now_ours = set(json.loads(token.claims.get(MARK, "[]")))
        changed = {n for n, v in decision.claims.items() if n not in before.claims or before.claims[n] != v}
        assert changed <= now_ours <= decision.claims.keys()


def test_scopes_go_by_their_index_from_the_highest_down() -> None:
    no = {"deny": True}
    found = operations(body_of("a", "b", "c", "b"), packages={"a": no, "b": no, "c": YES})
    assert [(one["op"], one["path"]) for one in found] == [("remove", f"/accessToken/scopes/{i}") for i in (3, 1, 0)]
    assert failed(body_of("a", "b"), packages={"a": no, "b": no}) == "access_denied"
    assert operations(body_of()) == []


@pytest.mark.parametrize("missing", ["remove", "replace", "add"])
def test_what_is_not_allowed_is_not_said(missing: str) -> None:
    allowed = [one for one in ALLOWED if one["op"] != missing]
    wishes: dict[str, tuple[Any, Any]] = {
        "remove": (YES, {**ALL_YES, "b": {"allow": False}}),
        "replace": ({"allow": True, "limit": {"token_lifetime": 60}}, ALL_YES),
        "add": ({"allow": True, "claims": {"tier": "gold"}}, ALL_YES),
    }
    for op, (gate, packages) in wishes.items():
        body = body_of("a", "b", allowed=allowed, grant="client_credentials")
        if op == missing:
            assert failed(body, gate, packages) == "access_denied"
        else:
            assert [one["op"] for one in operations(body, gate, packages)] == [op]
    assert failed({**body_of("a"), "allowedOperations": None}, *wishes["add"]) == "access_denied"


def test_authorization_details_that_only_the_token_has_are_decided_too() -> None:
    pay, share = {"type": "pay", "actions": ["send"]}, {"type": "share"}
    body = body_of("a", claims={"authorization_details": [pay]}, grant="refresh_token")
    assert wish_of(HOOK, body)[1]["authorization_details"] == [pay]
    assert failed(body) == "access_denied"  # no package grants them
    assert operations(body, {"allow": True, "limit": {"authorization_details": [pay]}}) == []
    more = body_of("a", claims={"authorization_details": [pay, share]}, grant="refresh_token")
    assert failed(more, {"allow": True, "limit": {"authorization_details": [pay]}}) == "access_denied"
    unread = body_of("a", claims={"authorization_details": [7]}, grant="refresh_token")
    assert wish_of(HOOK, unread)[0].refused == Code.NOT_SHOWN


def test_a_life_is_only_ever_shortened() -> None:
    def within(seconds: int, **claims: Any) -> list[Any]:
        found = operations(body_of("a", claims=claims), {"allow": True, "limit": {"token_lifetime": seconds}})
        return [one["value"] for one in found if one["path"] == "/accessToken/claims/expires_in"]

    assert (within(3599), within(3600), within(3601)) == ([3599], [], [])
    assert within(9999, expires_in="absent") == [9999]
    assert (
        within(9999, expires_in=0) == within(9999, expires_in=-1) == [9999]
    )  # no life: that server's default, or no end


def test_an_audience_is_narrowed_and_never_replaced() -> None:
    gate = {"allow": True, "limit": {"audience": ["https://r1"]}}
    assert operations(body_of("a"), gate) == [{"op": "remove", "path": "/accessToken/claims/aud/0"}]
    assert failed(body_of("a", claims={"aud": "absent"}), gate) == "access_denied"
    assert failed(body_of("a", claims={"aud": ["shop"]}), gate) == "access_denied"


@pytest.mark.parametrize("name", sorted((WSO2_OWN | OWN) - {"sub", "iss", "aud", "client_id", "iat"}))
def test_claims_of_the_server_are_never_set(name: str) -> None:
    assert failed(body_of("a"), {"allow": True, "claims": {name: "x"}}) == "access_denied"


@pytest.mark.parametrize("value", [{"a": 1}, [1], None, [["a"]]])
def test_only_some_kinds_of_values_are_carried(value: Any) -> None:
    assert failed(body_of("a"), {"allow": True, "claims": {"x": value}}) == "access_denied"


def test_only_a_jwt_has_claims_that_anybody_reads() -> None:
    gate = {"allow": True, "claims": {"tier": "gold"}}
    assert failed(body_of("a", tokenType="Opaque"), gate) == "access_denied"
    assert operations(body_of("a", tokenType="Opaque")) == []


def test_a_list_that_the_token_has_is_never_replaced() -> None:
    everything = [{"op": op, "paths": ["/accessToken/claims/"]} for op in ("add", "remove", "replace")]
    for had in (["x"], {"o": 1}):
        body = body_of("a", claims={"roles": had}, allowed=everything, grant="client_credentials")
        assert failed(body, {"allow": True, "claims": {"roles": "y"}}) == "access_denied"


def test_a_value_of_another_type_is_another_value() -> None:
    for had, wanted in ((True, 1), (1, 1.0), ("1", 1)):
        body = body_of("a", claims={"level": had}, grant="client_credentials")
        (one,) = operations(body, {"allow": True, "claims": {"level": wanted}})
        assert (one["op"], one["path"]) == ("replace", "/accessToken/claims/level")


def test_what_is_ours_is_named_wherever_there_may_be_a_refresh() -> None:
    gate = {"allow": True, "claims": {"tier": "gold"}}
    batch = body_of("a", grant="client_credentials")
    assert len(operations(batch, gate)) == 1
    batch["event"]["refreshToken"] = {"claims": []}
    assert operations(batch, gate)[-1]["value"] == {"name": MARK, "value": '["tier"]'}
    # The list is not on itself, whoever wrote it there.
    itself = body_of("a", claims={"tier": "gold", MARK: json.dumps([MARK, "tier"])})
    assert operations(itself, gate) == []
    assert [one["path"] for one in operations(itself)] == [f"/accessToken/claims/{n}" for n in ("tier", MARK)]


def test_names_that_the_server_would_misread_are_only_added() -> None:
    for name in ("audit", "https://x/y", "7", "-", "a/3"):
        gate = {"allow": True, "claims": {name: "new"}}
        assert [one["op"] for one in operations(body_of("a", grant="client_credentials"), gate)] == ["add"]
        assert operations(body_of("a", claims={name: "new"}), gate) == []
        assert failed(body_of("a", claims={name: "old"}), gate) == "access_denied"


def test_what_waits_is_told() -> None:
    waits = {"allow": True, "require": ["consent"]}
    assert failed(body_of("a"), packages={"a": waits}) == "consent_required"
    steps = {"allow": True, "require": ["consent", {"acr_values": ["hi"]}]}
    assert failed(body_of("a"), packages={"a": steps}) == "insufficient_user_authentication"
    assert [one["path"] for one in operations(body_of("a", "b"), packages={"a": YES, "b": waits})] == [
        "/accessToken/scopes/1"
    ]


def test_claims_come_back_at_a_refresh_and_go_when_they_are_no_longer_granted() -> None:
    first = body_of("a", claims={"mail": "a@example.com"})
    gold = {"allow": True, "claims": {"tier": "gold", "roles": ["x", "y"]}}
    *_, response = answer(HOOK, first, gold, ALL_YES)
    token = wso2(first, response)
    assert isinstance(token, Token)
    assert json.loads(token.claims[MARK]) == ["roles", "tier"]

    custom = {name: token.claims[name] for name in ("mail", "tier", "roles", MARK)}
    again = body_of("a", claims=custom, grant="refresh_token")
    assert operations(again, gold) == []
    silver = operations(again, {"allow": True, "claims": {"tier": "silver", "roles": ["x", "y"]}})
    assert silver == [{"op": "replace", "path": "/accessToken/claims/tier", "value": "silver"}]
    *_, response = answer(HOOK, again, YES, ALL_YES)
    token = wso2(again, response)
    assert isinstance(token, Token)
    assert token.claims.keys() & {"tier", MARK, "mail"} == {"mail"}
    assert token.claims["roles"] == []
    assert failed(again, {"allow": True, "claims": {"roles": ["x"]}}) == "access_denied"  # a list stays as it is
    for one in again["allowedOperations"]:
        one["paths"] = [path for path in one["paths"] if not path.endswith("tier")]
    assert failed(again, gold) == "access_denied"  # it could not be taken out one day


def test_a_list_of_ours_that_cannot_be_read_is_not_guessed() -> None:
    for mark in ("tier", "[1]", ["tier"], 7, "[" * 5000):
        assert failed(body_of("a", claims={MARK: mark})) == "access_denied"


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({}, True),
        ({"request": {"clientId": "shop"}}, False),
        ({"request": {"clientId": "shop", "grantType": "client_credentials"}, "user": None}, True),
        ({"user": None}, False),
        ({"accessToken": {"claims": []}}, False),
        ({"accessToken": {"claims": [], "scopes": None}}, False),
        ({"request": {"clientId": "shop", "grantType": "password", "additionalParams": [
            {"name": "authorization_details", "value": ["not json"]}]}}, False),
        ({"request": {"clientId": "shop", "grantType": "password", "additionalParams": [
            {"name": "authorization_details", "value": ['[{"type": "pay"}]']}]}}, True),
    ],
)  # fmt: skip
def test_what_is_not_shown_is_refused(change: dict[str, Any], shown: bool) -> None:
    body = body_of("a")
    body["event"] |= change
    wish, document = wish_of(HOOK, body)
    assert wish.refused == (None if shown else Code.NOT_SHOWN)
    if "pay" in json.dumps(change):
        assert document["authorization_details"] == [{"type": "pay"}]


def test_the_document_names_the_token_s_subject_and_hides_secrets() -> None:
    body = body_of("a", "b", claims={"mail": "a@example.com", "upstream_token": "t-1"})
    body["event"]["request"] |= {
        "additionalHeaders": [{"name": "Authorization", "value": ["Basic s-1"]}, {"name": "x-app", "value": ["1"]}],
        "additionalParams": [{"name": "client_secret", "value": ["s-2"]}, {"name": "code", "value": ["s-3"]}],
    }
    _, document = wish_of(HOOK, body)
    assert document["subject"] == {"type": "user", "id": "alice", "properties": {"id": "u1"}}
    assert (document["grant_type"], document["client"], document["scopes"]) == (
        "authorization_code",
        {"id": "shop"},
        ["a", "b"],
    )
    assert document["audience"] == ["shop", "https://r1"]
    assert document["context"]["headers"] == {"Authorization": ["***"], "x-app": ["1"]}
    assert document["context"]["params"] == {"client_secret": ["***"], "code": ["***"]}
    assert document["context"]["claims"]["mail"] == "a@example.com"
    assert not {"s-1", "s-2", "s-3", "t-1"} & set(json.dumps(document).replace('"', " ").split())


@pytest.mark.parametrize(
    "change",
    [
        {"actionType": "PRE_UPDATE_PASSWORD"},
        {"event": []},
        {"event": {"request": {"clientId": ""}}},
        {"event": {"request": {"clientId": "c"}, "accessToken": {"scopes": "a"}}},
        {"event": {"request": {"clientId": "c"}, "accessToken": {"claims": ["sub"]}}},
        {"event": {"request": {"clientId": "c"}, "accessToken": {"claims": [{"name": "a"}, {"name": "a"}]}}},
        {"allowedOperations": {"op": "add"}},
        {"allowedOperations": [{"op": "add"}]},
        {"allowedOperations": [{"paths": []}]},
        {"allowedOperations": [7]},
    ],
)
def test_another_body_is_malformed(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedRequest):
        asyncio.run(HOOK.read({**body_of("a"), **change}, HOOK.paths[0]))


@pytest.mark.parametrize(
    "code", ["engine_unavailable", "deadline", "overloaded", "evidence_unavailable", "policy_mismatch"]
)
def test_what_was_not_decided_is_an_error_and_no_denial(code: str) -> None:
    body = body_of("a")
    wish, _ = wish_of(HOOK, body)
    response = HOOK.reply(wish, Answered("id", 0, deny_all(["a"], code), None))
    assert (response.status, wso2(body, response)) == (500, "server_error")


def test_faults() -> None:
    for status, expected in ((400, 400), (408, 400), (413, 400), (500, 500)):
        response = HOOK.fault(status, "why")
        assert response is not None
        assert (response.status, wso2({}, response)) == (expected, "server_error")
    assert HOOK.fault(401, "who") is None
