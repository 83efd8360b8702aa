"""Personal values: nothing but the side tables holds them, and after an erasure nothing at all does."""

import base64
import hashlib
import itertools
import json
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

import bridge.evidence.erase as erasing
from bridge.cli.main import cli
from bridge.errors import EvidenceUnavailable
from bridge.evidence.files import DATABASE, INDEX
from tests.support.bridge import RunningBridge, request, running_bridge
from tests.support.evidence import all_found
from tests.support.planted import forms, traces
from tests.support.policies import write_policies
from tests.support.waiting import wait_until

PERSONAL = ["/subject/id", "/subject/properties/email", "/authorization_details/*/account"]
POLICIES = {
    "issuance.gate": """
allow contains {"code": "open", "title": sprintf("Open house for %s", [input.subject.properties.email])}
limit := {"authorization_details": input.authorization_details} if input.authorization_details
""",
    "issuance.scope.profile": """
allow contains {"code": sprintf("user_%s_reads", [input.subject.id]), "title": "Anyone reads"}
claims := {
    "mail": lower(input.subject.properties.email),
    "pairwise": base64.encode(input.subject.id),
    input.subject.id: true,
}
""",
    "issuance.scope.broken": """
allow := true
limit := {sprintf("key of %s", [input.subject.id]): 1}
""",
    "issuance.scope.conflict": """
allow := true
claims := {"a": input.subject.properties.email}
claims := {"a": 1}
""",
    "issuance.scope.waived": """
allow contains {"code": "late", "exception": {"kind": "waiver", "id": input.subject.id, "approved_by": ["x"],
    "expires": "2020-01-01T00:00:00Z"}}
allow contains {"code": "now", "exception": {"kind": "waiver", "id": "EX-1", "approved_by": [input.subject.id],
    "expires": "2120-01-01T00:00:00Z"}}
require contains {"acr_values": [input.subject.properties.email]}
""",
    'issuance.scope_prefix["of:"]': """
allow contains {"code": "own", "title": "One's own"}
limit := {"audience": [concat("/", ["https://api.example", input.subject.id])]}
""",
}


@dataclass(frozen=True)
class Person:
    subject: str
    email: str
    account: str

    def __iter__(self) -> Iterator[str]:
        return iter((self.subject, self.email, self.account))


_numbers = itertools.count(1)


def somebody() -> Person:
    """With values that nothing else has."""
    number = f"{next(_numbers):04}"
    return Person(f"Subject-{number}-Quetzal", f"quetzal+{number}@example.test", f"DE00-{number}-PLANTED")


def about(person: Person, **members: Any) -> dict[str, Any]:
    """Repeats the personal values wherever a request has room for them."""
    subject, email, account = person
    body = {
        "grant_type": "authorization_code",
        "subject": {"type": "user", "id": subject, "properties": {"email": email, "floor": 3}},
        "authorization_details": [{"type": "payment", "account": account, "again": [account]}],
        "context": {"hint": f"mailto:{email}", subject: {"x": [subject.upper()]}, "session_of": subject},
        "session": {"id": f"s-{subject}"},
        "subject_token": {"preferred_username": subject, "email": email},
    }
    scopes = ("profile", "broken", "conflict", "waived", f"of:{subject}", f"nobody's:{email}")
    return request(*scopes, **{**body, **members})


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_policies(tmp_path_factory.mktemp("rego"), POLICIES)


@contextmanager
def private_bridge(folder: Path, policies: Path) -> Iterator[RunningBridge]:
    evidence = {"path": str(folder / "evidence"), "personal": PERSONAL}
    with running_bridge(folder, policies, evidence=evidence) as bridge:
        yield bridge


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory, policies: Path) -> Iterator[RunningBridge]:
    """One for all tests here that do not look at the whole folder; each asks for somebody else."""
    with private_bridge(tmp_path_factory.mktemp("bridge"), policies) as bridge:
        yield bridge


def ask(bridge: RunningBridge, person: Person, **members: Any) -> dict[str, Any]:
    headers = {"X-Request-ID": f"for-{person.subject}"}
    reply: dict[str, Any] = bridge.ask(about(person, **members), headers=headers)
    return reply


def published(bridge: RunningBridge) -> None:
    """Waits until a checkpoint covers what stands in the log now."""
    size, checkpoint = len(all_found(bridge.evidence)), bridge.evidence / "log" / "checkpoint"
    wait_until(lambda: checkpoint.exists() and int(checkpoint.read_text().splitlines()[1]) >= size)


def log(bridge: RunningBridge, *arguments: str) -> Result:
    """A `log` command with this bridge's configuration, in this process while the bridge runs in its own."""
    return CliRunner().invoke(cli, ["log", *arguments, "--config", str(bridge.config)])


def show(bridge: RunningBridge, wanted: str, *options: str) -> dict[str, Any]:
    done = log(bridge, "show", wanted, "--json", *options)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[0])
    return found


def erase(bridge: RunningBridge, *options: str) -> dict[str, Any]:
    done = log(bridge, "erase", "--reason", "request 4711 of the person", "--by", "dpo", "--json", *options)
    assert done.exit_code == 0, done.output
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_the_search_finds_every_form(tmp_path: Path) -> None:
    secret = "Subject-Quetzal-7f3a9c"
    for number, form in enumerate(sorted(forms(secret))):
        (tmp_path / f"{number}").write_bytes(b"before" + form + b"after")
    for shift in range(3):
        (tmp_path / f"b{shift}").write_bytes(base64.b64encode(b"abc"[:shift] + secret.encode() + b"xyz"))
    assert traces(tmp_path, [secret]) == {secret: {path.name for path in tmp_path.iterdir()}}
    assert traces(tmp_path, ["Somebody-else"]) == {"Somebody-else": set()}


def test_only_the_side_tables_hold_personal_values_and_after_erasure_nothing_does(
    tmp_path: Path, policies: Path
) -> None:
    person, other = somebody(), somebody()
    nothing: dict[str, set[str]] = {secret: set() for secret in person}
    with private_bridge(tmp_path, policies) as bridge:
        reply = ask(bridge, person)
        assert (
            reply["scopes"]["profile"]["findings"][0]["code"] == f"user_{person.subject}_reads"
        )  # the caller sees all
        assert reply["scopes"]["broken"]["outcome"] == reply["scopes"]["conflict"]["outcome"] == "deny"
        report(bridge, reply, person)
        for _ in range(20):  # so that rows of both lie on the same pages
            ask(bridge, other)
            ask(bridge, person)
        assert log(bridge, "query", "--json").exit_code == 0  # makes the query tables
        published(bridge)
        before = traces(bridge.evidence, person)
        assert all(before.values()), "the test has planted nothing"
        assert set().union(*before.values()) <= {DATABASE, f"{DATABASE}-wal"}
        written = entry_bytes(bridge).lower()
        assert not [form for secret in person for form in forms(secret) if form in written]
        options = ("--subject", person.subject, "--reason", "asked for", "--json")
        done = bridge.cli("log", "erase", *options)
        assert json.loads(done.stdout) == {"count": 21, "erased": True, "clear": 0}, done.stderr
        assert traces(bridge.evidence, person) == nothing
        assert traces(bridge.evidence, other) == {secret: {DATABASE} for secret in other}
        assert erase(bridge, "--subject", person.subject) == {"count": 0, "erased": True, "clear": 0}
        ask(bridge, other)
        published(bridge)
        verified = log(bridge, "verify")
        assert verified.exit_code == 0, verified.stdout
        assert "personal values of 21 entries are erased; erasure entries tell of 21" in verified.stdout
        late = report(bridge, reply, person, jti="late")
        assert late["violations"] == ["second_token"]
        assert traces(bridge.evidence, person)[person.email] == set()
        assert bridge.stop() == 0
        assert person.subject not in json.dumps(bridge.entries())
        assert traces(bridge.evidence, other) == {secret: {DATABASE} for secret in other}


def test_erasing_works_while_no_bridge_runs(tmp_path: Path, policies: Path) -> None:
    person = somebody()
    with private_bridge(tmp_path, policies) as bridge:
        ask(bridge, person)
        assert bridge.stop() == 0
        assert erase(bridge, "--subject", person.subject)["count"] == 1
        assert traces(bridge.evidence, person) == {secret: set() for secret in person}


def report(bridge: RunningBridge, reply: dict[str, Any], person: Person, **members: Any) -> dict[str, Any]:
    """Tells the bridge of the token that was minted by `reply`."""
    said = {"decision_id": reply["decision_id"], "jti": person.account, "exp": 1, "scopes": reply["granted_scopes"]}
    body = {**said, "audience": reply["limit"]["audience"], **members}
    response = bridge.client.post("/v1/issuance/issued", json=body, headers={"X-Request-ID": person.subject})
    assert response.status_code == 200, response.text
    told: dict[str, Any] = response.json()
    return told


def entry_bytes(bridge: RunningBridge) -> bytes:
    return b"\n".join(found.data for found in all_found(bridge.evidence))


def test_an_entry_without_personal_values_still_tells_what_happened(bridge: RunningBridge) -> None:
    entry = bridge.entry_of(ask(bridge, somebody())["decision_id"])
    shown = entry["request"]
    assert shown["subject"]["type"] == "user"
    assert shown["subject"]["id"].keys() == shown["subject"]["properties"]["email"].keys() == {"commitment"}
    assert shown["subject"]["properties"]["floor"] == 3
    assert shown["client"] == {"id": "c"}
    assert "salt" not in shown
    assert shown["authorization_details"][0]["type"] == "payment"
    assert entry["claims"]["mail"].keys() == {"commitment"}
    assert {"profile", "broken", "conflict", "waived"} < entry["scopes"].keys()
    (own,) = (scope for scope, answer in entry["scopes"].items() if answer["findings"][0]["code"] == "own")
    assert entry["granted_scopes"] == ["profile", own]  # a name is the same one everywhere in its entry
    assert own in shown["scopes"]
    assert entry["limit"]["authorization_details"].keys() == {"commitment"}
    failed = [e for e in entry["exceptions"] if e["path"] == "policy_error"]
    assert [e["package"] for e in failed] == ['issuance.scope["broken"]', 'issuance.scope["conflict"]']
    assert all(e["message"].keys() == {"commitment"} for e in failed)
    assert {"open", "own"} < {rule["code"] for rule in entry["rules"]}


def test_commitments_to_one_value_differ_from_entry_to_entry(bridge: RunningBridge) -> None:
    person = somebody()
    entries = [bridge.entry_of(ask(bridge, person)["decision_id"]) for _ in range(2)]
    found = [entry["request"]["subject"]["id"]["commitment"] for entry in entries]
    found += [entry["request"]["subject_token"]["preferred_username"] for entry in entries]
    assert len(set(found)) == 4


def test_a_reported_token_repeats_nothing_and_breaks_nothing(bridge: RunningBridge) -> None:
    person = somebody()
    reply = ask(bridge, person)
    assert report(bridge, reply, person)["violations"] == []
    told = bridge.entries()[-1]
    assert (told["kind"], told["scopes"][0]) == ("issued", "profile")
    assert person.subject not in json.dumps(told)
    again = report(bridge, reply, person)
    assert again["evidence"]["index"] == told_at(bridge, told)  # it is known to be the same report
    wider = report(bridge, reply, person, scopes=["profile", f"of:{person.subject}", "admin"])
    assert wider["violations"] == ["more_scopes", "contradicts_report"]
    shown = show(bridge, told["id"])["hidden"]
    assert {json.loads(one["json"]) for one in shown} >= {f"of:{person.subject}", person.subject}
    erase(bridge, "--subject", person.subject)
    assert {one["state"] for one in show(bridge, told["id"])["hidden"]} == {"erased"}
    again = report(bridge, reply, person)  # nothing can contradict what is erased
    assert (again["evidence"]["index"], again["violations"]) == (told_at(bridge, told), [])
    assert report(bridge, reply, person, scopes=["profile"])["violations"] == ["contradicts_report"]


def test_a_servers_own_list_agrees_with_what_is_hidden_and_with_what_is_erased(
    bridge: RunningBridge, tmp_path: Path
) -> None:
    person = somebody()
    reply = ask(bridge, person)
    report(bridge, reply, person)
    token = {"jti": person.account, "decision_id": reply["decision_id"], "exp": 1, "scopes": reply["granted_scopes"]}
    issued = tmp_path / "issued.jsonl"
    issued.write_text(json.dumps({**token, "audience": reply["limit"]["audience"]}))

    def findings() -> list[str]:
        lines = log(bridge, "reconcile", "--issued", str(issued), "--json").stdout.splitlines()
        return [line for line in lines if reply["decision_id"] in line]

    assert findings() == []
    erase(bridge, "--subject", person.subject)
    assert findings() == []
    issued.write_text(json.dumps({**token, "scopes": ["profile"], "exp": 2}))
    assert [json.loads(line)["code"] for line in findings()] == ["contradicts_report"]


def told_at(bridge: RunningBridge, entry: dict[str, Any]) -> int:
    return next(found.index for found in all_found(bridge.evidence) if found.entry["id"] == entry["id"])


def test_what_is_disclosed_is_checked_by_foreign_tools(bridge: RunningBridge, tmp_path: Path) -> None:
    person = somebody()
    decision_id = ask(bridge, person)["decision_id"]
    published(bridge)
    hidden = show(bridge, decision_id)["hidden"]
    assert {one["state"] for one in hidden} == {"good"}
    by_path = {one["path"]: one for one in hidden}
    assert json.loads(by_path["/request/subject/id"]["json"]) == person.subject
    assert json.loads(by_path["/claims/mail"]["json"]) == person.email
    done = log(bridge, "prove", decision_id, "--disclose", "--output", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    (proof,) = (tmp_path / "out").glob("*.tlog-proof")
    (lines,) = (tmp_path / "out").glob("*.disclosed.jsonl")
    check = ["log", "check", str(proof), "--vkey", str(bridge.evidence / "log" / "vkey")]
    checked = CliRunner().invoke(cli, check)
    assert checked.exit_code == 0
    assert f"{len(hidden)} values in {lines.name} are what it committed to" in checked.stdout
    script = r"""
        line=$(head -n 1 "$1")
        { echo "$line" | jq -r .salt | xxd -r -p; echo "$line" | jq -j .json; } | openssl dgst -sha256 -binary | base64
    """
    first = json.loads(lines.read_text().splitlines()[0])
    made = subprocess.run(["sh", "-c", script, "sh", lines], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert made.stdout.strip() == first["commitment"]
    lines.write_text(lines.read_text().replace(person.subject, person.subject[::-1], 1))
    checked = CliRunner().invoke(cli, check)
    assert checked.exit_code == 1
    assert "are not what the entry committed to" in checked.stdout


def test_proofs_and_checkpoints_from_before_an_erasure_hold_after_it(bridge: RunningBridge, tmp_path: Path) -> None:
    person = somebody()
    decision_id = ask(bridge, person)["decision_id"]
    published(bridge)
    log(bridge, "prove", decision_id, "--disclose", "--output", str(tmp_path / "out"))
    (proof,) = (tmp_path / "out").glob("*.tlog-proof")
    old = tmp_path / "old"
    old.write_bytes((bridge.evidence / "log" / "checkpoint").read_bytes())
    assert erase(bridge, "--subject", person.subject)["count"] == 1
    shown = show(bridge, decision_id, "--input")
    assert shown["input"] == "erased"
    assert {one["state"] for one in shown["hidden"]} == {"erased"}
    assert not any({"salt", "json"} & one.keys() for one in shown["hidden"])
    published(bridge)
    assert log(bridge, "verify", "--old", str(old)).exit_code == 0
    vkey = str(bridge.evidence / "log" / "vkey")
    checked = CliRunner().invoke(cli, ["log", "check", str(proof), "--vkey", vkey])
    assert checked.exit_code == 0, checked.stdout  # whoever was shown the values before can still prove them
    assert log(bridge, "prove", decision_id, "--output", str(tmp_path / "later")).exit_code == 0


def test_an_erasure_is_an_entry_that_names_nobody(bridge: RunningBridge) -> None:
    person = somebody()
    ask(bridge, person)
    erase(bridge, "--path", "/subject/properties/email", "--value", person.email)
    told = [entry for entry in bridge.entries() if entry["kind"] == "erasure"][-1]
    said = {"count": 1, "reason": "request 4711 of the person", "by": "dpo", "path": "/subject/properties/email"}
    assert said.items() <= told.items()
    assert told["instance"].startswith("bridge/erase-")
    assert not [form for secret in person for form in forms(secret) if form in json.dumps(told).lower().encode()]
    published(bridge)
    assert "OK" in log(bridge, "verify").stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--subject", "nina"], "--reason is needed"),
        (["--subject", "nina", "--reason", "for Nina"], "must not name the value"),
        (["--subject", "nina", "--reason", "r", "--by", "nina"], "must not name the value"),
        (["--reason", "r"], "either --subject, or --path with --value"),
        (["--path", "/subject/id", "--reason", "r"], "either --subject, or --path with --value"),
        (["--subject", "nina", "--path", "/subject/id", "--value", "x", "--reason", "r"], "either --subject"),
        (["--path", "subject", "--value", "x", "--reason", "r"], "not a JSON pointer"),
        (["--subject", "nina", "--reason", "a\nb"], "one line"),
        (["--subject", "", "--reason", "r"], "must not name the value"),
    ],
)
def test_wrong_use_erases_nothing(options: list[str], said: str) -> None:
    done = CliRunner().invoke(cli, ["log", "erase", *options])
    assert done.exit_code == 2
    assert said in done.output


def test_a_dry_run_only_counts(bridge: RunningBridge) -> None:
    person = somebody()
    decision_id = ask(bridge, person)["decision_id"]
    done = log(bridge, "erase", "--dry-run", "--subject", person.subject)
    assert (done.exit_code, done.stdout) == (0, "1 entries would be erased\n")
    assert {one["state"] for one in show(bridge, decision_id)["hidden"]} == {"good"}


def test_a_committed_subject_is_found_until_it_is_erased(bridge: RunningBridge) -> None:
    person, other = somebody(), somebody()
    decision_id = ask(bridge, person)["decision_id"]
    ask(bridge, other)

    def found(*options: str) -> list[str]:
        lines = log(bridge, "query", "--json", *options).stdout.splitlines()
        return [json.loads(line)["entry"]["id"] for line in lines]

    assert found("--subject", person.subject) == [decision_id]
    assert found("--subject", person.subject, "--scope", "profile", "--client", "c") == [decision_id]
    assert found("--subject", "Nobody") == []
    assert INDEX not in traces(bridge.evidence, person)[person.subject]
    erase(bridge, "--subject", person.subject)
    assert found("--subject", person.subject) == []
    assert len(found("--subject", other.subject)) == 1


def test_guessing_works_with_the_salt_and_fails_without_it(bridge: RunningBridge) -> None:
    """Who has the entry, the reply's time and all the candidates, but not what was erased."""
    person = somebody()
    decision_id = ask(bridge, person)["decision_id"]
    entry, document = bridge.entry_of(decision_id), bridge.input_of(decision_id)
    hidden = [one for one in show(bridge, decision_id)["hidden"] if one["path"] == "/request/subject/id"]
    known = bytes.fromhex(hidden[0]["salt"])
    assert hashlib.sha256(known + orjson.dumps(person.subject)).digest() in targets(entry)
    assert hashlib.sha256(orjson.dumps(document)).digest() in targets(entry)
    assert len(bytes.fromhex(document.pop("salt"))) == 16
    erase(bridge, "--subject", person.subject)
    index = told_at(bridge, entry)
    with closing(sqlite3.connect(f"file:{bridge.evidence / DATABASE}?mode=ro", uri=True)) as db:
        kept = db.execute("SELECT DISTINCT salt, value FROM disclosure WHERE idx = ?", (index,)).fetchall()
    assert kept == [(b"", b"")]
    values = [orjson.dumps(one) for one in (*person, person.subject.upper(), [person.account], True)]
    salts = [b"", bytes(16), entry["id"].encode(), entry["time"].encode(), *targets(entry)]
    guesses = {hashlib.sha256(salt + value).digest() for salt, value in itertools.product(salts, values)}
    guesses.add(hashlib.sha256(orjson.dumps(document)).digest())
    assert not guesses & targets(entry)


def targets(entry: dict[str, Any]) -> set[bytes]:
    """Every commitment and digest in an entry, by its looks."""
    texts = re.findall(r"[A-Za-z0-9+/]{43}=", json.dumps(entry))
    return {base64.b64decode(text) for text in texts} | {bytes.fromhex(entry["input_digest"])}


def test_a_reader_that_does_not_end_is_told_of(bridge: RunningBridge, monkeypatch: pytest.MonkeyPatch) -> None:
    person = somebody()
    ask(bridge, person)
    monkeypatch.setattr(erasing, "FOR_S", 0.3)
    with closing(sqlite3.connect(bridge.evidence / DATABASE, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM entry").fetchone()
        ask(bridge, person)
        with pytest.raises(EvidenceUnavailable, match="end that program, and run this again"):
            erasing.erase(bridge.evidence, "bridge/erase-x", [0], {"path": "/subject/id"})
        assert bridge.ask(about(person))["outcome"] == "conditional"  # nobody else has to wait for it
    assert erase(bridge, "--subject", person.subject)["count"] == 3
