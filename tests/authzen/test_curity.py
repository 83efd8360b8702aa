"""Curity's form: scopes taken apart and put together again, never by a guess; each one decided on as anywhere."""

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config.authzen import CurityScope, CuritySection
from bridge.config.settings import load_settings
from bridge.doors.curity.context import read_context
from bridge.doors.curity.plan import CurityPlanner
from bridge.doors.curity.read import read_scopes
from bridge.doors.curity.scopes import Parts, Scopes
from bridge.errors import ConfigFault, MalformedRequest
from bridge.pdp.gather import Call
from tests.support.bridge import LocalBridge, bearer, caller, local_bridge, write_config
from tests.support.policies import POLICIES, write_policies

PATH = "/curity/v1/evaluations"
ACTIONS = ("read", "write")
ISSUANCE = {
    "issuance.gate": 'allow := true\ndeny contains {"code": "blocked"} if input.client.id == "blocked"',
    "issuance.scope.openid": "allow := true",
    'issuance.scope["accounts:write"]': "allow := true",
    'issuance.scope["accounts:read"]': "allow := true",
    'issuance.scope["accounts:savings:write"]': 'allow if input.subject.id == "alice"',
    'issuance.scope["payments:write"]': 'allow := true\nrequire contains {"acr_values": ["high"]}',
}
ACCOUNTS_WRITE = {"resource": {"type": "accounts"}, "action": {"name": "write"}}


def item(resource_type: str, action: str, **resource: Any) -> dict[str, Any]:
    return {"resource": {"type": resource_type, **resource}, "action": {"name": action}}


def batch(*items: dict[str, Any], **members: Any) -> dict[str, Any]:
    """What Curity sends for one request of a token or of an authorization."""
    context = {"phase": "token", "grant_type": "authorization_code", "client_id": "web"}
    return {
        "subject": {"type": "user", "id": "alice"},
        "evaluations": list(items),
        "options": {"evaluations_semantic": "execute_all"},
        **members,
        "context": {**context, **members.get("context", {})},
    }


def policies_in(folder: Path) -> Path:
    return write_policies(folder / "rego", {**POLICIES, **ISSUANCE})


def settings(**members: Any) -> dict[str, Any]:
    return {"curity": {"available_actions": ["read", "write"], **members}}


async def ask(bridge: LocalBridge, body: Any, **options: Any) -> list[bool]:
    async with bridge.session.post(PATH, json=body, **options) as response:
        reply = await response.json()
        assert response.status == 200, reply
        assert reply.keys() == {"evaluations"}
        assert all(one.keys() == {"decision"} for one in reply["evaluations"])
        return [one["decision"] for one in reply["evaluations"]]


async def entries(bridge: LocalBridge, kind: str) -> list[dict[str, Any]]:
    return [entry for entry in await asyncio.to_thread(bridge.entries) if entry["kind"] == kind]


async def test_the_scopes_of_a_batch_are_decided_on_in_one_entry(tmp_path: Path) -> None:
    body = batch(
        item("openid", "read", id=""),
        item("accounts", "write"),
        item("accounts", "write", id="savings"),
        item("never", "read"),
        context={"scope": "openid accounts:write accounts:savings:write never"},
    )
    async with local_bridge(tmp_path, policies_in(tmp_path), authzen=settings()) as bridge:
        assert await ask(bridge, body) == [True, True, True, False]
        assert await ask(bridge, {"input": body, "more": [1]}) == [True, True, True, False]
        body["subject"]["id"] = "bob"
        assert await ask(bridge, body) == [True, True, False, False]
        found = await entries(bridge, "decision")
        assert [entry["door"] for entry in found] == ["curity"] * 3
        assert found[0]["batch"]["items"] == [0, 1, 2, 3]
        assert len({entry["batch"]["id"] for entry in found}) == 3
        assert found[0]["granted_scopes"] == ["openid", "accounts:write", "accounts:savings:write"]
        document = await asyncio.to_thread(bridge.input_of, found[0]["id"])
        assert document["grant_type"] == "authorization_code"
        assert document["client"] == {"id": "web"}
        assert document["phase"] == "token"
        assert document["token_type"] == "access_token"
        assert document["context"]["scope"] == "openid accounts:write accounts:savings:write never"


async def test_the_gate_denies_all(tmp_path: Path) -> None:
    async with local_bridge(tmp_path, policies_in(tmp_path), authzen=settings()) as bridge:
        assert await ask(bridge, batch(ACCOUNTS_WRITE)) == [True]
        assert await ask(bridge, batch(ACCOUNTS_WRITE, context={"client_id": "blocked"})) == [False]


@pytest.mark.parametrize("name", ["grant_type", "grantType", "grant-type", "GRANT_TYPE", "Grant Type", "grant.type"])
async def test_the_grant_type_comes_from_the_context_however_it_is_spelt(name: str) -> None:
    shown = read_context({name: "client_credentials", "unknown": {"a": [1]}})
    assert shown is not None
    assert shown.grant_type == "client_credentials"


@pytest.mark.parametrize(
    ("sent", "known"),
    [
        ("urn:ietf:params:oauth:grant-type:token-exchange", "token_exchange"),
        ("urn:ietf:params:oauth:grant-type:device_code", "device_code"),
        ("urn:ietf:params:oauth:grant-type:jwt-bearer", "jwt_bearer"),
        ("urn:openid:params:grant-type:ciba", "ciba"),
        ("Refresh-Token", "refresh_token"),
        ("code", "authorization_code"),
        ("urn:example:grant:Own", "urn:example:grant:Own"),
    ],
)
def test_a_grant_type_has_its_short_name(sent: str, known: str) -> None:
    shown = read_context({"grant_type": sent})
    assert shown is not None
    assert shown.grant_type == known


@pytest.mark.parametrize(
    "context",
    [
        {"grant_type": "authorization_code", "grantType": "client_credentials"},
        {"grant_type": 7},
        {"grant_type": ["authorization_code"]},
        {"grant_type": "a\nb"},
        {"client_id": "a", "clientId": "b"},
        {"client_id": "a", "client": {"id": "b"}},
        {"client_id": ""},
        {"client": ["a"]},
        {"phase": "introspection"},
        {"phase": ["token"]},
        {"phase": "token", "Phase": "authorize"},
        {"authorization_details": "[]"},
        {"authorization_details": [{"no": "type"}]},
        {"authorizationDetails": {"type": "payment"}},
    ],
)
async def test_a_context_that_contradicts_itself_or_cannot_be_read_grants_nothing(
    tmp_path: Path, context: dict[str, Any]
) -> None:
    assert read_context(context) is None
    planned = CurityPlanner(CuritySection(grant_type="authorization_code"))
    body = {"subject": {"type": "user", "id": "u"}, "context": context, "evaluations": [ACCOUNTS_WRITE]}
    plan = planned(read_scopes(body, 10), Call("curity", "as", "as"), "b")
    assert (plan.askings, plan.refused) == ((), {0: "not_shown"})


async def test_what_may_be_unreadable_is_absent() -> None:
    shown = read_context(
        {"acr": 5, "amr": {"x": 1}, "auth_time": "soon", "cnf": "x", "subject_token": "secret", "a": 1}
    )
    assert shown is not None
    assert shown.context == {"a": 1}
    shown = read_context({"amr": "pwd otp", "authTime": "1790000000", "ACR": "high", "acr": None})
    assert shown is not None
    assert {name: shown.context[name] for name in ("acr", "amr", "auth_time")} == {
        "acr": "high",
        "amr": ["pwd", "otp"],
        "auth_time": 1790000000,
    }


async def test_without_a_grant_type_the_configured_one_counts_and_without_that_nothing_is_granted(
    tmp_path: Path,
) -> None:
    body = batch(ACCOUNTS_WRITE, item("openid", "read"), context={"grant_type": None})
    async with local_bridge(tmp_path, policies_in(tmp_path), authzen=settings()) as bridge:
        assert await ask(bridge, body) == [False, False]
        assert await entries(bridge, "decision") == []
        (entry,) = await entries(bridge, "evaluation")
        assert entry["door"] == "curity"
        assert entry["batch"]["items"] == [0, 1]
        assert [one["code"] for one in entry["decisions"]] == ["not_shown", "not_shown"]
        assert entry["request"]["tuples"][0]["resource"] == {"type": "accounts"}
    configured = settings(grant_type="authorization_code")
    async with local_bridge(tmp_path / "configured", policies_in(tmp_path), authzen=configured) as bridge:
        assert await ask(bridge, body) == [True, False]
        assert len(await entries(bridge, "decision")) == len(await entries(bridge, "evaluation")) == 1


@pytest.mark.parametrize(
    ("phase", "known"),
    [("authorization", "authorization"), ("authorize", "authorization"), ("TOKEN", "token"), (None, "token")],
)
async def test_the_phase_reaches_the_policies(tmp_path: Path, phase: str | None, known: str) -> None:
    async with local_bridge(tmp_path, policies_in(tmp_path), authzen=settings()) as bridge:
        assert await ask(bridge, batch(ACCOUNTS_WRITE, context={"phase": phase})) == [True]
        (entry,) = await entries(bridge, "decision")
        assert entry["request"]["phase"] == known


@pytest.mark.parametrize(
    ("subject", "grant_type", "known"),
    [
        ({"type": "user", "id": "u"}, "authorization_code", {"type": "user", "id": "u"}),
        ({"type": "account", "id": "u", "x": 1}, "authorization_code", {"type": "user", "id": "u"}),
        (
            {"id": "u", "properties": {"a": 1}},
            "authorization_code",
            {"type": "user", "id": "u", "properties": {"a": 1}},
        ),
        ({"type": "user", "id": "web"}, "client_credentials", {"type": "client", "id": "web"}),
        ({"type": "workload", "id": "web"}, "client_credentials", {"type": "workload", "id": "web"}),
        ({"type": "user", "id": "u"}, "client_credentials", {"type": "user", "id": "u"}),
        ({"type": "user", "id": "web"}, "authorization_code", {"type": "user", "id": "web"}),
        (None, "client_credentials", {"type": "client", "id": "web"}),
        (None, "authorization_code", None),
        ({"type": "user", "id": ""}, "authorization_code", None),
        ({"type": "user", "id": 7}, "authorization_code", None),
        ({"type": "user", "id": "a\x00"}, "authorization_code", None),
        ({"type": "user", "id": "u", "properties": "x"}, "authorization_code", None),
    ],
)
def test_the_subject(subject: Any, grant_type: str, known: dict[str, Any] | None) -> None:
    body = batch(ACCOUNTS_WRITE, subject=subject, context={"grant_type": grant_type})
    plan = CurityPlanner(CuritySection(available_actions=ACTIONS))(read_scopes(body, 9), Call("curity", "c", "i"), "b")
    assert [asking.request["subject"] for asking in plan.askings] == ([] if known is None else [known])


async def test_a_yes_means_no_more_than_it_says(tmp_path: Path) -> None:
    bodies = [item("write", "read", id="")], [item("pay", "read")], [item("sealed", "read")], [item("openid", "read")]
    names = ["write", "pay", "sealed", "openid"]
    for number, (configured, expected) in enumerate(
        [
            ({}, [False, False, False, True]),
            ({"token_lifetime": 60, "audience": ["https://pay.example"]}, [True, False, False, True]),
        ]
    ):
        async with local_bridge(
            tmp_path / str(number), policies_in(tmp_path), authzen=settings(**configured)
        ) as bridge:
            said = [
                (await ask(bridge, batch(*one, context={"scopes": [name], "acr": "urn:test:acr:low"})))[0]
                for one, name in zip(bodies, names, strict=True)
            ]
            assert said == expected  # `pay` waits for a step-up either way
            found = await entries(bridge, "decision")
            assert found[2]["scopes"]["sealed"]["findings"] == [{"code": "inexpressible"}]


async def test_requirements_are_met_by_the_context(tmp_path: Path) -> None:
    async with local_bridge(tmp_path, policies_in(tmp_path), authzen=settings()) as bridge:
        payments = item("payments", "write")
        assert await ask(bridge, batch(payments)) == [False]
        assert await ask(bridge, batch(payments, context={"acr": "high"})) == [True]
        details = {"acr": "high", "authorization_details": [{"type": "payment"}]}
        assert await ask(bridge, batch(payments, context=details)) == [False]


async def test_who_may_ask(tmp_path: Path) -> None:
    callers = [
        caller("may", doors=["curity"], grant_types=["authorization_code"]),
        caller("other-door", doors=["authzen"]),
        caller("other-role", "auditor"),
    ]
    async with local_bridge(tmp_path, policies_in(tmp_path), callers=callers, authzen=settings()) as bridge:
        assert await ask(bridge, batch(ACCOUNTS_WRITE), headers=bearer("may")) == [True]
        refused = batch(ACCOUNTS_WRITE, context={"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange"})
        for body, headers, status in [
            (refused, bearer("may"), 403),
            (batch(ACCOUNTS_WRITE), bearer("other-door"), 403),
            (batch(ACCOUNTS_WRITE), bearer("other-role"), 403),
            (batch(ACCOUNTS_WRITE), {}, 401),
        ]:
            async with bridge.session.post(PATH, json=body, headers=headers) as response:
                assert response.status == status
                assert (await response.json()).keys() == {"error"}
        assert len(await entries(bridge, "decision")) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b'{"input": []}',
        b'{"input": {"input": {"evaluations": [{}]}}}',
        b'{"evaluations": []}',
        b'{"evaluations": {}}',
        b'{"evaluations": [1]}',
        b'{"evaluations": [{}], "evaluations": [{}]}',
        b'{"evaluations": [{}]} x',
        b'{"evaluations": [NaN]}',
        b'{"evaluations": [{}], "context": []}',
        b'{"evaluations": [{}], "subject": "u"}',
        b'{"evaluations": [' + b",".join([b"{}"] * 201) + b"]}",
    ],
)
async def test_a_body_that_asks_nothing_is_refused(tmp_path: Path, body: bytes) -> None:
    async with (
        local_bridge(tmp_path) as bridge,
        bridge.session.post(PATH, data=body, headers={"Content-Type": "application/json"}) as response,
    ):
        assert response.status == 400
        assert (await response.json()).keys() == {"error"}


async def test_as_many_answers_as_items_whatever_they_are(tmp_path: Path) -> None:
    odd: list[dict[str, Any]] = [
        {},
        {"resource": None, "action": None},
        {"resource": [], "action": {"name": "write"}},
        {"resource": {"type": "accounts"}},
        {"resource": {"type": 1}, "action": {"name": "write"}},
        {"resource": {"type": ""}, "action": {"name": "write"}},
        {"resource": {"type": "accounts", "id": 5}, "action": {"name": "write"}},
        {"resource": {"type": "accounts", "id": "a", "path": "b"}, "action": {"name": "write"}},
        {"resource": {"type": "accounts", "id": "x", "properties": 9}, "action": {"name": "write"}},
        {"resource": {"type": "issue", "id": "access_token"}, "action": {"name": "write"}},
        {"resource": {"type": "läs"}, "action": {"name": "write"}},
        {**item("accounts", "write", id="s"), "context": "x"},
        {**item("accounts", "write", id="t"), "context": {"grant_type": 1}},
    ]
    async with local_bridge(tmp_path, policies_in(tmp_path), authzen=settings()) as bridge:
        body = batch(*odd, ACCOUNTS_WRITE, options={"evaluations_semantic": "deny_on_first_deny"})
        assert await ask(bridge, body) == [False] * len(odd) + [True]


async def test_an_item_with_its_own_subject_is_about_that_one(tmp_path: Path) -> None:
    savings = item("accounts", "write", id="savings")
    async with local_bridge(tmp_path, policies_in(tmp_path), authzen=settings()) as bridge:
        assert await ask(bridge, batch(savings)) == [True]
        assert await ask(bridge, batch({**savings, "subject": {"type": "user", "id": "bob"}})) == [False]


async def test_a_fault_is_a_no_for_each(tmp_path: Path) -> None:
    async with local_bridge(tmp_path, policies_in(tmp_path), authzen=settings()) as bridge:
        await bridge.bridge.engine.close()
        assert await ask(bridge, batch(ACCOUNTS_WRITE, item("accounts", "write", id="savings"))) == [False, False]


# How scopes are put together again.

SCOPES = Scopes(CuritySection(available_actions=ACTIONS))
Item = tuple[str, str | None, str]


def decided(
    items: list[Item], scopes: list[str] | str | None, section: CuritySection, **resource: Any
) -> list[str | None]:
    """The scope that each item is decided on, None where it is denied unasked."""
    tuples = [item(t, a, **({} if path is None else {"id": path}), **resource) for t, path, a in items]
    body = batch(*tuples, context={} if scopes is None else {"scope": scopes})
    plan = CurityPlanner(section)(read_scopes(body, 1000), Call("curity", "c", "i"), "b")
    assert plan.places.keys() | plan.refused.keys() == set(range(len(items)))
    return [plan.places[n].scope if n in plan.places else None for n in range(len(items))]


def one(
    resource_type: str, path: str | None, action: str, scopes: list[str] | str | None = None, /, **resource: Any
) -> str | None:
    section = CuritySection(available_actions=ACTIONS)
    return decided([(resource_type, path, action)], scopes, section, **resource)[0]


@pytest.mark.parametrize(
    ("sent", "scope"),
    [
        (("accounts", None, "write"), "accounts:write"),
        (("accounts", "", "write"), "accounts:write"),
        (("accounts", "savings", "write"), "accounts:savings:write"),
        (("accounts", "savings:eu", "write"), "accounts:savings:eu:write"),
        (("accounts", "savings/eu", "write"), None),  # one segment, or two
        (("accounts", None, "read"), None),  # accounts, or accounts:read
        (("accounts", "savings", "read"), None),
        (("accounts", None, "delete"), None),  # no action of ours
        (("accounts", "accounts", "write"), None),  # an id that stands for no path?
        (("accounts", "accounts:write", "write"), None),
        (("accounts", "*", "write"), None),
        (("accounts", "a::b", "write"), None),
        (("accounts", ":", "write"), None),
        (("a:b", None, "write"), None),
        (("write", None, "write"), "write:write"),
    ],
)
def test_the_parts_alone_tell_a_scope_only_where_there_is_one_reading(sent: Item, scope: str | None) -> None:
    assert one(*sent) == scope


@pytest.mark.parametrize(
    ("sent", "scopes", "scope"),
    [
        (("openid", None, "read"), "openid", "openid"),
        (("openid", None, "read"), ["openid:read"], "openid:read"),
        (("accounts", "savings", "read"), ["accounts:savings"], "accounts:savings"),
        (("accounts", "savings/eu", "write"), ["accounts:savings:eu:write"], "accounts:savings:eu:write"),
        (("accounts", "savings/eu", "write"), ["accounts:savings/eu:write"], "accounts:savings/eu:write"),
        (("https", "//a.example/x", "read"), ["https://a.example/x"], "https://a.example/x"),
        (("openid", None, "read"), ["profile"], None),
        (("openid", None, "write"), ["openid"], None),
        (("accounts", None, "write"), ["accounts"], None),  # the context shows another scope
        (("accounts", None, "write"), [], None),
        (("accounts", None, "write"), ["accounts:write", "openid"], "accounts:write"),
        (("openid", None, "read"), ["openid", "profile"], None),  # more than were asked about: no places
        (("accounts", None, "write"), [1], None),
        (("accounts", None, "read"), ["accounts::read"], None),
    ],
)
def test_the_scopes_that_the_context_shows_tell_by_their_place(
    sent: Item, scopes: list[str] | str, scope: str | None
) -> None:
    assert one(*sent, scopes) == scope


def test_two_scopes_that_look_alike_are_never_told_apart() -> None:
    items: list[Item] = [("openid", None, "read"), ("openid", None, "read"), ("accounts", None, "write")]
    section = CuritySection(available_actions=ACTIONS)
    assert decided(items, ["openid", "openid:read", "accounts:write"], section) == [None, None, "accounts:write"]
    assert decided(items[:1], ["openid"], section) == ["openid"]
    assert decided(items[1:], ["openid", "openid:read"], section) == [None, None]
    table = (CurityScope(resource_type="openid", action="read", scope="openid"),)
    assert decided(items, None, CuritySection(available_actions=ACTIONS, scopes=table)) == [
        None,
        None,
        "accounts:write",
    ]


def test_a_resource_that_says_more_is_not_read_by_its_parts() -> None:
    assert one("accounts", None, "write", owner="bob") is None
    assert one("accounts", None, "write", properties={"owner": "bob"}) is None
    assert one("accounts", None, "write", ["accounts:write"], owner="bob") == "accounts:write"
    assert one("accounts", None, "write", properties={}) == "accounts:write"
    assert one("accounts", None, "write", properties={"resourcePath": "savings"}) == "accounts:savings:write"
    assert one("accounts", "savings", "write", path="savings") == "accounts:savings:write"
    assert one("accounts", "savings", "write", path="other") is None


def test_the_table_wins_unless_the_context_contradicts_it() -> None:
    table = (
        CurityScope(resource_type="openid", action="read", scope="openid"),
        CurityScope(resource_type="accounts", path="*", action="grant", scope="accounts:all"),
    )
    section = CuritySection(available_actions=ACTIONS, scopes=table)
    openid: list[Item] = [("openid", None, "read")]
    assert decided(openid, None, section) == ["openid"]
    assert decided(openid, ["openid"], section) == ["openid"]
    assert decided(openid, ["openid:read"], section) == [None]
    assert decided(openid, ["profile", "email"], section) == ["openid"]
    assert decided([("accounts", "*", "grant")], None, section) == ["accounts:all"]
    assert decided([("accounts", None, "grant"), ("accounts", "x", "grant")], None, section) == [None, None]


SEGMENT = st.sampled_from(["a", "b", "read", "write", "a/b", "/", "", "ä", "a b", "*", "issue"])
SCOPE = st.lists(SEGMENT, min_size=1, max_size=4).map(":".join)
SENT = st.tuples(SEGMENT, st.one_of(st.none(), SCOPE), st.sampled_from(["read", "write", "other"]))
SECTION = st.builds(
    CuritySection,
    available_actions=st.sampled_from([("read",), ("write",), ("read", "write"), ("other",)]),
    default_action=st.sampled_from(["read", "write", "other"]),
)


@given(st.lists(SENT, min_size=1, max_size=4), st.one_of(st.none(), st.lists(SCOPE, max_size=4)), SECTION)
def test_what_is_decided_on_looks_exactly_as_what_was_sent(
    items: list[Item], scopes: list[str] | None, section: CuritySection
) -> None:
    for (resource_type, path, action), scope in zip(items, decided(items, scopes, section), strict=True):
        if scope is not None:
            assert Parts(resource_type, path or "", action) in Scopes(section).looks(scope)


WELL_FORMED = st.lists(st.sampled_from(["a", "b", "read", "write", "a/b"]), min_size=1, max_size=4).map(":".join)


@given(
    st.lists(WELL_FORMED, min_size=1, max_size=4, unique=True),
    st.sampled_from(["requested", "shuffled", "nothing", "some"]),
    SECTION,
    st.sampled_from([":", "/"]),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_no_scope_is_ever_taken_for_another(
    scopes: list[str], shows: str, section: CuritySection, joint: str, absent: bool, random: Any
) -> None:
    """Whatever Curity's order, joint and context: an item stands for the scope that it was made of, or is denied."""
    items: list[Item] = []
    for scope in scopes:
        resource_type, path, action = Scopes(section).split(scope) or pytest.fail("every segment says something")
        items.append((resource_type, joint.join(path) or (None if absent else ""), action))
    shown: list[str] | None = list(scopes)
    if shows == "shuffled":
        random.shuffle(shown)
    elif shows == "nothing":
        shown = None
    elif shows == "some":
        shown = scopes[:-1]
    for scope, found in zip(scopes, decided(items, shown, section), strict=True):
        assert found in (None, scope)


@given(WELL_FORMED, SECTION)
def test_a_scope_alone_is_known_by_its_place(scope: str, section: CuritySection) -> None:
    resource_type, path, action = Scopes(section).split(scope) or pytest.fail("every segment says something")
    for joint in (":", "/"):
        assert decided([(resource_type, joint.join(path), action)], [scope], section) == [scope]


@given(st.lists(SENT, min_size=1, max_size=3), st.one_of(st.none(), st.lists(SCOPE, max_size=3)))
def test_the_wrapper_changes_nothing(items: list[Item], scopes: list[str] | None) -> None:
    body = batch(*(item(t, a, id=path) for t, path, a in items), context={"scopes": scopes})
    assert read_scopes(body, 9) == read_scopes({"input": body}, 9)


def test_a_scope_with_an_empty_segment_is_never_put_together() -> None:
    names = ["a", "", "write"]
    for scope in (":".join(one) for n in (2, 3) for one in itertools.product(names, repeat=n) if "" in one):
        assert SCOPES.looks(scope) == set()


@pytest.mark.parametrize(
    ("members", "what"),
    [
        ({"scopes": [{"resource_type": "a", "action": "read", "scope": "a"}] * 2}, "may stand once"),
        ({"scopes": [{"resource_type": "a", "action": "read", "scope": "a b"}]}, "must be a scope"),
        ({"scopes": [{"resource_type": "a", "action": "read", "scope": "issue:a:b"}]}, "must be a scope"),
        ({"scopes": [{"resource_type": "a", "action": "read", "scope": "a", "x": 1}]}, "there are resource_type, path"),
        ({"available_actions": ["a:b"]}, "available_actions"),
        ({"actions": ["a"]}, "there are available_actions, default_action"),
    ],
)
def test_a_wrong_configuration_is_refused(tmp_path: Path, members: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigFault, match=what):
        load_settings(write_config(tmp_path, authzen={"curity": members}))


def test_the_number_of_items_is_bounded() -> None:
    with pytest.raises(MalformedRequest):
        read_scopes(batch(*[ACCOUNTS_WRITE] * 3), 2)
