"""The log of AuthZEN requests: every item once, within bounds, hidden where it must be, and read by every command."""

import json
import sqlite3
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bridge.cli.main import cli
from bridge.model.entry import MAX_ENTRY_BYTES, canonical, exact
from bridge.model.mask import SecretMask
from tests.authzen.asking import ask, batch, code, gate, item, items, party, post, says, user, write_saying
from tests.faults.wire import Asked, honest, hostile_server, http
from tests.support.bridge import RunningBridge, local_bridge, running_bridge
from tests.support.planted import traces
from tests.support.policies import write_policies
from tests.support.waiting import wait_until

OTHER = "https://other.example"
DOOR = {"type": "door", "id": "d"}


def door(subject: Any = None, **more: Any) -> dict[str, Any]:
    return item("open", user() if subject is None else subject, resource=DOOR, **more)


MIXED = batch(
    *(gate(), "s:a", door(), item("s:b", target=OTHER), door(user("carol"))),
    *(item("s:a", user("bob")), item("s:c", context={"acr": 1}), item("x", resource={"id": 1}), "unmapped", {}),
    *(item("open", resource={"type": "failing", "id": "x"}), gate("refresh_token"), door(user("bob"))),
)


def new_entries(bridge: RunningBridge, body: Any) -> list[dict[str, Any]]:
    before = len(bridge.entries())
    ask(bridge, body)
    return bridge.entries()[before:]


def assert_each_once(entries: list[dict[str, Any]], count: int) -> None:
    assert Counter(n for entry in entries for n in entry["batch"]["items"]) == Counter(range(count))
    assert len({entry["batch"]["id"] for entry in entries}) == 1


def test_every_item_of_a_mixed_request_is_accounted_for_once(bridge: RunningBridge) -> None:
    before = len(bridge.entries())
    reply = items(bridge, MIXED)
    entries = bridge.entries()[before:]
    assert [one["decision"] for one in reply] == [
        *(True, True, True, True, False),
        *(False, False, False, False, False),
        *(False, True, True),
    ]
    assert_each_once(entries, len(reply))
    assert Counter(entry["kind"] for entry in entries) == {"decision": 3, "evaluation": 1}
    (others,) = [entry for entry in entries if entry["kind"] == "evaluation"]
    assert others["batch"]["items"] == [2, 4, 5, 6, 7, 9, 10, 12]
    assert [(one["item"], one["outcome"], one.get("code")) for one in others["decisions"]] == [
        *((2, "allow", None), (4, "deny", "no_allow"), (5, "deny", "gate_missing"), (6, "deny", "malformed")),
        *((7, "deny", "malformed"), (9, "deny", "malformed"), (10, "deny", "policy_error"), (12, "allow", None)),
    ]
    assert len(others["request"]["tuples"]) == len(others["decisions"])
    assert others["request"]["tuples"][0] == {"subject": user(), "action": {"name": "open"}, "resource": DOOR}
    assert [rule["package"] for rule in others["rules"]] == ['authzen.resource["door"]']
    assert [(one["path"], one["package"]) for one in others["exceptions"]] == [
        ("policy_error", 'authzen.resource["failing"]')
    ]
    assert "to_number" in others["exceptions"][0]["message"]
    assert "to_number" not in json.dumps(reply)
    for entry in entries:
        if entry["kind"] == "decision":
            first = entry["batch"]["items"][0]
            assert reply[first]["context"]["issuance_ext"]["decision_id"] == entry["id"]


def test_what_the_engine_saw_of_other_tuples_is_kept(bridge: RunningBridge) -> None:
    body = {
        "evaluations": [door(user("alice", n=1.5), context={"note": "x", "password": "hunter2"}), door(user("bob"))]
    }
    (entry,) = new_entries(bridge, body)
    seen: Any = bridge.input_of(entry["id"])
    assert [one["subject"] for one in seen] == [user("alice", n=1.5), user("bob")]
    assert seen[0]["context"] == {"note": "x", "password": "***"}
    assert {(one["id"], one["door"], one["caller"], one["issuer"]) for one in seen} == {
        (entry["id"], "authzen", "local", "local")
    }
    assert entry["request"]["tuples"][0]["subject"]["properties"]["n"] == {"number": "1.5"}
    assert entry["decisions"][0]["context"] == {"note": "x"}


def test_what_has_no_room_in_one_entry_stands_in_further_ones(bridge: RunningBridge) -> None:
    body = {"evaluations": [door(user("alice", x="é" * 1000), context={"note": "n" * 500}) for _ in range(200)]}
    entries = new_entries(bridge, body)
    assert len(entries) > 10
    assert_each_once(entries, 200)
    assert {entry["kind"] for entry in entries} == {"evaluation"}
    assert [entry.get("decision_id") for entry in entries] == [None] + [entries[0]["id"]] * (len(entries) - 1)
    assert all(len(canonical(entry)) <= MAX_ENTRY_BYTES for entry in entries)
    seen = [document for entry in entries for document in _seen(bridge, entry)]
    assert len(seen) == 200
    shown = bridge.cli("log", "show", entries[0]["id"])
    assert shown.returncode == 0, shown.stderr


def _seen(bridge: RunningBridge, entry: dict[str, Any]) -> list[Any]:
    found: Any = bridge.input_of(entry["id"])
    return list(found)


@pytest.mark.parametrize("size", [31_000, 40_000, 3_000_000])
def test_one_tuple_that_no_entry_can_hold_is_shortened(bridge: RunningBridge, size: int) -> None:
    body = {**door(user("alice", x="x" * size)), "context": {"note": "told"}}
    (entry,) = new_entries(bridge, body)
    assert len(canonical(entry)) <= MAX_ENTRY_BYTES
    assert entry["request"]["tuples"][0]["subject"] == {"type": "user", "id": "alice"}
    assert entry["shortened"] == ["request"]
    assert entry["decisions"] == [{"item": 0, "outcome": "allow", "context": {"note": "told"}}]
    assert _seen(bridge, entry)[0]["subject"]["properties"]["x"] == "x" * size
    body = {**door(), "context": {"note": "n" * size}}
    (entry,) = new_entries(bridge, body)
    assert entry["shortened"] == ["request", "context"]
    assert entry["decisions"] == [{"item": 0, "outcome": "allow"}]


@pytest.mark.parametrize("wild", ["\x01", "\U0001d11e", '"', "\\"])
def test_the_longest_names_fit_an_entry(bridge: RunningBridge, wild: str) -> None:
    entity = {"type": wild * 20_000, "id": wild * 20_000}
    (entry,) = new_entries(bridge, {"subject": entity, "action": {"name": wild * 20_000}, "resource": entity})
    assert len(canonical(entry)) <= MAX_ENTRY_BYTES
    assert entry["decisions"][0]["code"] == "unmapped_resource"


def test_issuance_entries_of_two_hundred_documents_are_bounded(bridge: RunningBridge) -> None:
    wide = [item(gate(), target=f"https://t{n}.example/{'x' * 400}") for n in range(100)]
    entries = new_entries(
        bridge, batch(*wide, *(f"s:{n}{'y' * 60}" for n in range(100)), context={"note": "z" * 20_000})
    )
    assert len(entries) == 101
    assert_each_once(entries, 200)
    assert all(len(canonical(entry)) <= MAX_ENTRY_BYTES for entry in entries)


def test_a_request_that_is_refused_as_a_whole_leaves_no_entry(bridge: RunningBridge) -> None:
    before = len(bridge.entries())
    for body in (batch(gate(), context={"acr": 1}), {"evaluations": [1]}, {"subject": user()}, batch(*["s:a"] * 201)):
        assert post(bridge, body).status_code == 400
    assert len(bridge.entries()) == before


def test_the_reply_of_a_semantic_ends_early_and_the_log_does_not(bridge: RunningBridge) -> None:
    options = {"options": {"evaluations_semantic": "deny_on_first_deny"}}
    before = len(bridge.entries())
    assert [one["decision"] for one in items(bridge, {**MIXED, **options})] == [True, True, True, True, False]
    assert_each_once(bridge.entries()[before:], len(MIXED["evaluations"]))


def told_by(bridge: RunningBridge, *arguments: str) -> str:
    """What a command of the log says, here in the process, since a start of its own takes a second each."""
    result = CliRunner().invoke(cli, ["log", *arguments, "--config", str(bridge.config)])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_every_command_reads_the_log(tmp_path: Path) -> None:
    with running_bridge(tmp_path, write_saying(tmp_path / "rego")) as bridge:
        for _ in range(3):
            items(bridge, MIXED)
        items(bridge, batch("s:a", "s:b"))
        items(bridge, {"evaluations": [door(user("alice", x="é" * 1000)) for _ in range(60)]})
        entries = bridge.entries()
        for kind in ("evaluation", "decision"):
            lines = told_by(bridge, "query", "--kind", kind, "--json").splitlines()
            assert len(lines) == len([entry for entry in entries if entry["kind"] == kind])
        denied = told_by(bridge, "query", "--outcome", "deny", "--kind", "evaluation", "--json").splitlines()
        assert [json.loads(line)["entry"]["batch"]["items"] for line in denied] == [[0, 1]]
        assert len(told_by(bridge, "query").splitlines()) > len(entries)
        for entry in entries:
            assert entry["id"] in told_by(bridge, "show", entry["id"])
        first = entries[-1]["decision_id"]
        assert told_by(bridge, "show", first, "--input").count('"kind": "evaluation"') > 5
        wait_until((bridge.evidence / "log" / "checkpoint").exists)
        wait_until(lambda: _exported(bridge, len(entries)))
    verified = told_by(bridge, "verify")
    assert "OK" in verified


def _exported(bridge: RunningBridge, count: int) -> bool:
    return all(
        len(told_by(bridge, "export", "--format", f).splitlines()) > count for f in ("ndjson", "ocsf", "cloudevents")
    )


NAMES = ("subject", "mail", "resource", "masked", "token", "client", "acr", "iban", "hidden")
MARKS = {name: f"MARK-{name}-7f1c" for name in NAMES}


@pytest.mark.parametrize("wide", [1, 60])
def test_personal_values_of_other_tuples_are_hidden(tmp_path: Path, wide: int) -> None:
    """The side tables of the database alone hold them; what is masked stands in the input document only."""
    personal = [
        "/subject/id",
        "/subject/properties/email",
        "/audience/*",
        "/client/id",
        "/authorization_details/*/iban",
    ]
    mask = ["/context/masked", "/authentication/acr", "/authorization_details/*/hidden"]
    evidence = {"path": str(tmp_path / "evidence"), "personal": personal, "mask": mask}
    told = f"{MARKS['subject']} and {MARKS['mail'].lower()}"
    policies = {
        "issuance.gate": 'allow := true\ndeny contains {"code": input.subject.id} if input.context.denied',
        'authzen.resource["door"]': f"""
allow := true
context := {{"to": input.subject.id, "about": "{told}", "mail": lower(input.subject.properties.email)}}
""",
        'authzen.resource["loud"]': "allow if to_number(input.subject.properties.email) > 0",
    }
    who = user(MARKS["subject"], email=MARKS["mail"], pad="p" * (1000 if wide > 1 else 1))
    context: dict[str, Any] = {"masked": MARKS["masked"], "token": MARKS["token"], "note": f"of {MARKS['subject']}"}
    detail = {"type": "pay", "iban": MARKS["iban"], "hidden": MARKS["hidden"]}
    context.update(client_id=MARKS["client"], acr=MARKS["acr"], authorization_details=[detail])
    doors = [item(MARKS["mail"], who, resource={"type": "door", "id": MARKS["resource"]}, context=context)] * wide
    loud = item("open", who, resource={"type": "loud", "id": "l"})
    with running_bridge(tmp_path, write_policies(tmp_path / "rego", policies), evidence=evidence) as bridge:
        malformed = item(gate(), who, MARKS["resource"], context={**context, "amr": 1})
        body = {"evaluations": [*doors, loud, item("s:a", who, MARKS["resource"], context=context), malformed]}
        reply = ask(bridge, body)["evaluations"]
        assert reply[0]["context"]["to"] == MARKS["subject"], "the caller is told"
        assert [code(one) for one in reply[wide : wide + 2]] == ["policy_error", "gate_denied"]
        for more in ({}, {"denied": True}):
            items(bridge, batch(gate(), "s:a", subject=who, target=MARKS["resource"], context={**context, **more}))
        entries = bridge.entries()
        assert bridge.verify().returncode == 0
    text = json.dumps(entries) + bridge.log_text()
    for name in NAMES:
        assert MARKS[name].lower() not in text.lower(), name
    found = traces(tmp_path / "evidence" / "log", MARKS.values())
    assert not any(found.values()), found
    assert not traces(tmp_path, [MARKS["token"]])[MARKS["token"]]
    assert {entry["kind"] for entry in entries} == {"evaluation", "decision"}


@pytest.mark.parametrize("documents", [1, 40])
async def test_a_batch_is_one_query(tmp_path: Path, documents: int) -> None:
    asked: list[Asked] = []
    async with hostile_server() as server:
        engine = {"kind": "opa", "url": server.url, "deadline_ms": 900}
        async with local_bridge(tmp_path, write_saying(tmp_path / "rego"), engine=engine) as bridge:
            current = bridge.bridge.policies.current
            assert current is not None
            digest = current.digest

            def reply(question: Asked) -> bytes:
                asked.append(question)
                return http(honest(question, digest))

            server.reply = reply
            targets = [f"https://t{n}.example" for n in range(documents)]
            body = batch(*(item(gate(), target=t) for t in targets), *(item("s:a", target=t) for t in targets))
            async with bridge.session.post("/access/v1/evaluations", json=body) as response:
                told = await response.json()
    questions = [one for one in asked if not one.probe]
    assert [len(one.items) for one in questions] == [documents]
    assert len(told["evaluations"]) == 2 * documents


def test_the_gates_entry_names_no_other(bridge: RunningBridge) -> None:
    edge = party("workload", "wl://edge")
    exchange = gate(grant_type="token_exchange")
    body = batch(exchange, item(exchange, edge), "s:a", item("s:b", target=OTHER), context=says())
    entries = new_entries(bridge, body)
    assert_each_once(entries, 4)
    named = {tuple(entry["batch"]["items"]): entry["batch"].get("gate_decision") for entry in entries}
    first = next(entry["id"] for entry in entries if entry["batch"]["items"] == [0, 2])
    assert named == {(0, 2): None, (1,): None, (3,): first}


@pytest.mark.parametrize("personal", [[], ["/subject/id", "/client/id"]])
def test_whom_other_tuples_are_about_is_found_and_erased(tmp_path: Path, personal: list[str]) -> None:
    """However many subjects one entry has, and whether it shows them or not."""
    with running_bridge(tmp_path, write_saying(tmp_path / "rego"), evidence={"personal": personal}) as bridge:
        ask(bridge, batch(door(user("nina-1")), door(user("carol-2")), context={"client_id": "client-3"}))
        ask(bridge, batch(door(user("carol-2")), door(user("carol-2"))))
        line = bridge.cli("log", "query", "--kind", "evaluation", "--limit", "1").stdout
        assert " open=deny " in line
        for subject, count in (("nina-1", 1), ("carol-2", 2), ("nobody", 0)):
            found = bridge.cli("log", "query", "--subject", subject, "--json").stdout.splitlines()
            assert [json.loads(line)["entry"]["kind"] for line in found] == ["evaluation"] * count
            told = json.loads(bridge.cli("log", "erase", "--subject", subject, "--dry-run", "--json").stdout)
            assert (told["count"], told["clear"]) == ((count, 0) if personal else (0, count))
        if personal:
            erase = ("log", "erase", "--reason", "asked", "--json")
            for place in (("--path", "/client/id", "--value", "client-3"), ("--subject", "carol-2")):
                assert json.loads(bridge.cli(*erase, *place).stdout)["count"] >= 1
        assert bridge.verify().returncode == 0
    if personal:
        assert not any(traces(tmp_path / "evidence", ["nina-1", "carol-2", "client-3"]).values())


def test_what_is_personal_in_one_entry_is_so_in_all_of_its_request(tmp_path: Path) -> None:
    """A default context stands in each of them, whoever their tuples are about."""
    people = [f"person-{n:03}" for n in range(60)]
    with running_bridge(tmp_path, write_saying(tmp_path / "rego"), evidence={"personal": ["/subject/id"]}) as bridge:
        told = new_entries(bridge, batch(*(door(user(one)) for one in people), context={"seen": people}))
        assert len(told) > 1
        assert_each_once(told, len(people))
        assert [one for one in people if one in json.dumps(told)] == []
        assert bridge.verify().returncode == 0


def test_a_number_costs_no_call_of_its_own() -> None:
    """A body may have half a million of them, and all other requests wait meanwhile."""
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    many = {"context": {str(n): n for n in range(5000)}, "list": [*range(5000), True, None, "x"]}
    sys.setprofile(count)
    try:
        told = exact(SecretMask()(many))
    finally:
        sys.setprofile(None)
    assert told == many
    assert calls < 100


def test_query_tables_of_an_older_version_are_good(tmp_path: Path) -> None:
    """They lack what their log had nothing of, until a command brings them up to date."""
    with running_bridge(tmp_path, write_saying(tmp_path / "rego")) as bridge:
        bridge.cli("log", "query")
        with closing(sqlite3.connect(bridge.evidence / "query.sqlite")) as db:
            db.execute("DROP TABLE decision_tuple")
        verified = bridge.verify()
        assert (verified.returncode, "query tables" in verified.stdout) == (0, False), verified.stdout
        ask(bridge, batch(door()))
        assert "evaluation" in bridge.cli("log", "query", "--subject", "alice").stdout
        assert bridge.verify().returncode == 0
