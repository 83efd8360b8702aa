"""`log show` and `log query`: what an auditor finds, and how soon."""

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bridge.audit.query import Queries
from bridge.cli.main import cli, run
from tests.support.bridge import RunningBridge, clean_environment, request, run_cli, running_bridge
from tests.support.evidence import reading
from tests.support.policies import write_policies

OWNED = """# METADATA
# scope: package
# authors:
#   - {owner} <{owner}@example.org>
# custom:
#   risk: low
"""
FAR, PAST = "2999-01-01T00:00:00Z", "2001-01-01T00:00:00Z"


def excused(code: str, name: str, kind: str, expires: str) -> str:
    exception = {"kind": kind, "id": name, "approved_by": ["ciso", "cfo"], "expires": expires}
    return f'allow contains {{"code": "{code}", "exception": {json.dumps(exception)}}}'


POLICIES = {
    "issuance.gate": OWNED.format(owner="platform") + '\nallow contains {"code": "open"}',
    "issuance.scope.read": OWNED.format(owner="reading_50%") + '\nallow contains {"code": "reader"}',
    "issuance.scope.never": OWNED.format(owner="refusing") + '\ndeny contains {"code": "refused"}',
    "issuance.scope.later": '\nallow contains {"code": "reader"}\nrequire contains "consent"',
    "issuance.scope.waived": excused("waiver", "EX-1", "waiver", FAR),
    "issuance.scope.stale": excused("old_waiver", "EX-0", "waiver", PAST),
    "issuance.scope.glass": excused("emergency", "BG-1", "break_glass", FAR),
    "issuance.scope.broken": "allow if to_number(input.client.id) > 0",
}


DECISIONS = ("--kind", "decision")


@dataclass(frozen=True)
class Story:
    """A log with one entry for each of `ids`, by what it shows."""

    bridge: RunningBridge
    ids: dict[str, str]

    def query(self, *arguments: str) -> list[dict[str, Any]]:
        """The entries that `log query` finds, newest first."""
        done = CliRunner().invoke(
            cli, ["log", "query", "--json", *DECISIONS, "--config", str(self.bridge.config), *arguments]
        )
        assert done.exit_code == 0, done.output
        return [json.loads(line)["entry"] for line in done.stdout.splitlines()]

    def found(self, *arguments: str) -> list[str]:
        """The names of the story's entries that `log query` finds, oldest first."""
        names = {entry_id: name for name, entry_id in self.ids.items()}
        return [names[entry["id"]] for entry in reversed(self.query(*arguments))]

    def show(self, *arguments: str) -> str:
        done = CliRunner().invoke(cli, ["log", "show", "--config", str(self.bridge.config), *arguments])
        assert done.exit_code == 0, done.output
        return done.stdout


def user(name: str) -> dict[str, Any]:
    return {"grant_type": "authorization_code", "subject": {"type": "user", "id": name}}


STORY: dict[str, dict[str, Any]] = {
    "read": request("read", client={"id": "web"}, **user("alice")),
    "mixed": request("read", "never", client={"id": "web"}, **user("bob")),
    "never": request("never", client={"id": "batch"}),
    "later": request("later", client={"id": "web"}, **user("alice")),
    "waived": request("waived", client={"id": "batch"}),
    "stale": request("stale", client={"id": "batch"}),
    "glass": request("glass", client={"id": "ops"}),
    "broken": request("broken", client={"id": "web"}, **user("carol")),
    "unmapped": request("nowhere", client={"id": "web' OR 1=1 --"}),
    "none": request(client={"id": "web"}, **user("alice")),
}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("story")
    with running_bridge(folder, write_policies(folder / "rego", POLICIES)) as bridge:
        yield Story(bridge, {name: bridge.ask(body)["decision_id"] for name, body in STORY.items()})


FILTERS: list[tuple[tuple[str, ...], list[str]]] = [
    ((), list(STORY)),
    (("--client", "batch"), ["never", "waived", "stale"]),
    (("--client", "web"), ["read", "mixed", "later", "broken", "none"]),
    (("--client", "we"), []),
    (("--client", "web' OR 1=1 --"), ["unmapped"]),
    (("--subject", "alice"), ["read", "later", "none"]),
    (("--subject", "batch"), ["never", "waived", "stale"]),
    (("--subject", "%"), []),
    (("--scope", "read"), ["read", "mixed"]),
    (("--scope", "never"), ["mixed", "never"]),
    (("--scope", "nowhere"), ["unmapped"]),
    (("--outcome", "allow"), ["read", "mixed", "waived", "glass", "none"]),
    (("--outcome", "conditional"), ["later"]),
    (("--outcome", "deny"), ["never", "stale", "broken", "unmapped"]),
    (("--scope", "never", "--outcome", "deny"), ["mixed", "never"]),
    (("--scope", "read", "--outcome", "deny"), []),
    (("--scope", "read", "--client", "web", "--outcome", "allow"), ["read", "mixed"]),
    (("--scope", "read", "--subject", "bob"), ["mixed"]),
    (("--rule", "reader"), ["read", "mixed", "later"]),
    (("--rule", 'issuance.scope["later"]/reader'), ["later"]),
    (("--rule", "refused"), ["mixed", "never"]),
    (("--rule", "open"), list(STORY)),
    (("--rule", "ope"), []),
    (("--owner", "refusing"), ["mixed", "never"]),
    (("--owner", "refusing@example.org"), ["mixed", "never"]),
    (("--owner", "50%"), ["read", "mixed"]),
    (("--owner", "5%0"), []),
    (("--owner", "reading_"), ["read", "mixed"]),
    (("--owner", "reading5"), []),
    (("--exception", "any"), ["waived", "stale", "glass", "broken"]),
    (("--exception", "waiver"), ["waived"]),
    (("--exception", "EX-1"), ["waived"]),
    (("--exception", "EX-0"), ["stale"]),
    (("--exception", "expired_exception"), ["stale"]),
    (("--exception", "break_glass"), ["glass"]),
    (("--exception", "policy_error"), ["broken"]),
    (("--exception", "fail_closed"), []),
    (("--exception", "any", "--outcome", "allow"), ["waived", "glass"]),
    (("--from", "2001-01-01"), list(STORY)),
    (("--to", "2001-01-01"), []),
    (("--from", "2999-01-01T00:00:00+02:00"), []),
    (("--limit", "2"), ["unmapped", "none"]),
    (("--limit", "2", "--client", "batch"), ["waived", "stale"]),
]


@pytest.mark.parametrize(("arguments", "expected"), FILTERS, ids=[" ".join(arguments) for arguments, _ in FILTERS])
def test_query_finds_exactly_what_fits(story: Story, arguments: tuple[str, ...], expected: list[str]) -> None:
    assert story.found(*arguments) == expected


def test_from_is_included_and_to_is_not(story: Story) -> None:
    times = [datetime.fromisoformat(entry["time"]) for entry in reversed(story.query())]
    first, last = times[0], times[-1]
    assert first < last
    assert story.found("--to", first.isoformat()) == []
    assert story.found("--from", first.isoformat()) == list(STORY)
    assert "none" in story.found("--from", last.isoformat())
    assert "none" not in story.found("--to", last.isoformat())
    assert story.found("--from", (last + timedelta(milliseconds=1)).isoformat()) == []


def test_a_line_shows_what_happened_and_marks_exceptions(story: Story) -> None:
    done = CliRunner().invoke(cli, ["log", "query", *DECISIONS, "--config", str(story.bridge.config)])
    lines = dict(zip(reversed(STORY), done.stdout.splitlines(), strict=True))
    marked = {name for name, line in lines.items() if line.startswith("!")}
    assert marked == {"waived", "stale", "glass", "broken"}
    assert "read=allow" in lines["mixed"]
    assert "never=deny" in lines["mixed"]
    assert "conditional" in lines["later"]
    assert "web" in lines["read"]
    assert all(story.ids[name] in line for name, line in lines.items())


def test_json_is_one_object_a_line_with_its_place(story: Story) -> None:
    done = CliRunner().invoke(cli, ["log", "query", "--json", *DECISIONS, "--config", str(story.bridge.config)])
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    first = lines[-1]["index"]
    assert [line["index"] for line in lines] == list(reversed(range(first, first + len(STORY))))
    with reading(story.bridge.evidence) as reader:
        for line in lines:
            assert line.keys() == {"index", "leaf_hash", "entry"}
            data = reader.at(line["index"]).data
            assert base64.b64decode(line["leaf_hash"]) == hashlib.sha256(b"\x00" + data).digest()
            assert line["entry"] == json.loads(data)


@pytest.mark.parametrize(
    ("name", "mark"),
    [
        ("read", "no exception path"),
        ("waived", "! exception path: waiver EX-1"),
        ("glass", "! exception path: break_glass BG-1"),
        ("stale", "! exception path: expired_exception EX-0"),
        ("broken", "! exception path: policy_error"),
    ],
)
def test_show_tells_the_exception_path_first(story: Story, name: str, mark: str) -> None:
    first, _, rest = story.show(story.ids[name]).partition("\n")
    assert first == mark
    assert json.loads(rest)["entry"]["id"] == story.ids[name]


def test_show_takes_an_index_too(story: Story) -> None:
    index = json.loads(story.show(story.ids["never"], "--json"))["index"]
    shown = json.loads(story.show(str(index), "--json"))
    assert shown["index"] == index
    assert shown["entry"]["id"] == story.ids["never"]


def test_show_gives_the_exact_input(story: Story) -> None:
    whole = {"big": 12345678901234567890123, "small": 0.1}
    reply = story.bridge.ask(request("read", client={"id": "exact"}, context=whole))
    for form in ([], ["--json"]):
        shown = story.show(reply["decision_id"], "--input", *form)
        document = json.loads(shown if form else shown.partition("\n")[2])
        assert document["input"]["context"] == whole
    with reading(story.bridge.evidence) as reader:
        (found,) = Queries(reader).show(reply["decision_id"])
        raw = reader.document(found)
    assert raw is not None
    assert raw in story.show(reply["decision_id"], "--input").encode()
    assert hashlib.sha256(raw).hexdigest() == found.entry["input_digest"]


@pytest.mark.parametrize(
    "wanted", ["01a20af6-30aa-71dc-8eb5-d839c46ea2d8", "999999999", "x", "%", "-1x", "9" * 30, "\u0661", "\u00b2"]
)
def test_an_entry_that_is_not_there_is_an_answer_of_its_own(story: Story, wanted: str) -> None:
    done = CliRunner().invoke(cli, ["log", "show", "--config", str(story.bridge.config), "--", wanted])
    assert done.exit_code == 1
    assert f"no entry {wanted}" in done.stderr


def test_an_entry_is_found_as_soon_as_its_reply_is_read(tmp_path: Path) -> None:
    with running_bridge(tmp_path) as bridge:
        for number in range(20):
            client = f"client-{number}"
            reply = bridge.ask(request("read", client={"id": client}))
            with reading(bridge.evidence) as reader:
                assert [found.entry["id"] for found in Queries(reader).show(reply["decision_id"])] == [
                    reply["decision_id"]
                ]
            printed = CliRunner().invoke(
                cli, ["log", "query", "--json", "--config", str(bridge.config), "--client", client]
            )
            assert [json.loads(line)["entry"]["id"] for line in printed.stdout.splitlines()] == [reply["decision_id"]]


def test_readers_do_not_disturb_the_writer_nor_each_other(tmp_path: Path) -> None:
    with running_bridge(tmp_path) as bridge:
        bridge.ask(request("read"))
        command = [sys.executable, "-m", "bridge", "log", "query", "--json", "--config", str(bridge.config)]

        def read(_: int) -> int:
            done = subprocess.run(command, capture_output=True, check=True, env=clean_environment())
            return len(done.stdout.splitlines())

        with ThreadPoolExecutor(4) as pool:
            counts = pool.map(read, range(6))
            for _ in range(100):
                assert bridge.ask(request("read"))["outcome"] == "allow"
            assert all(1 <= count <= 101 for count in counts)


@pytest.mark.parametrize(
    "arguments",
    [
        ["log", "query", "--from", "yesterday"],
        ["log", "query", "--from", "2026-13-01"],
        ["log", "query", "--to", "1700000000"],
        ["log", "query", "--outcome", "maybe"],
        ["log", "query", "--limit", "0"],
        ["log", "query", "--limit", "many"],
        ["log", "query", "--colour", "red"],
        ["log", "query", "extra"],
        ["log", "show"],
        ["log", "show", "a", "b"],
        ["log", "wash"],
        ["serv"],
        ["check", "--jsno"],
        ["serve", "--config"],
        ["policy", "build", "extra"],
    ],
    ids=" ".join,
)
def test_wrong_use_is_2_and_says_what_is_wrong(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["issuance-bridge", *arguments])
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 2
    shown = capsys.readouterr()
    assert "Error: " in shown.err
    assert shown.out == ""


def test_no_log_is_said_so(tmp_path: Path) -> None:
    environment = {"BRIDGE__EVIDENCE__PATH": str(tmp_path / "nowhere")}
    for command in (["log", "query"], ["log", "show", "1"]):
        done = run_cli(*command, env=environment)
        assert done.returncode == 1
        assert "there is no log in" in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "nowhere").exists()


def test_who_is_masked_as_a_whole_is_shown_so(tmp_path: Path) -> None:
    evidence = {"path": str(tmp_path / "evidence"), "mask": ["/client", "/subject"]}
    with running_bridge(tmp_path, evidence=evidence) as bridge:
        asked = bridge.ask(request("read", client={"id": "quiet-shop"}))["decision_id"]
        for command in (["query"], ["query", "--client", "***", "--subject", "***"], ["show", asked]):
            done = CliRunner().invoke(cli, ["log", *command, "--config", str(bridge.config)], catch_exceptions=False)
            assert done.exit_code == 0
            assert "***" in done.stdout
            assert "quiet-shop" not in done.stdout


def test_no_caller_can_forge_a_line(tmp_path: Path) -> None:
    forged = "x\n         9 2026-01-01T00:00:00.000Z decision  allow       admin                pay=allow"
    with running_bridge(tmp_path) as bridge:
        bridge.ask(request("read", forged, "\x1b[2J", "a=allow b", "\u202e", client={"id": "c   pay=allow\x9b"}))
        done = CliRunner().invoke(cli, ["log", "query", *DECISIONS, "--config", str(bridge.config)])
    (line,) = done.stdout.splitlines()
    assert line.isprintable()
    words = line.split()
    assert [word for word in words if word.endswith("=allow")] == ["read=allow"]
    assert r"c\x20\x20\x20pay=allow\x9b" in words


@pytest.mark.parametrize("command", ["", "log", "log query", "log show", "check", "serve", "policy"])
def test_help_is_0(command: str) -> None:
    done = CliRunner().invoke(cli, [*command.split(), "--help"])
    assert done.exit_code == 0
    assert "Usage:" in done.stdout
    assert "--worker" not in done.stdout


def test_the_codes_reach_the_shell() -> None:
    assert [run_cli(*command).returncode for command in (["--version"], ["log", "show"])] == [0, 2]
