"""What the native door takes, fills in and refuses."""

import itertools
import json
import random
from typing import Any

import pytest

from tests.doors.problems import pointers_in, problem_in
from tests.support.bridge import RunningBridge, request

USER = {"grant_type": "authorization_code", "subject": {"type": "user", "id": "alice"}}


def seen(bridge: RunningBridge, body: Any) -> dict[str, Any]:
    """The document that the policies saw."""
    return bridge.input_of(bridge.ask(body)["decision_id"])


def test_the_least_request_is_filled_in(bridge: RunningBridge) -> None:
    reply = bridge.ask({"grant_type": "client_credentials", "client": {"id": "c"}, "scopes": []})
    document = bridge.input_of(reply["decision_id"])
    assert document == {
        "id": reply["decision_id"],
        "time": bridge.entry_of(reply["decision_id"])["time"],
        "door": "native",
        "caller": "local",
        "issuer": "local",
        "grant_type": "client_credentials",
        "token_type": "access_token",
        "phase": "token",
        "client": {"id": "c"},
        "subject": {"type": "client", "id": "c"},
        "scopes": [],
    }


def test_a_whole_request_is_seen_whole(bridge: RunningBridge) -> None:
    body: dict[str, Any] = {
        "phase": "authorization",
        "grant_type": "token_exchange",
        "token_type": "txn_token",
        "subject": {"type": "workload", "id": "spiffe://a/b", "properties": {"n": 1.5}},
        "client": {"id": "c", "properties": {"tier": "gold"}},
        "actor": {"type": "client", "id": "agent", "properties": {}},
        "session": {"id": "s1"},
        "grant": {"id": "g1", "scopes": ["read"], "audience": ["https://a.example"], "started": 1_700_000_000},
        "subject_token": {"iss": "https://other.example", "scope": "read"},
        "scopes": ["read"],
        "consented_scopes": ["read"],
        "audience": ["https://a.example"],
        "authorization_details": [{"type": "payment", "amount": 12345678901234567890123}],
        "authentication": {"acr": "1", "amr": ["pwd"], "auth_time": 1_700_000_001},
        "cnf": {"jkt": "abc"},
        "context": {"ip": "192.0.2.1"},
    }
    document = seen(bridge, body)
    assert {name: document[name] for name in body} == body
    assert document.keys() - body.keys() == {"id", "time", "door", "caller", "issuer"}


@pytest.mark.parametrize("token_type", ["refresh_token", "id_token", "id_jag", "something_else"])
def test_any_token_type_may_be_asked_for(bridge: RunningBridge, token_type: str) -> None:
    assert seen(bridge, request("read", token_type=token_type))["token_type"] == token_type


@pytest.mark.parametrize(
    "grant_type", ["authorization_code", "refresh_token", "token_exchange", "device_code", "implicit", "my-own"]
)
def test_only_client_credentials_goes_without_a_subject(bridge: RunningBridge, grant_type: str) -> None:
    response = bridge.post(request("read", grant_type=grant_type))
    problem = problem_in(response, 400)
    assert "subject" in response.text
    assert "client_credentials" in response.text
    assert "value" not in problem["detail"].lower()


def test_a_subject_given_for_client_credentials_stands(bridge: RunningBridge) -> None:
    subject = {"type": "workload", "id": "w"}
    assert seen(bridge, request("read", subject=subject))["subject"] == subject


def test_null_is_absent_in_every_defined_object(bridge: RunningBridge) -> None:
    body = {
        **request("read", **USER),
        **dict.fromkeys(["phase", "token_type", "actor", "session", "subject_token", "consented_scopes", "audience"]),
        **dict.fromkeys(["authorization_details", "cnf", "context"]),
        "subject": {"type": "user", "id": "alice", "properties": None},
        "client": {"id": "c", "properties": None},
        "grant": {"id": "g", "scopes": None, "audience": None, "started": None},
        "authentication": {"acr": None, "amr": None, "auth_time": None},
    }
    document = seen(bridge, body)
    for own in ("id", "time", "door", "caller", "issuer"):
        del document[own]
    assert document == {
        "grant_type": "authorization_code",
        "phase": "token",
        "token_type": "access_token",
        "scopes": ["read"],
        "subject": {"type": "user", "id": "alice"},
        "client": {"id": "c"},
        "grant": {"id": "g"},
        "authentication": {},
    }


def test_free_objects_stay_verbatim(bridge: RunningBridge) -> None:
    free = {"a": None, "b": [None, {"c": None}], "": "", "x.y": {"z/~": [1, 2.5, True]}, "id": 1, "time": "now"}
    body = request(
        "read",
        subject={"type": "client", "id": "c", "properties": free},
        client={"id": "c", "properties": free},
        actor={"type": "user", "id": "a", "properties": free},
        cnf=free,
        subject_token=free,
        context=free,
        authorization_details=[{"type": "payment", **free}],
    )
    document = seen(bridge, body)
    for place in ("cnf", "subject_token", "context"):
        assert document[place] == free
    for place in ("subject", "client", "actor"):
        assert document[place]["properties"] == free
    assert document["authorization_details"] == [{"type": "payment", **free}]


def test_the_order_of_members_means_nothing(bridge: RunningBridge) -> None:
    body = request("read", **USER, context={"a": 1}, audience=["https://a.example"])
    documents = []
    for seed in range(4):
        members = list(body.items())
        random.Random(seed).shuffle(members)
        document = seen(bridge, dict(members))
        documents.append({name: document[name] for name in body})
    assert documents == [documents[0]] * 4


@pytest.mark.parametrize("name", ["id", "time", "door", "caller", "issuer", "scope", "sources"])
@pytest.mark.parametrize("value", ["https://as.example", None, {}])
def test_what_the_bridge_sets_must_not_be_sent(bridge: RunningBridge, name: str, value: object) -> None:
    assert pointers_in(bridge.post(request("read", **{name: value}))) == [f"/{name}"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (request("read", foo=1), "/foo"),
        (request("read", foo=None), "/foo"),
        (request("read", Scopes=[]), "/Scopes"),
        (request("read", client={"id": "c", "name": "x"}), "/client/name"),
        (request("read", subject={"type": "user", "id": "a", "email": "e"}), "/subject/email"),
        (request("read", grant={"id": "g", "expires": 1}), "/grant/expires"),
        (request("read", authentication={"acr": "1", "a/b~": 1}), "/authentication/a~1b~0"),
        (request("read", session={"id": "s", "x": 1}), "/session/x"),
    ],
)
def test_an_unknown_member_is_named_and_context_is_offered(bridge: RunningBridge, body: Any, pointer: str) -> None:
    response = bridge.post(body)
    assert pointers_in(response) == [pointer]
    assert "'context'" in response.text


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in request("read").items() if key != name}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (without("grant_type"), "/grant_type"),
        (without("client"), "/client"),
        (without("scopes"), "/scopes"),
        ({**request("read"), "scopes": None}, "/scopes"),
        (request("read", client={}), "/client/id"),
        (request("read", client={"id": ""}), "/client/id"),
        (request("read", client={"id": "a\nb"}), "/client/id"),
        (request("read", client={"id": "c" * 513}), "/client/id"),
        (request("read", client="c"), "/client"),
        (request("read", grant_type=1), "/grant_type"),
        (request("read", grant_type=""), "/grant_type"),
        (request("read", phase="tokens"), "/phase"),
        (request("read", subject={"type": "robot", "id": "a"}), "/subject/type"),
        (request("read", audience="https://a.example"), "/audience"),
        (request("read", audience=[None]), "/audience/0"),
        (request("read", authentication={"auth_time": "1700000000"}), "/authentication/auth_time"),
        (request("read", authentication={"auth_time": 1.5}), "/authentication/auth_time"),
        (request("read", authentication={"auth_time": True}), "/authentication/auth_time"),
        (request("read", grant={"started": "x"}), "/grant/started"),
        (request("read", context=[]), "/context"),
        (request("read", cnf="x"), "/cnf"),
        ({**request(), "scopes": "read write"}, "/scopes"),
        ({**request(), "scopes": ["read", 1]}, "/scopes/1"),
        ({**request(), "scopes": ["read", None]}, "/scopes/1"),
    ],
)
def test_an_error_names_the_member(bridge: RunningBridge, body: Any, pointer: str) -> None:
    assert pointers_in(bridge.post(body)) == [pointer]


def test_details_need_a_type(bridge: RunningBridge) -> None:
    response = bridge.post(request("read", authorization_details=[{"type": "payment"}, {"amount": 1}]))
    problem_in(response, 400)
    assert "authorization_details" in response.text
    assert "type" in response.text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "JSON"),
        (b"   ", "JSON"),
        (b"{", "JSON"),
        (b"[]", "object"),
        (b'"scopes"', "object"),
        (b"null", "object"),
        (b"1e999", "too large"),
        (b"{} {}", "JSON"),
        (b"\xef\xbb\xbf{}", ""),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1e400}', "too large"),
        (b'{"a": 01}', "JSON"),
        (b'{"a": "\xff\xfe"}', "UTF-8"),
        ('{"a": "x"}'.encode("utf-16"), "UTF-8"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"\\udfff": 1}', "surrogate"),
        (b'{"a": "\n"}', "JSON"),
        (b'{"a": ' + b"1" * 5000 + b"}", "digits"),
        (b"{'a': 1}", "JSON"),
        (b'{"a": 1,}', "JSON"),
        (b"/* */ {}", "JSON"),
    ],
)
def test_only_one_strict_json_value_is_taken(bridge: RunningBridge, body: bytes, text: str) -> None:
    response = bridge.post(body)
    problem_in(response, 400)
    assert text in response.text


@pytest.mark.parametrize(
    "body",
    [
        b'{"grant_type": "client_credentials", "client": {"id": "c"}, "scopes": [], "scopes": ["read"]}',
        b'{"grant_type": "client_credentials", "client": {"id": "a", "id": "b"}, "scopes": []}',
        b'{"grant_type": "client_credentials", "client": {"id": "a"}, "scopes": [], "context": {"x": 1, "x": 1}}',
        b'{"grant_type": "client_credentials", "client": {"id": "a", "\\u0069d": "b"}, "scopes": []}',
    ],
)
def test_no_name_may_stand_twice_in_one_object(bridge: RunningBridge, body: bytes) -> None:
    assert "twice" in problem_in(bridge.post(body), 400)["detail"]


def nested(levels: int) -> bytes:
    """A request that is `levels` deep: the body itself and `context` are two of them."""
    value = "[" * (levels - 2) + "]" * (levels - 2)
    return json.dumps(request("read")).encode()[:-1] + f', "context": {{"a": {value}}}}}'.encode()


def test_a_hundred_levels_are_taken(bridge: RunningBridge) -> None:
    assert bridge.ask(nested(100))["outcome"] == "allow"


@pytest.mark.parametrize("levels", [101, 1_000, 100_000])
def test_more_levels_are_not(bridge: RunningBridge, levels: int) -> None:
    assert "100 levels" in problem_in(bridge.post(nested(levels)), 400)["detail"]


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_brackets_that_never_close_do_no_harm(bridge: RunningBridge, opening: bytes) -> None:
    problem_in(bridge.post(opening * 500_000), 400)


def padded(size: int) -> bytes:
    body = json.dumps(request("read", context={"pad": ""})).encode()
    return body.replace(b'"pad": ""', b'"pad": "' + b"x" * (size - len(body)) + b'"')


def test_four_mebibytes_are_taken_and_recorded(bridge: RunningBridge) -> None:
    body = padded(4 * 1024 * 1024)
    assert len(body) == 4 * 1024 * 1024
    reply = bridge.ask(body)
    assert reply["outcome"] == "allow"
    assert len(bridge.input_of(reply["decision_id"])["context"]["pad"]) > 4_000_000
    assert bridge.entry_of(reply["decision_id"])["shortened"] == ["request"]


def test_one_byte_more_is_not(bridge: RunningBridge) -> None:
    assert "4194304" in problem_in(bridge.post(padded(4 * 1024 * 1024 + 1)), 413)["detail"]


def test_256_scopes_are_taken(bridge: RunningBridge) -> None:
    scopes = [f"tenant:{number}" for number in range(256)]
    assert bridge.ask(request(*scopes))["granted_scopes"] == scopes


@pytest.mark.parametrize("count", [257, 10_000, 90_000])
def test_more_scopes_are_refused_by_their_number(bridge: RunningBridge, count: int) -> None:
    response = bridge.post(request(*(f"s{number}" for number in range(count))))
    assert pointers_in(response) == ["/scopes"]
    assert "256" in response.text
    assert "max_scopes" in response.text


def test_duplicates_do_not_make_room_for_more(bridge: RunningBridge) -> None:
    assert pointers_in(bridge.post(request(*["read"] * 257))) == ["/scopes"]


def test_scopes_that_no_entry_could_hold_are_refused(bridge: RunningBridge) -> None:
    response = bridge.post(request(*(f"{number}" * 40 for number in range(100, 350))))
    assert pointers_in(response) == ["/scopes"]
    assert "8192 bytes" in response.text


HOSTILE = {
    "invalid_scope": [
        *('"]', "", " ", "a b", "read ", " read", "\t", "a\nb", "\x00", "\x7f", "back\\slash", '"', "é", "读", "😀"),
        *("issue:access_token", "issue:", "re\u200bad", "\uff52\uff45\uff41\uff44", "a" * 8000 + "\n"),
    ],
    "unmapped_scope": [
        *("../", "../../etc/passwd", "__proto__", "constructor", "%2F", "%00", "]", "[0]", "read]", "'", "`", "${x}"),
        *("data.issuance.gate", "issuance.gate", "gate", "scope", "allow", "tenant", "{{7*7}}", "a" * 8180),
        *("*", "read*", "<script>", "0", "null", "true", "Issue:x", "..", ".", "/", "#", "--", ";", "readread"),
    ],
}


@pytest.mark.parametrize(
    ("code", "scope"),
    [(code, scope) for code, scopes in HOSTILE.items() for scope in scopes],
    ids=itertools.count(),
)
def test_a_hostile_scope_is_denied_on_record_and_harms_no_other(bridge: RunningBridge, code: str, scope: str) -> None:
    reply = bridge.ask(request(scope, "read"))
    assert reply["granted_scopes"] == ["read"]
    assert reply["scopes"][scope]["outcome"] == "deny"
    assert reply["scopes"][scope]["findings"] == [{"code": code}]
    entry = bridge.entry_of(reply["decision_id"])
    assert entry["scopes"][scope]["outcome"] == "deny"
    assert entry["granted_scopes"] == ["read"]


def test_one_scope_may_be_as_long_as_all_together(bridge: RunningBridge) -> None:
    reply = bridge.ask(request("a" * 8192))
    assert reply["scopes"]["a" * 8192]["outcome"] == "deny"
    assert pointers_in(bridge.post(request("a" * 8193))) == ["/scopes"]


def test_hostile_scopes_alone_are_a_denial(bridge: RunningBridge) -> None:
    scopes = [scope for scopes in HOSTILE.values() for scope in scopes if len(scope) < 100]
    reply = bridge.ask(request(*scopes))
    assert (reply["outcome"], reply["granted_scopes"]) == ("deny", [])
    assert reply["scopes"].keys() == set(scopes)
    assert bridge.entry_of(reply["decision_id"])["scopes"].keys() == set(scopes)


@pytest.mark.parametrize("client", ['"]', "../", "__proto__", "%2F", "读", "😀", "a" * 512])
def test_a_hostile_client_is_only_a_name(bridge: RunningBridge, client: str) -> None:
    reply = bridge.ask(request("read", client={"id": client}))
    assert bridge.entry_of(reply["decision_id"])["request"]["client"] == {"id": client}
