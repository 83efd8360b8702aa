"""The configuration refuses what would be unsafe or misspelt, and says which key."""

import json
from pathlib import Path
from typing import Any

import pytest

from bridge.config.settings import Settings, is_loopback, load_settings
from bridge.errors import ConfigFault

TOKEN = "ab" * 32
CALLER: dict[str, Any] = {"name": "as", "roles": ["token_service"], "token_sha256": TOKEN}


def settings(tmp_path: Path, **sections: Any) -> Settings:
    """Settings from a TOML file with these tables."""
    lines: list[str] = []
    for name, table in sections.items():
        for part in table if isinstance(table, list) else [table]:
            lines.append(f"[[{name}]]" if isinstance(table, list) else f"[{name}]")
            lines.extend(f"{key} = {json.dumps(value)}" for key, value in part.items())
    file = tmp_path / "bridge.toml"
    file.write_text("\n".join(lines), encoding="utf-8")
    return load_settings(file)


def fault(tmp_path: Path, **sections: Any) -> str:
    with pytest.raises(ConfigFault) as refusal:
        settings(tmp_path, **sections)
    return str(refusal.value)


def test_defaults_are_those_of_the_documentation() -> None:
    given = load_settings(None)
    assert (given.server.host, given.server.port, given.server.workers) == ("127.0.0.1", 8380, 1)
    assert (given.server.deadline_ms, given.server.max_scopes, given.server.max_in_flight) == (1000, 256, 1000)
    assert (given.policy.path, given.policy.max_token_lifetime_s) == ("rego", None)
    assert (given.engine.kind, given.engine.deadline_ms) == ("managed", 250)
    assert (given.evidence.path, given.evidence.origin) == ("var/evidence", "localhost/issuance-bridge")
    assert given.callers == ()


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.0.2.1", "bridge.example", "", "localhost.example", "127.0.0.1.example"]
)
def test_beyond_loopback_needs_callers_and_tls(tmp_path: Path, host: str) -> None:
    assert not is_loopback(host)
    assert "callers" in fault(tmp_path, server={"host": host})
    assert "callers" in fault(tmp_path, server={"host": host, "behind_tls_proxy": True})
    assert "tls_cert" in fault(tmp_path, server={"host": host}, callers=[CALLER])
    assert settings(tmp_path, server={"host": host, "behind_tls_proxy": True}, callers=[CALLER]).server.host == host
    tls = {"tls_cert": "c.pem", "tls_key": "k.pem"}
    assert settings(tmp_path, server={"host": host, **tls}, callers=[CALLER]).server.tls_cert == "c.pem"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_loopback_needs_neither(tmp_path: Path, host: str) -> None:
    assert settings(tmp_path, server={"host": host}).server.host == host


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        ({"server": {"prot": 1}}, "server.prot"),
        ({"sever": {"port": 1}}, "sever"),
        ({"server": {"port": 70000}}, "server.port"),
        ({"server": {"port": "http"}}, "server.port"),
        ({"server": {"deadline_ms": 0}}, "server.deadline_ms"),
        ({"server": {"max_scopes": 257}}, "server.max_scopes"),
        ({"server": {"max_scopes": 0}}, "server.max_scopes"),
        ({"server": {"max_in_flight": 0}}, "server.max_in_flight"),
        ({"server": {"workers": 0}}, "server.workers"),
        ({"server": {"tls_cert": "c.pem"}}, "tls_key"),
        ({"server": {"tls_key": "k.pem"}}, "tls_cert"),
        ({"server": {"client_ca": "ca.pem"}}, "client_ca"),
        ({"policy": {"max_token_lifetime_s": 0}}, "policy.max_token_lifetime_s"),
        ({"engine": {"kind": "none"}}, "engine.kind"),
        ({"engine": {"url": "ftp://x"}}, "engine.url"),
        ({"engine": {"url": "unix://relative"}}, "engine.url"),
        ({"engine": {"deadline_ms": 1}}, "engine.deadline_ms"),
        ({"evidence": {"origin": "two words"}}, "evidence.origin"),
        ({"evidence": {"origin": "a+b"}}, "evidence.origin"),
        ({"evidence": {"mask": ["client/id"]}}, "evidence.mask"),
        ({"log": {"level": "loud"}}, "log.level"),
        ({"callers": [{**CALLER, "roles": []}]}, "callers.0.roles"),
        ({"callers": [{**CALLER, "roles": ["admin"]}]}, "callers.0.roles"),
        ({"callers": [{**CALLER, "role": ["auditor"]}]}, "callers.0.role"),
        ({"callers": [{**CALLER, "token_sha256": "secret"}]}, "callers.0.token_sha256"),
        ({"callers": [{**CALLER, "token_sha256": TOKEN + "\n"}]}, "callers.0.token_sha256"),
        ({"callers": [{**CALLER, "token_sha256": []}]}, "token_sha256"),
        ({"callers": [{"name": "as", "roles": ["auditor"]}]}, "token_sha256 or tls_san"),
        ({"callers": [{**CALLER, "name": "a b"}]}, "callers.0.name"),
        ({"callers": [CALLER, {**CALLER, "token_sha256": "cd" * 32}]}, "callers"),
        (
            {"callers": [CALLER, {**CALLER, "name": "other", "token_sha256": TOKEN.upper()}]},
            "token_sha256 stands twice",
        ),
        ({"callers": [{"name": "as", "roles": ["auditor"], "tls_san": "as.example"}]}, "client_ca"),
    ],
    ids=str,
)
def test_fault_names_its_key(tmp_path: Path, sections: dict[str, Any], named: str) -> None:
    assert named in fault(tmp_path, **sections)


def test_fault_never_shows_the_value(tmp_path: Path) -> None:
    """Somebody writes the token itself instead of its digest: it must not end up in a log."""
    assert "my-token" not in fault(tmp_path, callers=[{**CALLER, "token_sha256": "my-token"}])


def test_tokens_may_rotate(tmp_path: Path) -> None:
    both = settings(tmp_path, callers=[{**CALLER, "token_sha256": [TOKEN, "cd" * 32]}]).callers[0]
    assert both.token_sha256 == (TOKEN, "cd" * 32)
    assert settings(tmp_path, callers=[CALLER]).callers[0].token_sha256 == (TOKEN,)


def test_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE__SERVER__PORT", "9999")
    monkeypatch.setenv("BRIDGE__POLICY__MAX_TOKEN_LIFETIME_S", "60")
    given = settings(tmp_path, server={"port": 1, "max_scopes": 5})
    assert (given.server.port, given.server.max_scopes, given.policy.max_token_lifetime_s) == (9999, 5, 60)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BRIDGE__SERVER__PROT", "1"),
        ("BRIDGE__SEVER__PORT", "1"),
        ("BRIDGE__SERVER__PORT", "x"),
        ("BRIDGE__SERVER__BEHIND_TLS_PROXY", "perhaps"),
        ("BRIDGE__POLICY__MAX_TOKEN_LIFETIME_S", ""),
        ("BRIDGE__CALLERS", "[{"),
    ],
)
def test_environment_is_checked_as_the_file_is(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigFault):
        load_settings(None)


def test_environment_cannot_open_what_the_file_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE__SERVER__HOST", "0.0.0.0")
    assert "beyond loopback" in fault(tmp_path)


@pytest.mark.parametrize("content", [b"server = [", b"[server]\nport = 1\nport = 2", b"\xff", b"server = 1"])
def test_broken_file_is_a_fault(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b.toml").write_bytes(content)
    with pytest.raises(ConfigFault):
        load_settings(tmp_path / "b.toml")
    with pytest.raises(ConfigFault, match="missing"):
        load_settings(tmp_path / "missing.toml")
