"""`check`, and what `serve` refuses at its start: each trouble by its name, and how to mend it."""

import contextlib
import json
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bridge.cli.main import cli
from bridge.evidence.keys import half_year
from bridge.model.times import now_ms
from bridge.registry import DOOR_NAMES
from bridge.tlog.note import Signer
from tests.support.bridge import caller, run_cli, running_bridge, write_config
from tests.support.policies import POLICIES, write_policies
from tests.support.rights import unprivileged


def check(config: Path, code: int) -> list[tuple[str, str, str]]:
    """(what, state, text) of every line of `check --json`, which must end with `code`."""
    done = run_cli("check", "--json", "--config", config)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(line.keys() == {"check", "state", "text"} for line in lines)
    return [(line["check"], line["state"], line["text"]) for line in lines]


def of(found: list[tuple[str, str, str]], what: str, state: str) -> str:
    """All texts of this kind; there must be one."""
    texts = [text for name, is_state, text in found if (name, is_state) == (what, state)]
    assert texts, found
    return "\n".join(texts)


def test_all_good(tmp_path: Path) -> None:
    found = check(write_config(tmp_path, policy={"max_token_lifetime_s": 3600}), 0)
    assert {(what, state) for what, state, _ in found if state == "good"} == {
        *(("configuration", "good"), ("opa", "good"), ("policies", "good"), ("engine", "good"), ("log", "good"))
    }
    assert not [line for line in found if line[1] == "bad"]
    assert "6 scopes, 1 prefixes" in of(found, "policies", "good")
    assert not (tmp_path / "evidence").exists()


def test_the_sample_policies_are_good(tmp_path: Path) -> None:
    found = check(write_config(tmp_path, Path("rego").absolute(), policy={"max_token_lifetime_s": 3600}), 0)
    assert {state for _, state, _ in found} == {"good"}


def test_what_is_masked_cannot_be_erased_and_that_is_told(tmp_path: Path) -> None:
    evidence = {"mask": ["/subject", "/context/*"], "personal": ["/subject/id", "/context", "/session/id"]}
    found = check(write_config(tmp_path, policy={"max_token_lifetime_s": 3600}, evidence=evidence), 0)
    assert of(found, "configuration", "warn") == (
        "/subject/id is in evidence.mask too, which hides it from `log erase` as well"
    )


def test_the_text_for_people_says_the_same(tmp_path: Path) -> None:
    config = write_config(tmp_path, engine={"opa": "/nowhere/opa"})
    done = run_cli("check", "--config", config)
    assert done.returncode == 1
    assert "bad  opa: no executable opa /nowhere/opa (engine.opa): run `make setup`" in done.stdout
    assert "warn configuration: policy.max_token_lifetime_s is not set" in done.stdout


def test_warnings_are_no_failure(tmp_path: Path) -> None:
    rules = {name: text for name, text in POLICIES.items() if name != "issuance.gate"}
    found = check(write_config(tmp_path, write_policies(tmp_path / "p", rules)), 0)
    warnings = of(found, "policies", "warn")
    assert "package issuance.gate is missing: every request will be denied" in warnings
    assert 'issuance.scope["read"] has no owner (authors)' in warnings
    assert "p0.rego:1:" in warnings
    assert "policy.max_token_lifetime_s" in of(found, "configuration", "warn")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[server\n", "bridge.toml"),
        ("[server]\nprot = 1\n", "server.prot"),
        ("[server]\nport = 70000\n", "server.port"),
        ('[server]\nhost = "0.0.0.0"\n', "configure [[callers]] first"),
        ('[[callers]]\nname = "as"\nroles = ["token_service"]\n', "needs token_sha256 or tls_san"),
        ('[engine]\nkind = "magic"\n', "engine.kind"),
        ('[evidence]\nmask = ["subject"]\n', "evidence.mask"),
    ],
)
def test_a_configuration_that_cannot_be_used(tmp_path: Path, text: str, named: str) -> None:
    config = tmp_path / "bridge.toml"
    config.write_text(text)
    assert named in of(check(config, 1), "configuration", "bad")


def test_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    assert "nowhere.toml" in of(check(tmp_path / "nowhere.toml", 1), "configuration", "bad")


def test_everything_bad_is_told_at_once(tmp_path: Path, unused_tcp_port: int) -> None:
    (tmp_path / "file").write_text("not a folder")
    config = write_config(
        tmp_path,
        server={"tls_cert": str(tmp_path / "no.pem"), "tls_key": str(tmp_path / "no.key")},
        engine={"kind": "opa", "url": f"http://127.0.0.1:{unused_tcp_port}"},
        evidence={"path": str(tmp_path / "file" / "evidence")},
    )
    found = check(config, 1)
    assert "server.tls_cert" in of(found, "tls", "bad")
    engine = of(found, "engine", "bad")
    assert f"127.0.0.1:{unused_tcp_port}" in engine
    assert "issuance-bridge policy build" in engine
    assert "set evidence.path" in of(found, "log", "bad")
    assert of(found, "policies", "good")


@pytest.mark.parametrize(
    ("package", "rules", "named"),
    [
        ("issuance.scope.x", "allow if {", "p0.rego:"),
        ("issuance.scope.x", "allow if inpt.a", "p0.rego:3"),
        (
            "issuance.scope.x",
            'allow if http.send({"method": "get", "url": "http://x"}).status_code == 200',
            "http.send",
        ),
        ("issuance.scope", "x := 1", "issuance.scope"),
        ('issuance.scope_prefix[""]', "allow := true", "prefix"),
    ],
)
def test_a_policy_set_that_is_refused(tmp_path: Path, package: str, rules: str, named: str) -> None:
    found = check(write_config(tmp_path, write_policies(tmp_path / "p", {package: rules})), 1)
    assert named in of(found, "policies", "bad")
    assert str(tmp_path) not in of(found, "policies", "bad")


def test_no_policy_folder(tmp_path: Path) -> None:
    found = check(write_config(tmp_path, tmp_path / "nowhere"), 1)
    assert "nowhere is neither a folder nor a bundle (policy.path)" in of(found, "policies", "bad")


def test_another_version_of_opa(tmp_path: Path) -> None:
    old = tmp_path / "opa"
    old.write_text("#!/bin/sh\necho 'Version: 0.70.0'\n")
    old.chmod(0o755)
    text = of(check(write_config(tmp_path, engine={"opa": str(old)}), 1), "opa", "bad")
    assert "0.70.0" in text
    assert "make setup" in text


def test_something_else_in_place_of_opa(tmp_path: Path) -> None:
    assert "/bin/true is not OPA" in of(check(write_config(tmp_path, engine={"opa": "/bin/true"}), 1), "opa", "bad")


def test_a_log_that_is_none(tmp_path: Path) -> None:
    evidence = tmp_path / "evidence"
    evidence.mkdir()
    (evidence / "evidence.sqlite").write_bytes(b"this is no database, and long enough to be told from one" * 20)
    assert str(evidence) in of(check(write_config(tmp_path), 1), "log", "bad")


def test_a_log_below_a_folder_that_is_closed_to_us() -> None:
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        closed = Path(place) / "closed"
        closed.mkdir(mode=0)
        config = write_config(Path(place) / "c", evidence={"path": str(closed / "evidence")})
        with unprivileged():
            done = CliRunner().invoke(cli, ["check", "--config", str(config)], catch_exceptions=False)
        closed.chmod(0o700)
    assert done.exit_code == 1
    assert f"cannot be made, since {closed} is not writable: set evidence.path" in done.stdout


def test_beside_a_running_bridge_the_log_is_good_and_left_alone(tmp_path: Path) -> None:
    with running_bridge(tmp_path, callers=[caller("as")]) as bridge:
        with sqlite3.connect(bridge.evidence / "evidence.sqlite") as database:
            before = database.execute("SELECT * FROM run").fetchall()
            assert "a running bridge writes to" in of(check(bridge.config, 0), "log", "good")
            assert database.execute("SELECT * FROM run").fetchall() == before
        database.close()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"server": {"host": "0.0.0.0"}}, "configure [[callers]] first"),
    ({"server": {"host": "0.0.0.0"}, "callers": [caller("as")]}, "set server.tls_cert and server.tls_key"),
    ({"server": {"host": "::"}, "callers": [caller("as")]}, "behind_tls_proxy"),
    ({"server": {"host": "pdp.example"}}, "beyond loopback"),
    ({"server": {"tls_cert": "/nowhere.pem", "tls_key": "/nowhere.key"}}, "server.tls_cert"),
    ({"engine": {"opa": "/nowhere/opa"}}, "make setup"),
    ({"evidence": {"path": "/dev/null/evidence"}}, "evidence"),
    ({"policy": {"path": "/nowhere/rego"}}, "neither a folder nor a bundle"),
]


@pytest.mark.parametrize(("sections", "named"), REFUSED, ids=range(len(REFUSED)))
def test_serve_refuses_what_cannot_work(tmp_path: Path, sections: dict[str, Any], named: str) -> None:
    done = run_cli("serve", "--config", write_config(tmp_path, **sections))
    assert done.returncode == 1
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_serve_refuses_a_port_that_is_taken_and_leaves_no_engine(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    scratch = Path(tempfile.mkdtemp(dir="/tmp"))  # pytest's own are too long for a unix socket
    request.addfinalizer(lambda: shutil.rmtree(scratch))
    with running_bridge(tmp_path / "a") as bridge:
        for workers in (1, 2):
            config = write_config(tmp_path / f"b{workers}", server={"port": bridge.port, "workers": workers})
            done = run_cli("serve", "--config", config, env={"TMPDIR": str(scratch)})
            assert done.returncode == 1
            assert f"cannot listen on 127.0.0.1 port {bridge.port}" in done.stderr
            assert "Traceback" not in done.stderr
    assert list(scratch.iterdir()) == []
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(scratch) in " ".join(p.info["cmdline"] or ())]


def test_a_temporary_folder_too_deep_for_a_socket_is_named(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    done = run_cli("serve", "--config", write_config(tmp_path), env={"TMPDIR": str(deep)})
    assert done.returncode == 1
    assert "set TMPDIR to a shorter folder" in done.stderr
    assert list(deep.iterdir()) == []


def test_a_second_bridge_on_the_same_evidence_is_refused(tmp_path: Path) -> None:
    with running_bridge(tmp_path / "a") as bridge:
        for workers in (1, 2):
            server, evidence = {"port": 0, "workers": workers}, {"path": str(bridge.evidence)}
            config = write_config(tmp_path / f"b{workers}", server=server, evidence=evidence)
            done = run_cli("serve", "--config", config)
            assert done.returncode == 1
            assert f"another bridge writes to {bridge.evidence}; end it, or set evidence.path" in done.stderr
        assert bridge.get("/health/ready").status_code == 200


def test_workers_that_cannot_start_end_it_all(tmp_path: Path) -> None:
    config = write_config(tmp_path, tmp_path / "nowhere", server={"port": 0, "workers": 2})
    done = run_cli("serve", "--config", config)
    assert done.returncode == 1
    assert "neither a folder nor a bundle" in done.stderr
    assert "ended at its start" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_door_that_there_is_not(tmp_path: Path) -> None:
    found = check(write_config(tmp_path, callers=[caller("as", doors=["native", "nativ"])]), 0)
    told = of(found, "callers", "warn")
    assert f"'nativ', which there is not; there are {', '.join(DOOR_NAMES)}" in told


def test_a_log_that_is_not_what_was_signed(tmp_path: Path) -> None:
    with running_bridge(tmp_path) as bridge:
        config = bridge.config
        assert bridge.stop() == 0
    assert f"/{half_year(now_ms())} is what was signed, " in of(check(config, 0), "log", "good")
    with contextlib.closing(sqlite3.connect(tmp_path / "evidence" / "evidence.sqlite")) as db, db:
        db.execute("DELETE FROM entry WHERE idx = (SELECT max(idx) FROM entry)")
    assert "the last checkpoint that was signed covers" in of(check(config, 1), "log", "bad")


def test_a_log_of_a_half_year_that_is_over(tmp_path: Path) -> None:
    (tmp_path / "evidence").mkdir()
    key = Signer("localhost/issuance-bridge/2001h1", Ed25519PrivateKey.generate())
    file = tmp_path / "evidence" / "signing.key"
    file.write_text(f"{key}\n")
    file.chmod(0o600)
    assert "2001h1 is of a half-year that is over" in of(check(write_config(tmp_path), 0), "log", "warn")


@pytest.mark.parametrize(
    ("policy", "state", "text"),
    [
        ("quorum none\n", "good", "0 are known, the quorum is none"),
        ("quorum w\n", "bad", "trust.policy: trust policy, line 1: there is no witness or group 'w' above"),
        (None, "bad", "trust.policy cannot be read"),
    ],
)
def test_the_witnesses_are_looked_at(tmp_path: Path, policy: str | None, state: str, text: str) -> None:
    file = tmp_path / "trust.policy"
    if policy is not None:
        file.write_text(policy)
    config = write_config(tmp_path, evidence={"path": str(tmp_path / "evidence"), "trust": str(file)})
    assert text in of(check(config, 0 if state == "good" else 1), "witnesses", state)
    if state == "bad":
        refused = run_cli("serve", "--config", config)
        assert refused.returncode == 1
        assert text in refused.stderr
        assert "Traceback" not in refused.stderr
