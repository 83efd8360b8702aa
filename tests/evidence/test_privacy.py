"""Personal values: nothing but the side tables holds them, and after an erasure nothing at all does."""

import base64
import hashlib
import itertools
import json
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.evidence.files import DATABASE, INDEX
from tests.support.bridge import RunningBridge, request, run_cli, running_bridge
from tests.support.planted import forms, traces
from tests.support.policies import write_policies
from tests.support.waiting import wait_until

SUBJECT, EMAIL, ACCOUNT = "Subject-Quetzal-7f3a9c", "quetzal+planted@example.test", "DE00-PLANTED-4711-0042"
SECRETS = (SUBJECT, EMAIL, ACCOUNT)
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


def about(subject: str = SUBJECT, email: str = EMAIL, account: str = ACCOUNT, **members: Any) -> dict[str, Any]:
    """Repeats the personal values wherever a request has room for them."""
    return request(
        *("profile", "broken", "conflict", "waived", f"of:{subject}", f"nobody's:{email}"),
        grant_type="authorization_code",
        subject={"type": "user", "id": subject, "properties": {"email": email, "floor": 3}},
        authorization_details=[{"type": "payment", "account": account, "again": [account]}],
        context={"hint": f"mailto:{email}", subject: {"x": [subject.upper()]}, "session_of": subject},
        session={"id": f"s-{subject}"},
        subject_token={"preferred_username": subject, "email": email},
        **members,
    )


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_policies(tmp_path_factory.mktemp("rego"), POLICIES)


@pytest.fixture
def bridge(tmp_path: Path, policies: Path) -> Iterator[RunningBridge]:
    with running_bridge(tmp_path, policies, evidence={"path": str(tmp_path / "e"), "personal": PERSONAL}) as bridge:
        yield bridge


def ask(bridge: RunningBridge, **members: Any) -> dict[str, Any]:
    body = about(**members)
    reply: dict[str, Any] = bridge.ask(body, headers={"X-Request-ID": f"for-{body['subject']['id']}"})
    return reply


def published(bridge: RunningBridge, entries: int) -> bool:
    checkpoint = bridge.evidence / "log" / "checkpoint"
    return checkpoint.exists() and int(checkpoint.read_text().splitlines()[1]) >= entries


def show(bridge: RunningBridge, wanted: str | int, *options: str) -> dict[str, Any]:
    done = bridge.cli("log", "show", str(wanted), "--json", *options)
    assert done.returncode == 0, done.stderr
    first, *_ = done.stdout.splitlines()
    found: dict[str, Any] = json.loads(first)
    return found


def erase(bridge: RunningBridge, *options: str) -> dict[str, Any]:
    done = bridge.cli("log", "erase", "--reason", "request 4711 of the person", "--by", "dpo", "--json", *options)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_the_search_finds_every_form(tmp_path: Path) -> None:
    for number, form in enumerate(sorted(forms(SUBJECT))):
        (tmp_path / f"{number}").write_bytes(b"before" + form + b"after")
    for shift in range(3):
        (tmp_path / f"b{shift}").write_bytes(base64.b64encode(b"abc"[:shift] + SUBJECT.encode() + b"xyz"))
    assert traces(tmp_path, [SUBJECT]) == {SUBJECT: {path.name for path in tmp_path.iterdir()}}
    assert traces(tmp_path, [EMAIL]) == {EMAIL: set()}


def test_only_the_side_tables_hold_personal_values_and_after_erasure_nothing_does(bridge: RunningBridge) -> None:
    reply = ask(bridge)
    assert reply["scopes"]["profile"]["findings"][0]["code"] == f"user_{SUBJECT}_reads"  # the caller is told all
    other = {"subject": "Somebody-Else-11", "email": "else@example.test", "account": "XX-OTHER-99"}
    ask(bridge, **other)
    for _ in range(20):  # enough for rows of other people on the same pages
        ask(bridge)
    assert reply["scopes"]["broken"]["outcome"] == reply["scopes"]["conflict"]["outcome"] == "deny"
    assert bridge.cli("log", "query", "--json").returncode == 0  # makes the query tables
    wait_until(lambda: published(bridge, 22))
    before = traces(bridge.evidence, SECRETS)
    database = {name for files in before.values() for name in files}
    assert database, "the test has planted nothing"
    assert database <= {DATABASE, f"{DATABASE}-wal"}
    assert all(form not in entry_bytes(bridge).lower() for secret in SECRETS for form in forms(secret))
    assert erase(bridge, "--subject", SUBJECT) == {"count": 21, "erased": True, "clear": 0}
    assert traces(bridge.evidence, SECRETS) == {secret: set() for secret in SECRETS}
    assert traces(bridge.evidence, ["else@example.test"])["else@example.test"] == {DATABASE}
    assert erase(bridge, "--subject", SUBJECT) == {"count": 0, "erased": True, "clear": 0}
    after = ask(bridge, **other)
    wait_until(lambda: published(bridge, 24))
    verified = bridge.cli("log", "verify")
    assert verified.returncode == 0, verified.stdout
    assert "personal values of 21 entries are erased; erasure entries tell of 21" in verified.stdout
    assert bridge.stop() == 0
    assert traces(bridge.evidence, SECRETS) == {secret: set() for secret in SECRETS}
    assert bridge.entry_of(after["decision_id"])["outcome"] == after["outcome"]


def entry_bytes(bridge: RunningBridge) -> bytes:
    with sqlite3.connect(f"file:{bridge.evidence / DATABASE}?mode=ro", uri=True) as db:
        rows = db.execute("SELECT bytes FROM entry").fetchall()
    db.close()
    return b"\n".join(data for (data,) in rows)


def test_an_entry_without_personal_values_still_tells_what_happened(bridge: RunningBridge) -> None:
    entry = bridge.entry_of(ask(bridge)["decision_id"])
    shown = entry["request"]
    assert shown["subject"]["type"] == "user"
    assert shown["subject"]["id"].keys() == shown["subject"]["properties"]["email"].keys() == {"commitment"}
    assert shown["subject"]["properties"]["floor"] == 3
    assert shown["client"] == {"id": "c"}
    assert "salt" not in shown
    assert shown["authorization_details"][0]["type"] == "payment"
    assert entry["claims"]["mail"].keys() == {"commitment"}
    assert {"profile", "broken", "conflict", "waived"} < entry["scopes"].keys()
    assert sum(scope.startswith("commitment:") for scope in entry["scopes"]) == 2
    assert entry["limit"]["authorization_details"].keys() == {"commitment"}
    paths = {(e["path"], e["package"]) for e in entry["exceptions"]}
    assert ("policy_error", "issuance.scope.broken") in {
        (p, package.replace('["broken"]', ".broken")) for p, package in paths
    }
    assert all("commitment" in e["message"] for e in entry["exceptions"] if "message" in e)
    assert {"open", "own"} < {rule["code"] for rule in entry["rules"]}


def test_commitments_to_one_value_differ(bridge: RunningBridge) -> None:
    entries = [bridge.entry_of(ask(bridge)["decision_id"]) for _ in range(2)]
    found = [entry["request"]["subject"]["id"]["commitment"] for entry in entries]
    found += [entry["request"]["subject_token"]["preferred_username"] for entry in entries]
    assert len(set(found)) == 4


def test_what_is_disclosed_is_checked_by_foreign_tools(bridge: RunningBridge, tmp_path: Path) -> None:
    reply = ask(bridge)
    wait_until(lambda: published(bridge, 1))
    hidden = show(bridge, reply["decision_id"])["hidden"]
    assert {one["state"] for one in hidden} == {"good"}
    by_path = {one["path"]: one for one in hidden}
    assert json.loads(by_path["/request/subject/id"]["json"]) == SUBJECT
    assert json.loads(by_path["/claims/mail"]["json"]) == EMAIL
    done = bridge.cli("log", "prove", reply["decision_id"], "--disclose", "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    (proof,) = (tmp_path / "out").glob("*.tlog-proof")
    (lines,) = (tmp_path / "out").glob("*.disclosed.jsonl")
    check = ["log", "check", str(proof), "--vkey", str(bridge.evidence / "log" / "vkey")]
    checked = run_cli(*check)
    assert checked.returncode == 0
    assert f"{len(hidden)} values in {lines.name} are what it committed to" in checked.stdout
    script = r"""
        salt=$(head -n 1 "$1" | jq -r .salt); head -n 1 "$1" | jq -j .json > value
        { printf %s "$salt" | xxd -r -p; cat value; } | openssl dgst -sha256 -binary | base64
    """
    first = json.loads(lines.read_text().splitlines()[0])
    made = subprocess.run(
        ["sh", "-c", script, "sh", str(lines)], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert made.stdout.strip() == first["commitment"]
    lines.write_text(lines.read_text().replace(SUBJECT, SUBJECT[::-1], 1))
    checked = run_cli(*check)
    assert checked.returncode == 1
    assert "are not what the entry committed to" in checked.stdout


def test_proofs_and_checkpoints_from_before_an_erasure_hold_after_it(bridge: RunningBridge, tmp_path: Path) -> None:
    reply = ask(bridge)
    wait_until(lambda: published(bridge, 1))
    bridge.cli("log", "prove", "0", "--disclose", "--output", str(tmp_path / "out"))
    (proof,) = (tmp_path / "out").glob("*.tlog-proof")
    old = tmp_path / "old"
    old.write_bytes((bridge.evidence / "log" / "checkpoint").read_bytes())
    assert erase(bridge, "--subject", SUBJECT)["count"] == 1
    shown = show(bridge, reply["decision_id"], "--input")
    assert shown["input"] == "erased"
    assert {one["state"] for one in shown["hidden"]} == {"erased"}
    assert not any({"salt", "json"} & one.keys() for one in shown["hidden"])
    wait_until(lambda: published(bridge, 2))
    assert bridge.cli("log", "verify", "--old", str(old)).returncode == 0
    vkey = str(bridge.evidence / "log" / "vkey")
    checked = run_cli("log", "check", str(proof), "--vkey", vkey)
    assert checked.returncode == 0, checked.stdout  # whoever was shown the values before can still prove them
    assert bridge.cli("log", "prove", "0", "--output", str(tmp_path / "later")).returncode == 0


def test_an_erasure_is_an_entry_that_names_nobody(bridge: RunningBridge) -> None:
    ask(bridge)
    erase(bridge, "--path", "/subject/properties/email", "--value", EMAIL)
    told = bridge.entries()[-1]
    assert (told["kind"], told["count"], told["reason"], told["by"], told["path"]) == (
        *("erasure", 1, "request 4711 of the person"),
        *("dpo", "/subject/properties/email"),
    )
    assert told["instance"].startswith("bridge/erase-")
    assert not [form for secret in SECRETS for form in forms(secret) if form in json.dumps(told).lower().encode()]
    assert "OK" in bridge.cli("log", "verify").stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--subject", SUBJECT], "--reason is needed"),
        (["--subject", SUBJECT, "--reason", f"for {SUBJECT.lower()}"], "must not name the value"),
        (["--subject", SUBJECT, "--reason", "r", "--by", SUBJECT], "must not name the value"),
        (["--reason", "r"], "either --subject, or --path with --value"),
        (["--path", "/subject/id", "--reason", "r"], "either --subject, or --path with --value"),
        (["--path", "subject", "--value", "x", "--reason", "r"], "not a JSON pointer"),
        (["--subject", SUBJECT, "--reason", "a\nb"], "one line"),
    ],
)
def test_wrong_use_erases_nothing(options: list[str], said: str, tmp_path: Path) -> None:
    done = run_cli("log", "erase", *options)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_dry_run_only_counts(bridge: RunningBridge) -> None:
    ask(bridge)
    done = bridge.cli("log", "erase", "--dry-run", "--subject", SUBJECT)
    assert (done.returncode, done.stdout) == (0, "1 entries would be erased\n")
    assert [entry["kind"] for entry in bridge.entries()].count("erasure") == 0
    assert show(bridge, 0)["hidden"][0]["state"] == "good"


def test_erasing_works_while_no_bridge_runs(bridge: RunningBridge) -> None:
    ask(bridge)
    assert bridge.stop() == 0
    assert erase(bridge, "--subject", SUBJECT)["count"] == 1
    assert traces(bridge.evidence, SECRETS) == {secret: set() for secret in SECRETS}


def test_a_committed_subject_is_found_until_it_is_erased(bridge: RunningBridge) -> None:
    reply = ask(bridge)
    ask(bridge, subject="Somebody-Else-11")

    def found(*options: str) -> list[str]:
        lines = bridge.cli("log", "query", "--json", *options).stdout.splitlines()
        return [json.loads(line)["entry"]["id"] for line in lines]

    assert found("--subject", SUBJECT) == [reply["decision_id"]]
    assert found("--subject", SUBJECT, "--scope", "profile", "--client", "c") == [reply["decision_id"]]
    assert found("--subject", "Nobody") == []
    assert not traces(bridge.evidence, [SUBJECT])[SUBJECT] & {INDEX}
    erase(bridge, "--subject", SUBJECT)
    assert found("--subject", SUBJECT) == []
    assert len(found("--subject", "Somebody-Else-11")) == 1


def test_guessing_works_with_the_salt_and_fails_without_it(bridge: RunningBridge) -> None:
    """Who has the entry, the reply's time and all the candidates, but not what was erased."""
    reply = ask(bridge)
    entry = bridge.entry_of(reply["decision_id"])
    document = bridge.input_of(reply["decision_id"])
    raw = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    assert hashlib.sha256(raw).hexdigest() == entry["input_digest"]  # so the document could be guessed, but for
    assert len(bytes.fromhex(document.pop("salt"))) == 16
    erase(bridge, "--subject", SUBJECT)
    entry = bridge.entry_of(reply["decision_id"])
    targets = {base64.b64decode(value) for value in commitments(entry)} | {bytes.fromhex(entry["input_digest"])}
    values = [json.dumps(one).encode() for one in (SUBJECT, EMAIL, ACCOUNT, SUBJECT.upper(), [ACCOUNT])]
    values.append(json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode())
    salts = [b"", bytes(16), entry["id"].encode(), entry["time"].encode(), *targets]
    with sqlite3.connect(f"file:{bridge.evidence / DATABASE}?mode=ro", uri=True) as db:
        kept = db.execute("SELECT salt, value FROM disclosure").fetchall()
    db.close()
    assert set(kept) == {(b"", b"")}
    guesses = {hashlib.sha256(salt + value).digest() for salt, value in itertools.product(salts, values)}
    assert not guesses & targets


def commitments(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if value.keys() == {"commitment"}:
            yield value["commitment"]
        yield from (name.removeprefix("commitment:") for name in value if name.startswith("commitment:"))
        for item in value.values():
            yield from commitments(item)
    elif isinstance(value, list):
        for item in value:
            yield from commitments(item)
    elif isinstance(value, str) and value.startswith("commitment:"):
        yield value.removeprefix("commitment:")
