"""`policy explain`: what decided a decision, from a real log, by the real command."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import PolicyRefused
from bridge.policy import trace as tracing
from bridge.policy.load import load
from bridge.policy.opa import find_opa
from bridge.policy.trace import trace
from tests.authzen.asking import EVALUATIONS, user
from tests.support.bridge import RunningBridge, request, running_bridge
from tests.support.policies import write_policies

SETS = {
    "issuance.gate": """
import data.issuance.lib

# METADATA
# title: Registered
# custom:
#   code: registered
allow contains lib.finding(rego.metadata.chain()) if _registered

_registered if {
	input.client.id in data.known.clients
	input.grant_type != "password"
}
""",
    "issuance.scope.pay": """# METADATA
# title: Pay
# scope: package
# authors:
#   - Payments <payments@example.com>
# custom:
#   risk: high
#   controls: [PSD2]

import data.issuance.lib

# METADATA
# title: A user pays
# custom:
#   code: user_pays
allow contains lib.finding(rego.metadata.chain()) if {
	input.subject.type == "user"
	input.consented_scopes
}

# METADATA
# title: Not much
# custom:
#   code: too_much
deny contains lib.finding(rego.metadata.chain()) if {
	some detail in input.authorization_details
	detail.amount > 100
}

# METADATA
# title: A waiver that has lapsed
# custom:
#   code: lapsed
#   exception: {kind: waiver, id: EX-1, approved_by: [ciso], expires: "2020-01-01T00:00:00Z"}
allow contains lib.finding(rego.metadata.chain()) if input.client.id == "batch"

# METADATA
# title: Later
# custom:
#   code: later
#   effective_on: "2999-01-01"
deny contains lib.finding(rego.metadata.chain()) if not input.cnf

limit := {"token_lifetime": 300}
""",
    'issuance.scope_prefix["t:"]': 'allow if input.scope == "t:a"',
    "issuance.scope.branched": "allow if {\n\tinput.context.ok\n} else if {\n\tinput.context.other\n}",
    "issuance.scope.fails": "allow if to_number(input.client.id) > 0",
    'authzen.resource["door"]': 'allow if {\n\tinput.subject.id == "alice"\n}',
}


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBridge]:
    folder = tmp_path_factory.mktemp("explain")
    with running_bridge(
        folder, write_policies(folder / "rego", SETS, {"known": {"clients": ["shop", "batch"]}})
    ) as made:
        yield made


def explained(bridge: RunningBridge, wanted: str, *options: str) -> dict[str, Any]:
    done = bridge.cli("policy", "explain", wanted, "--json", *options)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def rule(part: dict[str, Any], code: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in part["rules"] if code in (one["code"], one["rule"]))
    return found


def marks(told: dict[str, Any]) -> list[str | None]:
    return [line["mark"] for line in told["lines"]]


def test_each_line_is_marked_and_each_value_is_shown(bridge: RunningBridge) -> None:
    details = [{"type": "payment", "amount": 50}, {"type": "payment", "amount": 500}]
    asked = request("pay", "t:a", "nobody", client={"id": "batch"}, authorization_details=details)
    reply = bridge.ask(asked)
    told = explained(bridge, reply["decision_id"])
    assert (told["outcome"], told["client"], told["again"]["state"]) == ("deny", "batch", "same")
    gate, pay, prefixed, nobody = told["packages"]
    assert gate["gate"] and rule(gate, "registered")["looked_at"] == [
        {"path": ["client", "id"], "value": "batch"},
        {"path": ["grant_type"], "value": "client_credentials"},
    ]
    assert rule(gate, "registered")["data"] == [["known", "clients"]]
    assert (pay["owner"], pay["risk"], pay["controls"]) == ("Payments <payments@example.com>", "high", ["PSD2"])
    user_pays, too_much = rule(pay, "user_pays"), rule(pay, "too_much")
    assert not user_pays["spoke"] and marks(user_pays) == ["failed", "failed", None, None]
    assert user_pays["lines"][1]["text"] == '\tinput.subject.type == "user"'
    assert user_pays["looked_at"] == [{"path": ["subject", "type"], "value": "client"}]
    assert too_much["spoke"] and too_much["effect"] == "deny" and marks(too_much) == ["held", "held", "some", None]
    assert too_much["looked_at"] == [{"path": ["authorization_details"], "value": details}]
    lapsed, later = rule(pay, "lapsed"), rule(pay, "later")
    assert (lapsed["spoke"], lapsed["effect"]) == (True, "dropped")
    assert (later["spoke"], later["effect"]) == (True, "warn")
    assert later["looked_at"] == [{"path": ["cnf"], "absent": True}]
    assert {"path": "expired_exception", "id": "EX-1"}.items() <= told["exceptions"][0].items()
    assert (prefixed["package"], prefixed["rules"][0]["spoke"]) == ('issuance.scope_prefix["t:"]', True)
    assert prefixed["rules"][0]["looked_at"] == [{"path": ["scope"], "value": "t:a"}]
    assert (nobody["package"], nobody["answer"]["findings"]) == (None, [{"code": "unmapped_scope"}])


def test_in_words(bridge: RunningBridge) -> None:
    reply = bridge.ask(request("pay", "nobody", client={"id": "batch"}))
    index = str(reply["evidence"]["index"])
    done = bridge.cli("policy", "explain", index)
    assert done.returncode == 0
    for text in (
        f"decision {reply['decision_id']} (entry {index}): deny",
        "decided again: same",
        "exception path: expired_exception",
        'issuance.scope["pay"], p1.rego:',
        "Payments <payments@example.com>, risk high",
        "controls: PSD2",
        "failed: allow user_pays",
        '-     input.subject.type == "user"',
        "input.subject.type = client",
        "data.known.clients",
        "spoke: allow lapsed, without effect: its exception does not hold",
        "spoke: deny later, which only warns until it takes effect",
        "did not speak: deny too_much, row",
        "no package answers for it",
    ):
        assert text in done.stdout, text
    whole = bridge.cli("policy", "explain", index, "--all").stdout
    assert "spoke: _registered" in whole and "did not speak" not in whole
    one = bridge.cli("policy", "explain", index, "--scope", "nobody").stdout
    assert "user_pays" not in one and "no package answers for it" in one


def test_a_package_that_fails_says_where(bridge: RunningBridge) -> None:
    reply = bridge.ask(request("fails", client={"id": "shop"}))
    told = explained(bridge, reply["decision_id"], "--scope", "fails")
    (part,) = told["packages"]
    assert part["answer"]["findings"] == [{"code": "policy_error"}]
    assert marks(part["rules"][0]) == ["failed"]
    assert "to_number" in told["exceptions"][0]["message"]


def test_a_rule_with_an_else_is_one_rule(bridge: RunningBridge) -> None:
    reply = bridge.ask(request("branched", client={"id": "shop"}, context={"other": True}))
    (part,) = explained(bridge, reply["decision_id"], "--scope", "branched")["packages"]
    (allow,) = part["rules"]
    assert allow["spoke"] and marks(allow) == ["held", "failed", "held", "held", None]
    assert [one["path"][-1] for one in allow["looked_at"]] == ["ok", "other"]


def test_a_number_that_no_machine_word_holds(bridge: RunningBridge) -> None:
    """And a text that would clear the screen."""
    asked = request("branched", client={"id": "shop"}, context={"ok": 10**30, "other": "\x1b[2J"})
    reply = bridge.ask(asked)
    told = explained(bridge, reply["decision_id"], "--scope", "branched")
    assert told["again"]["state"] == "same"
    assert told["packages"][0]["rules"][0]["looked_at"] == [{"path": ["context", "ok"], "value": 10**30}]
    reply = bridge.ask({**asked, "context": {"other": "\x1b[2J"}})
    done = bridge.cli("policy", "explain", reply["decision_id"])
    assert 'input.context.other = "\\u001b[2J"' in done.stdout and "\x1b" not in done.stdout


def test_other_tuples(bridge: RunningBridge) -> None:
    door = {"action": {"name": "open"}, "resource": {"type": "door", "id": "1"}}
    asked = {"evaluations": [{**door, "subject": user(name)} for name in ("alice", "eve")]}
    assert bridge.client.post(EVALUATIONS, json=asked).status_code == 200
    entry = next(
        json.loads(text) for text in bridge.cli("log", "query", "--kind", "evaluation", "--json").stdout.splitlines()
    )
    told = explained(bridge, str(entry["index"]))
    assert [(part["item"], part["rules"][0]["spoke"]) for part in told["packages"]] == [(0, True), (1, False)]
    assert marks(told["packages"][1]["rules"][0]) == ["failed", "failed", None]
    assert "item 1: deny (no_allow: the bridge itself)" in bridge.cli("policy", "explain", str(entry["index"])).stdout


def test_what_cannot_be_decided_again_is_told_as_far_as_it_is_known(bridge: RunningBridge) -> None:
    reply = bridge.ask(request("pay", client={"id": "shop"}))
    kept = next((bridge.evidence / "policies").iterdir())
    away = kept.with_suffix(".away")
    kept.rename(away)
    try:
        done = bridge.cli("policy", "explain", reply["decision_id"])
    finally:
        away.rename(kept)
    assert done.returncode == 0
    assert "cannot be decided again: the policy set is not kept beside the log" in done.stdout
    assert "allow registered (issuance.gate, p0.rego:" in done.stdout
    done = bridge.cli("policy", "explain", "nobody")
    assert (done.returncode, done.stderr.strip()) == (1, "no decision nobody")
    assert bridge.cli("policy", "explain", "0").returncode == 1  # an entry of another kind


def test_a_trace_tells_lines_of_comprehensions_and_of_what_is_remembered(tmp_path: Path) -> None:
    policies = {
        "issuance.gate": """
allow if _helper

deny contains "x" if {
	not _helper
}

limit := {"audience": [a |
	some a in input.audience
	a != "no"
]} if _helper

_helper if {
	input.context.ok
} else if {
	input.context.other
}
""",
    }
    policy_set = load(write_policies(tmp_path / "rego", policies), find_opa())
    document = {"audience": ["yes", "no"], "context": {"other": True}}
    traced = trace(find_opa(), policy_set.bundle, "issuance.gate", ["allow", "deny", "limit"], document)
    held = {(one.name, one.place[1]): one.held for one in traced.rules.values()}
    assert held == {
        ("allow", 3): True,
        ("deny", 5): False,
        ("limit", 9): True,
        ("_helper", 14): False,
        ("_helper", 16): True,
    }
    rules = {one.name: one for one in traced.rules.values()}
    helped = {("context", "ok"), ("context", "other")}
    assert rules["deny"].looked_at == helped
    assert rules["limit"].looked_at == helped | {("audience",)}
    text = (tmp_path / "rego" / "p0.rego").read_text().split("\n")
    by = {text[row - 1].strip(): mark for (file, row), mark in traced.lines.items() if file == "p0.rego"}
    assert (by["not _helper"], by["some a in input.audience"], by['a != "no"']) == ("failed", "held", "some")
    assert (by["input.context.ok"], by["input.context.other"]) == ("failed", "held")


@pytest.mark.parametrize(
    ("bound", "most", "told"), [("MAX_TRACE_BYTES", 100_000, "larger"), ("TRACE_S", 0.01, "within")]
)
def test_a_trace_without_end_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, most: float, told: str
) -> None:
    """Each of its events repeats all local variables: a loop over a thousand values told gigabytes."""
    loop = {"issuance.gate": "allow if count([n | some n in numbers.range(1, 60); n > 0]) > 0"}
    made = load(write_policies(tmp_path, loop), find_opa())
    monkeypatch.setattr(tracing, bound, most)
    with pytest.raises(PolicyRefused, match=told):
        trace(find_opa(), made.bundle, "issuance.gate", ["allow"], {})
