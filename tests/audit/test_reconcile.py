"""A server's own list against the log: each way in which they may disagree is found, and nothing else."""

import contextlib
import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bridge.audit.issued import IssuedList
from bridge.audit.reader import LogReader
from bridge.audit.reconcile import TEXTS, Code, Reconciliation, Span
from bridge.cli.main import cli
from bridge.doors.issued import PATH
from bridge.errors import EvidenceInvalid, EvidenceUnavailable
from bridge.evidence.files import DATABASE, DIGEST_KEY, INDEX
from bridge.evidence.keys import token_digest
from bridge.evidence.store import SqliteStore
from bridge.model.decision import VALID_FOR_MS
from bridge.model.issued import LEEWAY_MS, TokenDigest, Violation
from bridge.model.times import now_ms, rfc3339, uuid7
from bridge.ports import Record
from tests.support.bridge import RunningBridge, bearer, caller, request, running_bridge
from tests.support.evidence import all_found
from tests.support.policies import write_policies

API, OTHER = "https://api.example", "https://other.example"
POLICIES = {
    "issuance.gate": "allow := true",
    "issuance.scope.read": "allow := true",
    "issuance.scope.short": f'allow := true\nlimit := {{"token_lifetime": 60, "audience": ["{API}"]}}',
    "issuance.scope.never": "deny := true",
}
LATER_MS = VALID_FOR_MS + LEEWAY_MS + 1000
"""When a decision of now can no longer be waiting for its token."""


@dataclass(frozen=True)
class Service:
    """A token service that asks a real bridge, reports what it is told to, and keeps a list."""

    bridge: RunningBridge
    tokens: list[dict[str, Any]]
    name: str = "as"

    def decide(self, *scopes: str) -> str:
        return str(self.bridge.ask(request(*scopes), headers=bearer(self.name))["decision_id"])

    def mint(self, decision_id: str, *scopes: str, report: bool = True, keep: bool = True, **members: Any) -> None:
        """Lists and reports one token; `members` is said in both."""
        now = int(time.time())
        token = {"jti": f"jti-{uuid7(now_ms())}", "exp": now + 30, "scopes": list(scopes), "audience": [API]}
        token |= {"decision_id": decision_id, **members}
        if keep:
            self.tokens.append({**token, "iat": now, "sub": "alice"})
        if report:
            response = self.bridge.client.post(PATH, json=token, headers=bearer(self.name))
            assert response.status_code == 200, response.text

    def listed(self, folder: Path) -> Path:
        file = folder / "issued.jsonl"
        file.write_text("".join(json.dumps(token) + "\n" for token in self.tokens))
        return file

    def reconcile(self, folder: Path, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
        """The exit code, and what is found."""
        command = ["log", "reconcile", "--json", "--config", str(self.bridge.config), "--issued"]
        done = CliRunner().invoke(cli, [*command, str(self.listed(folder)), *arguments])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBridge]:
    folder = tmp_path_factory.mktemp("reconcile")
    names = ("as", "other", *CASES, "many", "span", "text", "never", "alone", "later", "foreign", "keyed", "misspelt")
    callers = [caller(name) for name in dict.fromkeys(name.replace(" ", "-") for name in names)]
    with running_bridge(folder, write_policies(folder / "rego", POLICIES), callers=callers) as bridge:
        yield bridge


def service(bridge: RunningBridge, name: str) -> Service:
    """One with a caller of its own, so that `--caller` keeps the tests of one log apart."""
    return Service(bridge, [], name.replace(" ", "-"))


def good(server: Service) -> None:
    server.mint(server.decide("read"), "read")


def codes(found: list[dict[str, Any]]) -> list[str]:
    return [finding["code"] for finding in found]


def unknown(server: Service) -> None:
    server.mint(uuid7(1), "read", report=False)


def nameless(server: Service) -> None:
    server.mint("", "read", report=False)
    del server.tokens[-1]["decision_id"]


def an_index_for_an_id(server: Service) -> None:
    server.mint("0", "read", report=False)


def denied(server: Service) -> None:
    server.mint(server.decide("never"), report=False)


def more(server: Service) -> None:
    server.mint(server.decide("read", "never"), "read", "never", report=False)


def longer(server: Service) -> None:
    server.mint(server.decide("short"), "short", report=False, exp=int(time.time()) + 600)


def wider(server: Service) -> None:
    server.mint(server.decide("short"), "short", report=False, audience=[OTHER])


def late(server: Service) -> None:
    server.mint(server.decide("read"), "read", report=False)
    server.tokens[-1]["iat"] += LATER_MS // 1000


def second(server: Service) -> None:
    decision_id = server.decide("read")
    server.mint(decision_id, "read")
    server.mint(decision_id, "read", report=False)


def twice(server: Service) -> None:
    good(server)
    server.tokens.append(server.tokens[-1])


def unreported(server: Service) -> None:
    server.mint(server.decide("read"), "read", report=False)


def unlisted(server: Service) -> None:
    server.mint(server.decide("read"), "read", keep=False)


def reused(server: Service) -> None:
    server.mint(server.decide("read"), "read")
    server.mint(server.decide("read"), "read", jti=server.tokens[-1]["jti"], keep=False)


def contradicted(server: Service) -> None:
    good(server)
    server.tokens[-1]["scopes"] = []


def told_of_another(server: Service) -> None:
    good(server)
    server.tokens[-1]["decision_id"] = server.decide("read")


def told_without_details(server: Service) -> None:
    """What the list leaves out the reports tell."""
    server.mint(server.decide("short"), "short", exp=int(time.time()) + 600)
    server.tokens[-1] = {"jti": server.tokens[-1]["jti"]}


def told_and_unlisted(server: Service) -> None:
    server.mint(server.decide("read"), "never", keep=False)


CASES: dict[str, tuple[Any, list[str]]] = {
    "nothing": (lambda server: None, []),
    "as decided": (good, []),
    "unknown": (unknown, ["unknown_decision", "not_reported"]),
    "nameless": (nameless, ["unknown_decision", "not_reported"]),
    "an index": (an_index_for_an_id, ["unknown_decision", "not_reported"]),
    "denied": (denied, ["after_denial", "not_reported"]),
    "late": (late, ["late", "not_reported"]),
    "second": (second, ["second_token", "not_reported"]),
    "more": (more, ["more_scopes", "not_reported"]),
    "longer": (longer, ["longer_life", "not_reported"]),
    "wider": (wider, ["wider_audience", "not_reported"]),
    "twice": (twice, ["listed_twice"]),
    "unreported": (unreported, ["not_reported"]),
    "unlisted": (unlisted, ["not_listed"]),
    "reused": (reused, ["jti_reused", "contradicts_report"]),
    "contradicted": (contradicted, ["contradicts_report"]),
    "of another": (told_of_another, ["contradicts_report"]),
    "details": (told_without_details, ["longer_life"]),
    "reported so": (told_and_unlisted, ["not_listed", "more_scopes"]),
}


@pytest.mark.parametrize("name", CASES)
def test_each_disagreement_is_found(running: RunningBridge, tmp_path: Path, name: str) -> None:
    server = service(running, name)
    tell, expected = CASES[name]
    good(server)
    tell(server)
    code, found = server.reconcile(tmp_path, "--caller", server.name)
    assert (code, codes(found)) == (1 if expected else 0, expected)
    assert all(finding["critical"] and finding["detail"] == TEXTS[finding["code"]] for finding in found)
    listed = [finding for finding in found if "line" in finding]
    assert {finding["line"] for finding in listed} <= {2, 3}
    assert all(set(finding) >= {"index", "decision_id"} for finding in found if "line" not in finding)


def test_what_is_found_leads_to_line_decision_and_entry(running: RunningBridge, tmp_path: Path) -> None:
    server = service(running, "many")
    decision_id = server.decide("short")
    server.mint(decision_id, "short", exp=int(time.time()) + 600)
    (index,) = (f.index for f in all_found(running.evidence) if f.entry.get("decision_id") == decision_id)
    _, found = server.reconcile(tmp_path, "--caller", "many")
    expected = {"code": "longer_life", "critical": True, "detail": TEXTS["longer_life"]}
    assert found == [{**expected, "line": 1, "index": index, "decision_id": decision_id}]


def test_text_and_exit_code(running: RunningBridge, tmp_path: Path) -> None:
    server = service(running, "text")
    good(server)
    command = ["log", "reconcile", "--caller", "text", "--issued"]
    done = running.cli(*command, str(server.listed(tmp_path)))
    assert (done.returncode, done.stderr) == (0, "passed over in the list: sub\n")
    assert done.stdout.splitlines()[-1].startswith("OK   listed 1, reported ")
    server.mint("forged\nOK   listed 1", "read", report=False)
    done = running.cli(*command, str(server.listed(tmp_path)))
    assert (done.returncode, done.stderr) == (1, "passed over in the list: sub\n")
    first, _, last = (line for line in done.stdout.splitlines() if not line.startswith("note"))
    assert (
        first
        == r"BAD  unknown_decision: there is no such decision (line 2, decision forged\nOK\x20\x20\x20listed\x201)"
    )
    assert last.startswith("BAD  found 2: listed 2, reported ")
    shown = done.stdout + "".join(event for event in running.log_text().splitlines())
    assert not any(token["jti"] in shown for token in server.tokens)


def test_the_span_says_what_the_list_should_know(running: RunningBridge, tmp_path: Path) -> None:
    server = service(running, "span")
    server.mint(server.decide("read"), "read", keep=False)
    time.sleep(0.02)
    between = rfc3339(now_ms())
    time.sleep(0.02)
    good(server)
    for arguments, expected in (([], ["not_listed"]), (["--from", between], []), (["--to", between], ["not_listed"])):
        assert codes(server.reconcile(tmp_path, "--caller", "span", *arguments)[1]) == expected
    assert "not_listed" in codes(server.reconcile(tmp_path)[1])


def test_a_caller_that_the_log_does_not_know_is_wrong_use(running: RunningBridge, tmp_path: Path) -> None:
    """A misspelt name would find nothing amiss."""
    (tmp_path / "list").write_text("")
    done = running.cli("log", "reconcile", "--issued", str(tmp_path / "list"), "--caller", "nobody")
    assert (done.returncode, "OK" in done.stdout) == (2, False)
    assert "the log has no entry of a caller 'nobody'" in done.stderr


def test_misspelt_members_are_named(running: RunningBridge, tmp_path: Path) -> None:
    server = service(running, "misspelt")
    good(server)
    server.tokens[-1] |= {"scope": ["more"], "a\nb": 1}
    done = running.cli("log", "reconcile", "--caller", "misspelt", "--issued", str(server.listed(tmp_path)))
    assert done.stderr == "passed over in the list: a\\nb, scope, sub\n"


def test_the_decision_of_another_caller_is_none(running: RunningBridge, tmp_path: Path) -> None:
    mine, other = service(running, "foreign"), service(running, "other")
    mine.mint(other.decide("read"), "read", report=False)
    assert codes(mine.reconcile(tmp_path, "--caller", "foreign")[1]) == ["unknown_decision", "not_reported"]


def findings(folder: Path, issued: list[dict[str, Any]], at: int | None = None, **span: Any) -> list[tuple[str, Any]]:
    """The codes with their index, with a clock that may be ahead."""
    with contextlib.closing(LogReader(folder)) as reader:
        tokens = IssuedList.read((json.dumps(token).encode() for token in issued), token_digest(folder))
        found = Reconciliation(reader, tokens, Span(**span), now_ms() if at is None else at)
        return [(finding.code, finding.index) for finding in found.findings()]


def test_granted_and_never_issued_is_told_once_it_can_no_longer_be(running: RunningBridge, tmp_path: Path) -> None:
    server = service(running, "never")
    granted = server.decide("read")
    server.decide("never")
    server.mint(server.decide("read"), "read", keep=False)
    server.mint(server.decide("read"), "read", report=False)
    (start,) = (f.index for f in all_found(running.evidence) if f.entry["id"] == granted)
    assert ("never_issued", start) not in findings(running.evidence, server.tokens, caller="never")
    later = findings(running.evidence, server.tokens, now_ms() + LATER_MS, caller="never")
    assert [index for code, index in later if code == "never_issued"] == [start]


@dataclass
class Made:
    """A log made by the writer itself, for what a bridge needs days or a fault for."""

    folder: Path
    store: SqliteStore
    n: int = 0

    def write(self, kind: str, at: int, **members: Any) -> dict[str, Any]:
        self.n += 1
        entry: dict[str, Any] = {"v": 1, "kind": kind, "id": uuid7(at), "time": rfc3339(at), "caller": "as", **members}
        self.store.commit([Record(entry)])
        return entry

    def decision(self, at: int, **members: Any) -> dict[str, Any]:
        allowed = {"outcome": "allow", "granted_scopes": ["read"], "limit": {}, "scopes": {}, **members}
        return self.write("decision", at, **allowed)

    def issued(
        self, decision: dict[str, Any], jti: str, at: int, digest: TokenDigest, **members: Any
    ) -> dict[str, Any]:
        said = {"exp": at // 1000, "scopes": ["read"], "audience": [], "violations": [], **members}
        named = {"jti_digest": digest(jti), "jti_key": digest.key_id, "decision_id": decision["id"]}
        return self.write("issued", at, **named, **said)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    with contextlib.closing(SqliteStore(tmp_path, "test/0")) as store:
        store.open()
        yield Made(tmp_path, store)


def test_a_token_for_an_overruled_decision(made: Made) -> None:
    at, digest = now_ms() - 3_600_000, token_digest(made.folder)
    decision = made.decision(at)
    made.write("overruled", at, decision_id=decision["id"], outcome="deny")
    made.decision(at)
    overruled_too = made.decision(at)
    made.write("overruled", at, decision_id=overruled_too["id"], outcome="deny")
    made.issued(decision, "j", at, digest)
    token = {"jti": "j", "decision_id": decision["id"]}
    assert findings(made.folder, [token]) == [("never_issued", 2), ("after_denial", 5)]


def test_reports_under_another_key_are_told_apart(made: Made) -> None:
    at, digest = now_ms() - 3_600_000, token_digest(made.folder)
    one, other = made.decision(at), made.decision(at)
    made.issued(one, "j1", at, TokenDigest(b"\x00" * 32))
    made.issued(other, "j2", at, digest)
    tokens = [{"jti": "j1", "decision_id": one["id"]}, {"jti": "j2"}]
    assert findings(made.folder, tokens) == [("other_key", 2), ("not_reported", None)]


def test_holes_gaps_and_silence_are_told(made: Made) -> None:
    at = now_ms() - 3_600_000
    made.write("start", at)
    made.write("heartbeat", at + 60_000)
    made.write("gap", at + 70_000, denied=3, **{"from": rfc3339(at + 65_000)})
    made.write("heartbeat", at + 600_000)
    made.write("heartbeat", at + 660_000)
    made.write("stop", at + 661_000)
    made.store.close()
    with contextlib.closing(LogReader(made.folder)) as reader:
        found = list(Reconciliation(reader, IssuedList(token_digest(made.folder)), Span(), now_ms()).findings())
    assert [(finding.code, finding.critical) for finding in found] == [("note", False), ("log", True)]
    assert "3 denials unrecorded" in found[0].text
    assert "silent for 530 s" in found[1].text
    with contextlib.closing(sqlite3.connect(made.folder / DATABASE)) as db, db:
        db.execute("DELETE FROM entry WHERE idx = 1")
    assert [code for code, _ in findings(made.folder, [])] == ["log", "note", "log"]


def test_without_a_digest_key_nothing_was_reported(made: Made, tmp_path: Path) -> None:
    decision = made.decision(now_ms())
    made.store.close()
    file = tmp_path / "list"
    file.write_text(json.dumps({"jti": "j", "decision_id": decision["id"]}))
    environment = {"BRIDGE__EVIDENCE__PATH": str(made.folder)}
    done = CliRunner().invoke(cli, ["log", "reconcile", "--json", "--issued", str(file)], env=environment)
    assert [json.loads(line)["code"] for line in done.stdout.splitlines()] == ["not_reported"]
    assert done.exit_code == 1
    assert not (made.folder / DIGEST_KEY).exists()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"nonsense", "line 2: the body is not one JSON value"),
        (b"[]", "line 2: "),
        (b"{}", "line 2: jti: Field required"),
        (b'{"jti": 1}', "line 2: jti: "),
        (b'{"jti": "a", "jti": "b"}', "line 2: the member name 'jti' stands twice"),
        (b'{"jti": "a", "exp": "soon"}', "line 2: exp: "),
        (b'{"jti": "a", "exp": 1' + b"0" * 400 + b"}", "line 2: exp: "),
        (b'{"jti": "a", "scopes": "read"}', "line 2: scopes: "),
        (b'{"jti": "a", "scopes": [1]}', "line 2: scopes/0: "),
        (b'{"jti": "\xff"}', "line 2: the body must be UTF-8"),
    ],
)
def test_a_line_that_is_none_is_named(line: bytes, told: str) -> None:
    with pytest.raises(EvidenceInvalid) as raised:
        IssuedList.read([b'{"jti": "x", "more": [null]}\n', line + b"\n"], TokenDigest(b"k" * 32))
    assert str(raised.value).startswith(told)


@pytest.mark.parametrize("line", ["nonsense", "{}"])
def test_a_list_that_cannot_be_read_is_wrong_use(running: RunningBridge, tmp_path: Path, line: str) -> None:
    file = tmp_path / "list"
    file.write_text(line)
    done = running.cli("log", "reconcile", "--issued", str(file))
    assert done.returncode == 2
    assert f"{file}: line 1: " in done.stderr
    assert "Traceback" not in done.stderr
    assert running.cli("log", "reconcile").returncode == 2
    assert running.cli("log", "reconcile", "--issued", "/nowhere").returncode == 2


def test_empty_lines_and_fractions_of_a_second_are_taken() -> None:
    lines = [b"\n", b'{"jti": "a", "exp": 1.5, "iat": 0.25}\n', b"  \n"]
    (listed,) = IssuedList.read(lines, TokenDigest(b"k" * 32)).tokens.values()
    assert (listed.line, listed.token.exp, listed.token.minted().at_ms) == (2, 1.5, 250)


def test_an_entry_that_was_changed_is_no_stack_trace(made: Made, tmp_path: Path) -> None:
    digest = token_digest(made.folder)
    made.issued(made.decision(now_ms()), "j", now_ms(), digest)
    made.store.close()
    with contextlib.closing(sqlite3.connect(made.folder / DATABASE)) as db:
        (data,) = db.execute("SELECT bytes FROM entry WHERE idx = 1").fetchone()
    for name, value in json.loads(data).items():
        if name in ("v", "instance", "epoch", "iseq", "caller"):
            continue
        for changed in ({}, {name: None}, {name: {"a": [value]}}):
            copy = tmp_path / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            copy.mkdir()
            shutil.copy(made.folder / DATABASE, copy / DATABASE)
            shutil.copy(made.folder / DIGEST_KEY, copy / DIGEST_KEY)
            entry = {n: v for n, v in json.loads(data).items() if n != name} | changed
            with contextlib.closing(sqlite3.connect(copy / DATABASE)) as db, db:
                db.execute("UPDATE entry SET bytes = ? WHERE idx = 1", (json.dumps(entry).encode(),))
            with contextlib.suppress(EvidenceUnavailable):
                assert findings(copy, [{"jti": "j"}]) is not None


def test_the_query_tables_are_made_on_the_way(running: RunningBridge, tmp_path: Path) -> None:
    server = service(running, "alone")
    good(server)
    (running.evidence / INDEX).unlink(missing_ok=True)
    assert server.reconcile(tmp_path, "--caller", "alone") == (0, [])


def test_every_code_has_its_text() -> None:
    assert TEXTS.keys() == {code.value for code in (*Violation, *Code)} - {"log", "note"}
