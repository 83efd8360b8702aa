"""The commands, beside a bridge that runs: it refuses from the next question on, and nothing else changes."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from bridge.cli.main import cli
from bridge.errors import ConfigFault
from bridge.evidence.files import DIGEST_KEY, REGISTER
from bridge.evidence.keys import token_digest
from tests.lifecycle.test_doors import ordered
from tests.support.bridge import RunningBridge, request, running_bridge
from tests.support.policies import write_policies

POLICIES = {"issuance.gate": "allow := true", "issuance.scope.read": "allow := true"}
WHY = ("--reason", "a test", "--by", "dpo")


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBridge]:
    folder = tmp_path_factory.mktemp("commands")
    with running_bridge(folder, write_policies(folder / "rego", POLICIES)) as running:
        yield running


def run(bridge: RunningBridge, *arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [*arguments, "--config", str(bridge.config)])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def told(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def imported(bridge: RunningBridge) -> int:
    return [entry["kind"] for entry in bridge.entries()].count("clients")


def granted(bridge: RunningBridge, client: str, subject: str, **members: Any) -> bool:
    who = {"client": {"id": client}, "subject": {"type": "user", "id": subject}, "grant_type": "authorization_code"}
    reply = bridge.ask(request("read", **{**who, **members}))
    assert reply["outcome"] == "allow" or reply["findings"] == [{"code": "ended"}]
    return bool(reply["outcome"] == "allow")


def test_a_client_is_deleted_and_registered_anew(bridge: RunningBridge) -> None:
    assert granted(bridge, "app", "alice", session={"id": "s1"})
    run(bridge, "clients", "delete", "app", code=2)  # it wants a reason
    before = ordered(bridge)
    falls = told(run(bridge, "clients", "delete", "app", "--dry-run", "--json"))
    assert falls == told(run(bridge, "clients", "show", "app", "--json"))
    assert [one["subject"]["id"] for one in falls["delegations"]] == ["alice"]
    assert ordered(bridge) == before
    assert granted(bridge, "app", "alice")
    ended = told(run(bridge, "clients", "delete", "app", *WHY, "--json"))
    assert (ended["what"], ended["effect"], ended["repeated"]) == ("client", "ended", False)
    assert not granted(bridge, "app", "alice")
    assert granted(bridge, "other", "alice")
    entry = next(one for one in reversed(bridge.entries()) if one.get("effect") == "ended")
    assert (entry["kind"], entry["door"], entry["caller"], entry["reason"]) == ("revocation", "cli", "dpo", "a test")
    assert told(run(bridge, "clients", "delete", "app", *WHY, "--json")) == {**ended, "repeated": True}
    assert f"client ended at {ended['index']}" in run(bridge, "clients", "show", "app").output
    listed = run(bridge, "clients", "list", "--json").stdout.splitlines()
    states = {one["client"]: one.get("ended", {}).get("index") for one in map(json.loads, listed)}
    assert (states["app"], states["other"]) == (ended["index"], None)
    run(bridge, "clients", "reinstate", "app", *WHY)
    assert granted(bridge, "app", "alice")
    assert not granted(bridge, "app", "alice", grant_type="refresh_token", grant={"scopes": ["read"], "started": 1})


def test_subjects_sessions_and_delegations(bridge: RunningBridge) -> None:
    assert granted(bridge, "web", "bob", session={"id": "s2"}, grant={"id": "g"})
    run(bridge, "sessions", "end", "s2", *WHY)
    assert not granted(bridge, "web", "bob", session={"id": "s2"})
    run(bridge, "delegations", "revoke", "--grant", "g", *WHY)
    assert not granted(bridge, "web", "bob", grant={"id": "g"})
    assert granted(bridge, "web", "bob")
    run(bridge, "delegations", "revoke", "--client", "web", code=2)
    run(bridge, "delegations", "revoke", "--client", "web", "--subject", "bob", *WHY)
    assert not granted(bridge, "web", "bob")
    assert granted(bridge, "web", "carol")
    run(bridge, "delegations", "reinstate", "--client", "web", "--subject", "bob", *WHY)
    assert granted(bridge, "web", "bob")
    run(bridge, "subjects", "end", "bob", *WHY)
    assert not granted(bridge, "web", "bob")
    run(bridge, "subjects", "reinstate", "bob", *WHY)
    assert granted(bridge, "web", "bob")
    assert "has not ended" in run(bridge, "subjects", "reinstate", "nobody", *WHY, code=1).output


@pytest.mark.parametrize("form", ["list", "lines", "items"])
def test_clients_that_never_asked_are_imported(bridge: RunningBridge, tmp_path: Path, form: str) -> None:
    ids = [f"{form}-{number}-{'x' * 300}" for number in range(200)]  # more than one entry holds
    rows = [{"client_id": one, "redirect_uris": []} for one in ids]
    text = {"list": json.dumps(rows), "items": json.dumps({"items": rows}), "lines": "\n".join(map(json.dumps, rows))}
    file = tmp_path / "clients.json"
    file.write_text(text[form])
    assert told(run(bridge, "clients", "import", str(file), "--json")) == {"clients": 200}
    found = [json.loads(line) for line in run(bridge, "clients", "list", "--json").stdout.splitlines()]
    assert [one["client"] for one in found if one["client"].startswith(form)] == sorted(ids)
    assert "registered" in told(run(bridge, "clients", "show", ids[7], "--json"))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "[1]", '{"client_id": 1}', '{"client_id": "a\\n"}', "x", '["client_id"]']
)
def test_a_list_of_clients_that_is_none(bridge: RunningBridge, tmp_path: Path, text: str) -> None:
    file = tmp_path / "clients.json"
    file.write_text(text)
    before = imported(bridge)
    run(bridge, "clients", "import", str(file), code=2)
    assert imported(bridge) == before


def test_what_is_unknown_or_hostile(bridge: RunningBridge) -> None:
    run(bridge, "clients", "show", "never-seen", code=1)
    run(bridge, "clients", "delete", "a\nb", *WHY, code=2)
    run(bridge, "clients", "delete", "x" * 513, *WHY, code=2)
    run(bridge, "clients", "show", "\udcff", code=2)
    assert granted(bridge, "\u202eevil", "\u2028alice")
    shown = run(bridge, "clients", "show", "\u202eevil").output + run(bridge, "clients", "list").output
    assert "\u202e" not in shown
    assert "\u2028" not in shown


def test_an_ending_does_not_wait_for_the_register(bridge: RunningBridge) -> None:
    run(bridge, "clients", "list")
    with contextlib.closing(sqlite3.connect(bridge.evidence / REGISTER, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")  # another program brings it up to date
        run(bridge, "clients", "delete", "at-once", *WHY)
    assert not granted(bridge, "at-once", "alice")


def test_an_issuer_that_nobody_has_is_told_and_one_that_is_misspelt_is_refused(bridge: RunningBridge) -> None:
    for command in (("delete", "spelt", *WHY), ("delete", "spelt", "--dry-run"), ("show", "spelt")):
        result = run(bridge, "clients", *command, "--issuer", "Local", code=2)
        assert "the callers' configuration has local" in result.stderr
    result = run(bridge, "clients", "delete", "spelt", *WHY, "--issuer", "https://idp.example", "--json")
    assert told(result)["foreign"] is True
    assert "no caller has this issuer" in result.stderr
    assert granted(bridge, "spelt", "alice")


def test_without_its_digest_key_a_log_with_endings_is_not_written(bridge: RunningBridge) -> None:
    run(bridge, "clients", "delete", "gone", *WHY)
    path = bridge.evidence / DIGEST_KEY
    key = path.read_bytes()
    try:
        for other in (b"x" * 32, None):
            path.unlink(missing_ok=True)
            if other is not None:
                path.write_bytes(other)
            with pytest.raises(ConfigFault, match="endings"):
                token_digest(bridge.evidence)
            assert path.exists() is (other is not None)
            for command in (["clients", "show", "gone"], ["clients", "list"]):  # it would say "not ended"
                assert isinstance(run(bridge, *command, code=1).exception, ConfigFault)
    finally:
        path.write_bytes(key)


def test_every_command_is_there() -> None:
    for group in ("clients", "subjects", "sessions", "delegations", "lifecycle"):
        command = cli.get_command(click.Context(cli), group)
        assert isinstance(command, click.Group)
        assert all(
            command.get_command(click.Context(command), name) for name in command.list_commands(click.Context(command))
        )
