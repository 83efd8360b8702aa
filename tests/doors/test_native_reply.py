"""The wire form of the native door's reply, member by member."""

import base64
import hashlib
import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest

from bridge.evidence.keys import half_year
from bridge.model.times import now_ms
from tests.support.bridge import RunningBridge, request
from tests.support.evidence import reading

MEMBERS = {
    *("decision_id", "outcome", "granted_scopes", "valid_until", "scopes", "limit", "require", "claims", "crit"),
    *("findings", "evidence"),
}


def user_request(*scopes: str, **members: Any) -> dict[str, Any]:
    return request(*scopes, grant_type="authorization_code", subject={"type": "user", "id": "alice"}, **members)


def test_a_plain_yes(bridge: RunningBridge) -> None:
    reply = bridge.ask(request("read"))
    assert reply.keys() == MEMBERS
    assert reply["outcome"] == "allow"
    assert reply["granted_scopes"] == ["read"]
    assert reply["scopes"] == {
        "read": {
            "outcome": "allow",
            "findings": [{"code": "reader", "title": "Anyone reads"}],
            "require": [],
            "limit": {},
        }
    }
    assert (reply["limit"], reply["require"], reply["claims"], reply["crit"]) == ({}, [], {}, [])
    assert {"code": "open", "title": "Open house"} in reply["findings"]


def test_a_decision_is_good_for_thirty_seconds_and_its_id_is_a_uuid_of_version_7(bridge: RunningBridge) -> None:
    reply = bridge.ask(request("read"))
    entry = bridge.entry_of(reply["decision_id"])
    decided, until = datetime.fromisoformat(entry["time"]), datetime.fromisoformat(reply["valid_until"])
    assert until - decided == timedelta(seconds=30)
    assert reply["valid_until"].endswith("Z")
    assert uuid.UUID(reply["decision_id"]).version == 7


def test_evidence_points_at_the_exact_bytes(bridge: RunningBridge) -> None:
    first, second = bridge.ask(request("read")), bridge.ask(request("never"))
    assert second["evidence"]["index"] == first["evidence"]["index"] + 1
    for reply in (first, second):
        evidence = reply["evidence"]
        assert evidence.keys() == {"origin", "index", "leaf_hash"}
        assert evidence["origin"] == f"localhost/issuance-bridge/{half_year(now_ms())}"
        with reading(bridge.evidence) as reader:
            found = reader.at(evidence["index"])
        assert found.entry["id"] == reply["decision_id"]
        assert base64.b64decode(evidence["leaf_hash"]) == hashlib.sha256(b"\x00" + found.data).digest()


def test_a_denial_by_the_gate_names_itself_on_every_scope(bridge: RunningBridge) -> None:
    reply = bridge.ask(request("read", "write", client={"id": "blocked"}))
    assert reply.keys() == MEMBERS
    assert (reply["outcome"], reply["granted_scopes"]) == ("deny", [])
    assert {"code": "client_blocked", "title": "This client is blocked"} in reply["findings"]
    assert {scope: answer["outcome"] for scope, answer in reply["scopes"].items()} == {"read": "deny", "write": "deny"}
    assert all({"code": "gate_denied"} in answer["findings"] for answer in reply["scopes"].values())
    assert (reply["limit"], reply["claims"], reply["crit"]) == ({}, {}, [])


def test_one_scope_denied_narrows_and_is_explained(bridge: RunningBridge) -> None:
    reply = bridge.ask(request("read", "never", "unheard-of"))
    assert (reply["outcome"], reply["granted_scopes"]) == ("allow", ["read"])
    assert reply["scopes"]["never"]["outcome"] == "deny"
    assert {"code": "not_for_you", "title": "Nobody gets this"} in reply["scopes"]["never"]["findings"]
    assert reply["scopes"]["unheard-of"] == {
        "outcome": "deny",
        "findings": [{"code": "unmapped_scope"}],
        "require": [],
        "limit": {},
    }


def test_all_scopes_denied_is_a_denial(bridge: RunningBridge) -> None:
    assert bridge.ask(request("never"))["outcome"] == "deny"


def test_a_requirement_unmet_is_conditional_and_says_what_is_missing(bridge: RunningBridge) -> None:
    required = {"acr_values": ["urn:test:acr:high"], "max_age": 300}
    reply = bridge.ask(user_request("read", "pay"))
    assert (reply["outcome"], reply["granted_scopes"]) == ("conditional", ["read"])
    assert reply["require"] == [required]
    assert reply["scopes"]["pay"]["outcome"] == "conditional"
    assert reply["scopes"]["pay"]["require"] == [required]
    # What waits limits nothing: only the packages of granted scopes count.
    assert reply["limit"] == {}


def test_the_merged_limit_is_that_of_the_granted_scopes(bridge: RunningBridge) -> None:
    now = int(datetime.now().astimezone().timestamp())
    signed_in = {"acr": "urn:test:acr:high", "auth_time": now - 10}
    reply = bridge.ask(user_request("pay", "write", authentication=signed_in, audience=["https://pay.example"]))
    assert (reply["outcome"], reply["require"]) == ("allow", [])
    assert reply["limit"] == {"token_lifetime": 60, "audience": ["https://pay.example"]}
    assert reply["scopes"]["pay"]["limit"] == {"token_lifetime": 300, "audience": ["https://pay.example"]}
    assert reply["scopes"]["write"]["limit"] == {"token_lifetime": 60}


def test_claims_and_crit_go_out_verbatim(bridge: RunningBridge) -> None:
    reply = bridge.ask(request("sealed"))
    assert reply["claims"] == {"tenant": "acme", "region": {"eu": [1, True, "x", 0.5]}}
    assert reply["crit"] == ["tenant"]


def test_details_go_out_as_granted(bridge: RunningBridge) -> None:
    payment, other = {"type": "payment", "amount": "1.00", "memo": None}, {"type": "loan"}
    reply = bridge.ask(request("detailed", authorization_details=[payment, other]))
    assert reply["limit"]["authorization_details"] == [payment]


def test_no_scopes_means_a_token_without_any(bridge: RunningBridge) -> None:
    reply = bridge.ask(request())
    assert (reply["outcome"], reply["granted_scopes"], reply["scopes"]) == ("allow", [], {})


def test_a_prefix_answers_for_its_scopes(bridge: RunningBridge) -> None:
    reply = bridge.ask(request("tenant:acme", "tenant:../x"))
    assert reply["granted_scopes"] == ["tenant:acme", "tenant:../x"]


@pytest.mark.parametrize(
    ("scopes", "once"),
    [(["write", "read"], ["write", "read"]), (["read", "write", "read", "read"], ["read", "write"])],
)
def test_scopes_count_once_and_keep_their_order(bridge: RunningBridge, scopes: list[str], once: list[str]) -> None:
    reply = bridge.ask(request(*scopes))
    assert reply["granted_scopes"] == once
    assert list(reply["scopes"]) == once
    assert bridge.input_of(reply["decision_id"])["scopes"] == once


def test_scopes_compare_byte_for_byte(bridge: RunningBridge) -> None:
    reply = bridge.ask(request("read", "READ", "read/", "rea%64"))
    assert reply["granted_scopes"] == ["read"]


def test_a_reply_is_not_cached(bridge: RunningBridge) -> None:
    response = bridge.post(request("read"))
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    assert "Server" not in response.headers or "aiohttp" not in response.headers["Server"]
