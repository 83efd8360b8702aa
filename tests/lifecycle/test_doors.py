"""Ending at the doors: who may, what it says, and that every door refuses afterwards what it granted before."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from bridge.audit.filter import Filter
from bridge.audit.query import Queries
from bridge.evidence.files import REGISTER
from bridge.model.ended import MEMBERS, What
from bridge.model.times import now_ms
from tests.support.bridge import RunningBridge, bearer, caller, request, running_bridge
from tests.support.evidence import reading
from tests.support.policies import write_policies

ISSUER = "https://as.example"
AS, OPS = bearer("as"), bearer("ops")
POLICIES = {
    "issuance.gate": "allow := true",
    "issuance.scope.read": "allow := true",
    "issuance.scope.write": 'allow := true\nrequire contains "consent"',
    "authzen.resource.document": "allow := true",
}
NUMBERS = iter(range(10_000))


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBridge]:
    folder = tmp_path_factory.mktemp("lifecycle")
    callers = [
        caller("as", issuer=ISSUER),
        caller("other", issuer="https://other.example"),
        caller("named"),
        caller("ops", "operator"),
    ]
    evidence = {"path": str(folder / "evidence"), "personal": ["/subject/id"]}
    policies = write_policies(folder / "rego", POLICIES)
    with running_bridge(folder, policies, callers=callers, evidence=evidence) as running:
        yield running


def fresh(what: str) -> str:
    return f"{what}-{next(NUMBERS)}"


def user(client: str, subject: str, **members: Any) -> dict[str, Any]:
    asked = {"grant_type": "authorization_code", "subject": {"type": "user", "id": subject}, **members}
    return request("read", **{"client": {"id": client}, **asked})


def do(bridge: RunningBridge, effect: str, what: str, status: Any = 200, **ids: str) -> dict[str, Any]:
    body = {"what": what, "issuer": ISSUER, "reason": "a test", **ids}
    reply = bridge.client.post(f"/v1/lifecycle/{effect}", json=body, headers=OPS)
    assert reply.status_code == status, reply.text
    found: dict[str, Any] = reply.json()
    return found


def delete(bridge: RunningBridge, client: str, issuer: str = ISSUER, **options: Any) -> httpx.Response:
    path = f"/v1/clients/{quote(issuer, safe='')}/{quote(client, safe='')}"
    return bridge.client.delete(path, **{"params": {"reason": "a test"}, "headers": OPS, **options})


def ordered(bridge: RunningBridge) -> int:
    """How many entries there are that somebody asked for: not what follows endings."""
    return sum(entry.get("door") != "saga" for entry in bridge.entries())


def at(bridge: RunningBridge, reply: dict[str, Any]) -> dict[str, Any]:
    """The entry that a reply names by its index."""
    with reading(bridge.evidence) as reader:
        return reader.at(reply["evidence"]["index"]).entry


def granted(bridge: RunningBridge, asked: dict[str, Any], who: str = "as") -> bool:
    """Whether the native door grants it; where not, it was for an ending, and the log says so."""
    reply = bridge.ask(asked, headers=bearer(who))
    entry = at(bridge, reply)
    if reply["outcome"] == "allow":
        assert "ended" not in entry
        return True
    assert (reply["outcome"], reply["granted_scopes"], reply["findings"]) == ("deny", [], [{"code": "ended"}])
    assert (entry["outcome"], entry["granted_scopes"], entry["reply"]["code"]) == ("deny", [], "ended")
    assert entry["ended"]["index"] < reply["evidence"]["index"]
    return False


def test_a_client_that_is_deleted_is_granted_nothing_more_and_others_are_left_alone(bridge: RunningBridge) -> None:
    gone, other = fresh("client"), fresh("client")
    asked = request("read", client={"id": gone})
    assert granted(bridge, asked)
    reply = delete(bridge, gone)
    assert reply.status_code == 200, reply.text
    told = reply.json()
    assert (told["what"], told["effect"]) == ("client", "ended")
    assert "repeated" not in told
    entry = at(bridge, told)
    assert (entry["kind"], entry["caller"], entry["reason"]) == ("revocation", "ops", "a test")
    assert entry["request"] == {"issuer": ISSUER, "client": {"id": gone}}
    assert not granted(bridge, asked)
    assert granted(bridge, asked, "other")  # another server's client of that name
    assert granted(bridge, request("read", client={"id": other}))
    again = delete(bridge, gone).json()
    assert (again["repeated"], again["id"], again["evidence"]) == (True, told["id"], told["evidence"])


def test_the_entry_of_a_refusal_names_the_ending_and_keeps_what_policies_said(bridge: RunningBridge) -> None:
    client, subject = fresh("client"), fresh("alice")
    told = do(bridge, "end", "subject", subject=subject)
    reply = bridge.ask(user(client, subject), headers=AS)
    entry = at(bridge, reply)
    assert entry["ended"] == {"index": told["evidence"]["index"], "what": "subject"}
    assert {rule["code"] for rule in entry["rules"]} == {"allow"}
    assert entry["scopes"] == {"read": {"outcome": "deny", "findings": [{"code": "ended"}]}}
    assert subject not in json.dumps([entry, at(bridge, told)])
    with reading(bridge.evidence) as reader:
        found = Queries(reader).query(Filter(subject=subject, kind="revocation"))
    assert [one.index for one in found] == [told["evidence"]["index"]]


@pytest.mark.parametrize("grant_type", ["refresh_token", "authorization_code", "device_code", "ciba", "password"])
def test_whatever_the_grant_type_is(bridge: RunningBridge, grant_type: str) -> None:
    client, subject = fresh("client"), fresh("alice")
    asked = user(client, subject, grant_type=grant_type, grant={"id": fresh("grant"), "scopes": ["read"]})
    assert granted(bridge, asked)
    do(bridge, "end", "delegation", client=client, subject=subject)
    assert not granted(bridge, asked)
    assert granted(bridge, user(client, fresh("bob"), grant_type=grant_type, grant={"scopes": ["read"]}))
    assert granted(bridge, user(fresh("client"), subject, grant_type=grant_type, grant={"scopes": ["read"]}))


def test_sessions_and_grants(bridge: RunningBridge) -> None:
    client, subject, session, grant = fresh("client"), fresh("alice"), fresh("session"), fresh("grant")
    of_session = user(client, subject, session={"id": session})
    of_grant = user(client, subject, grant={"id": grant, "scopes": ["read"]}, grant_type="refresh_token")
    assert granted(bridge, of_session)
    do(bridge, "end", "session", session=session)
    assert not granted(bridge, of_session)
    assert granted(bridge, of_grant)
    do(bridge, "end", "grant", grant=grant)
    assert not granted(bridge, of_grant)
    assert granted(bridge, user(client, subject))


@pytest.mark.parametrize("grant_type", ["token_exchange", "jwt_bearer", "saml2_bearer"])
@pytest.mark.parametrize("what", ["client", "subject", "session", "delegation"])
def test_a_token_that_is_exchanged_or_asserted_counts(bridge: RunningBridge, grant_type: str, what: str) -> None:
    ids = {"client": fresh("client"), "subject": fresh("alice"), "session": fresh("session")}
    token = {"sub": ids["subject"], "client_id": ids["client"], "sid": ids["session"], "iss": ISSUER, "scope": "read"}
    asked = user(fresh("api"), fresh("mapped"), grant_type=grant_type, subject_token=token)
    assert granted(bridge, asked)
    do(bridge, "end", what, **{member: ids[member] for member in MEMBERS[What(what)]})
    assert not granted(bridge, asked)
    chained = {**token, "sub": "x", "client_id": "y", "sid": "z", "act": token}
    assert not granted(bridge, {**asked, "subject_token": chained})
    assert granted(bridge, {**asked, "subject_token": {**token, "iss": "https://elsewhere.example"}})


def test_actors_and_their_chains_count(bridge: RunningBridge) -> None:
    api, first, second = fresh("api"), fresh("gateway"), fresh("worker")
    token = {"sub": fresh("alice"), "act": {"sub": first, "act": {"sub": second}}}
    chained = user(api, fresh("alice"), grant_type="token_exchange", subject_token=token)
    acting = user(api, fresh("alice"), grant_type="token_exchange", actor={"type": "client", "id": second})
    assert granted(bridge, chained)
    assert granted(bridge, acting)
    assert delete(bridge, second).status_code == 200
    assert not granted(bridge, chained)
    assert not granted(bridge, acting)


def test_an_issuer_that_is_a_mere_name_counts_with_the_one_that_a_token_names(bridge: RunningBridge) -> None:
    """A caller without `issuer` has its own name for one, and its tokens name a URL."""
    client, token = fresh("client"), {"sub": "alice", "client_id": fresh("app"), "iss": ISSUER}
    asked = user(client, "alice", grant_type="token_exchange", subject_token=token)
    assert granted(bridge, asked, "named")
    assert delete(bridge, token["client_id"], issuer="named").status_code == 200
    assert not granted(bridge, asked, "named")


def test_a_step_up_is_not_asked_for_where_it_would_be_in_vain(bridge: RunningBridge) -> None:
    client, subject = fresh("client"), fresh("alice")
    asked = {**user(client, subject), "scopes": ["write"]}
    assert bridge.ask(asked, headers=AS)["outcome"] == "conditional"
    assert delete(bridge, client).status_code == 200
    assert not granted(bridge, asked)


def evaluations(bridge: RunningBridge, client: str, subject: str, *scopes: str) -> list[dict[str, Any]]:
    tuples = ["issue:access_token:authorization_code", *scopes]
    body = {
        "subject": {"type": "user", "id": subject},
        "resource": {"type": "audience", "id": "https://api.example"},
        "context": {"client_id": client},
        "evaluations": [{"action": {"name": name}} for name in tuples],
    }
    reply = bridge.client.post("/access/v1/evaluations", json=body, headers=AS)
    assert reply.status_code == 200, reply.text
    found: list[dict[str, Any]] = reply.json()["evaluations"]
    return found


def test_authzen_answers_false_the_gate_too(bridge: RunningBridge) -> None:
    client, subject = fresh("client"), fresh("alice")
    assert [one["decision"] for one in evaluations(bridge, client, subject, "read", "nothing")] == [True, True, False]
    do(bridge, "end", "delegation", client=client, subject=subject)
    told = evaluations(bridge, client, subject, "read", "nothing")
    assert [one["decision"] for one in told] == [False] * 3
    assert {one["context"]["reason_admin"]["403"] for one in told} == {"ended"}
    # A gate alone says yes for a token, also where no scope of it is granted.
    assert [one["decision"] for one in evaluations(bridge, client, subject, "nothing")] == [False, False]


def test_other_tuples_are_no_issuance(bridge: RunningBridge) -> None:
    subject = fresh("alice")
    do(bridge, "end", "subject", subject=subject)
    body = {
        "subject": {"type": "user", "id": subject},
        "resource": {"type": "document", "id": "1"},
        "action": {"name": "read"},
    }
    assert bridge.client.post("/access/v1/evaluation", json=body, headers=AS).json()["decision"] is True


@pytest.mark.parametrize("what", ["client", "subject", "delegation"])
def test_what_begins_anew_brings_back_nothing_old(bridge: RunningBridge, what: str) -> None:
    client, subject, grant = fresh("client"), fresh("alice"), fresh("grant")
    now = now_ms() // 1000
    names = {n: v for n, v in (("client", client), ("subject", subject)) if n in MEMBERS[What(what)]}
    do(bridge, "end", what, **names)
    new = user(client, subject)
    assert not granted(bridge, new)
    told = do(bridge, "reinstate", what, **names)
    assert told["effect"] == "reinstated"
    assert at(bridge, told)["ending"] < told["evidence"]["index"]
    assert do(bridge, "reinstate", what, **names)["repeated"] is True
    assert granted(bridge, new)
    refresh = user(client, subject, grant_type="refresh_token")
    assert not granted(bridge, refresh)  # it does not show that it is younger
    for started, expected in ((now - 3600, False), (now - 1, False), (now + 60, True)):
        assert granted(bridge, {**refresh, "grant": {"id": grant, "scopes": ["read"], "started": started}}) is expected
        assert granted(bridge, {**refresh, "authentication": {"auth_time": started}}) is expected
    token = {"sub": subject, "client_id": client}
    exchange = user(client, subject, grant_type="token_exchange")
    for issued, expected in (({}, False), ({"iat": now - 60}, False), ({"iat": now + 60}, True)):
        assert granted(bridge, {**exchange, "subject_token": {**token, **issued}}) is expected
    old_session = granted(
        bridge, {**new, "session": {"id": fresh("session")}, "authentication": {"auth_time": now - 9}}
    )
    assert old_session is (what != "subject")  # a session is the subject's, and not its client's
    if what == "client":
        assert "repeated" not in delete(bridge, client).json()
        assert not granted(bridge, new)


def test_ids_with_slashes_and_worse(bridge: RunningBridge) -> None:
    for client in ("a/b", "https://client.example/x?y=z#f", "50%", "a%2Fb", "ü ñ", "a/../b", "+", "a;b"):
        assert granted(bridge, request("read", client={"id": client})), client
        assert delete(bridge, client).status_code == 200, client
        assert not granted(bridge, request("read", client={"id": client})), client
    assert granted(bridge, request("read", client={"id": "b"}))
    do(bridge, "end", "client", client="..")
    assert not granted(bridge, request("read", client={"id": ".."}))


def test_who_is_no_operator_ends_nothing(bridge: RunningBridge) -> None:
    client = fresh("client")
    assert delete(bridge, client, headers=AS).status_code == 403
    assert delete(bridge, client, headers={}).status_code == 401
    body = {"what": "subject", "issuer": ISSUER, "subject": fresh("alice"), "reason": "a test"}
    assert bridge.client.post("/v1/lifecycle/end", json=body, headers=AS).status_code == 403
    assert granted(bridge, request("read", client={"id": client}))


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"reason": None}, "reason is needed"),
        ({"reason": ""}, ["/reason"]),
        ({"reason": "x" * 501}, ["/reason"]),
        ({"reason": "one\ntwo"}, ["/reason"]),
        ({"subject": "alice@x", "reason": "ALICE@X asked"}, ["/reason"]),
        ({"subject": ""}, ["/subject"]),
        ({"what": "user"}, ["/what"]),
        ({"issuer": None}, ["/issuer"]),
        ({"session": "s"}, "is named by"),
        ({"what": "delegation"}, "is named by"),
        ({"force": True}, ["/force"]),
    ],
)
def test_an_order_that_does_not_fit_is_named(
    bridge: RunningBridge, body: dict[str, Any], pointers: list[str] | str
) -> None:
    whole = {"what": "subject", "issuer": ISSUER, "subject": "a", "reason": "x", **body}
    whole = {name: value for name, value in whole.items() if value is not None}
    reply = bridge.client.post("/v1/lifecycle/end", json=whole, headers=OPS)
    assert reply.status_code == 400
    if isinstance(pointers, str):
        assert pointers in reply.text
    else:
        assert [one["pointer"] for one in reply.json()["errors"]] == pointers


@pytest.mark.parametrize("spelt", [f"{ISSUER}/", "HTTPS://as.example"])
def test_an_issuer_that_is_spelt_in_another_way_is_told_rather_than_ended_at(bridge: RunningBridge, spelt: str) -> None:
    client = fresh("client")
    for reply in (
        delete(bridge, client, issuer=spelt),
        delete(bridge, client, issuer=spelt, params={"dry_run": "true"}),
    ):
        assert reply.status_code == 400
        assert reply.json()["errors"] == [
            {"pointer": "/issuer", "detail": f"the callers' configuration has {ISSUER}: name it like that"}
        ]
    assert delete(bridge, client, issuer="https://idp.example").json()["foreign"] is True
    assert granted(bridge, request("read", client={"id": client}))
    assert "foreign" not in delete(bridge, client).json()


def test_what_can_end_is_told_to_who_names_something_else(bridge: RunningBridge) -> None:
    for what in ("user", ["client"], None):
        reply = bridge.client.post("/v1/lifecycle/end", json={"what": what, "issuer": ISSUER}, headers=OPS)
        (error,) = reply.json()["errors"]
        assert error["pointer"] == "/what"
        assert "client, subject, session, delegation, grant" in error["detail"]


def test_the_actor_of_a_token_falls_with_what_its_subject_had_let_it_do(bridge: RunningBridge) -> None:
    api, app, alice = fresh("api"), fresh("app"), fresh("alice")
    token = {"sub": alice, "act": {"sub": api, "act": {"sub": app}}}
    asked = user(api, alice, grant_type="token_exchange", subject_token=token)
    assert granted(bridge, asked)
    do(bridge, "end", "delegation", client=app, subject=alice)
    assert not granted(bridge, asked)
    assert granted(bridge, user(api, alice))


def test_a_beginning_in_the_future_is_not_young(bridge: RunningBridge) -> None:
    client = fresh("client")
    do(bridge, "end", "client", client=client)
    do(bridge, "reinstate", "client", client=client)
    refresh = user(client, fresh("alice"), grant_type="refresh_token")
    assert not granted(bridge, {**refresh, "grant": {"scopes": ["read"], "started": now_ms()}})  # in the wrong unit
    assert not granted(bridge, {**refresh, "authentication": {"auth_time": 2**40}})
    exchange = {**refresh, "grant_type": "token_exchange"}
    assert not granted(bridge, exchange)
    assert not granted(bridge, {**exchange, "subject_token": {"sub": "x", "iat": 1e300}})


def test_a_deletion_needs_a_reason_and_knows_no_other_parameter(bridge: RunningBridge) -> None:
    assert delete(bridge, fresh("client"), params={}).status_code == 400
    for more in ({"dryrun": "true"}, {"dry_run": "1"}):
        assert delete(bridge, fresh("client"), params={"reason": "x", **more}).status_code == 400
    assert delete(bridge, fresh("client"), params={"reason": ["x", "y"]}).status_code == 400


def show(bridge: RunningBridge, client: str, status: int = 200) -> dict[str, Any]:
    path = f"/v1/clients/{quote(ISSUER, safe='')}/{quote(client, safe='')}"
    reply = bridge.client.get(path, headers=OPS)
    assert reply.status_code == status, reply.text
    found: dict[str, Any] = reply.json()
    return found


def test_the_tree_of_a_client_and_what_would_fall(bridge: RunningBridge) -> None:
    client, subject, api = fresh("https://client.example/a"), fresh("alice"), fresh("api")
    show(bridge, client, 404)
    assert granted(bridge, user(client, subject, session={"id": "s"}))
    token = {"sub": subject, "client_id": client, "iss": ISSUER}
    assert granted(bridge, user(api, subject, grant_type="token_exchange", subject_token=token))
    told = show(bridge, client)
    (delegation,) = told["delegations"]
    assert (delegation["subject"], delegation["sessions"]) == ({"type": "user", "id": subject}, ["s"])
    assert [one["client"] for one in delegation["exchanged"]] == [api]
    before = ordered(bridge)
    assert delete(bridge, client, params={"dry_run": "true"}).json() == told
    whole = {"what": "delegation", "issuer": ISSUER, "client": client, "subject": subject, "dry_run": True}
    falls = bridge.client.post("/v1/lifecycle/end", json=whole, headers=OPS).json()
    assert falls["delegations"] == told["delegations"]
    assert ordered(bridge) == before
    assert granted(bridge, user(client, subject))
    index = delete(bridge, client).json()["evidence"]["index"]
    told = show(bridge, client)
    assert (told["ended"]["index"], told["delegations"][0]["ended"]["index"]) == (index, index)
    assert bridge.client.get("/v1/clients/a/b", headers=AS).status_code == 403
    assert subject.encode() not in (bridge.evidence / REGISTER).read_bytes()


def test_what_never_ended_or_ends_for_good_cannot_begin_anew(bridge: RunningBridge) -> None:
    do(bridge, "reinstate", "client", status=409, client=fresh("client"))
    session = fresh("session")
    do(bridge, "end", "session", session=session)
    do(bridge, "reinstate", "session", status=409, session=session)
