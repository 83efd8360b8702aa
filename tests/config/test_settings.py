"""The configuration: a file, the environment on top, and what is refused, by its name."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from bridge.config.section import is_loopback
from bridge.config.settings import Settings, load_settings
from bridge.errors import ConfigFault
from bridge.model.mask import SECRET_NAMES, SECRET_SUFFIXES
from tests.support.bridge import caller

HASH = hashlib.sha256(b"token").hexdigest()


def load(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "bridge.toml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file)


def test_without_anything_it_is_loopback_with_the_sample_policies() -> None:
    settings = load_settings(None)
    server = settings.server
    assert (server.host, server.port, server.workers) == ("127.0.0.1", 8380, 1)
    assert (server.deadline_ms, server.max_scopes, server.max_in_flight) == (1000, 256, 1000)
    assert (server.tls_cert, server.tls_key, server.client_ca, server.behind_tls_proxy) == ("", "", "", False)
    assert (server.secret_names, server.secret_suffixes) == (SECRET_NAMES, SECRET_SUFFIXES)
    assert (settings.policy.path, settings.policy.max_token_lifetime_s) == ("rego", None)
    assert (settings.engine.kind, settings.engine.url) == ("managed", "http://127.0.0.1:8181")
    assert settings.engine.deadline_ms == 250
    assert (settings.evidence.path, settings.evidence.origin) == ("var/evidence", "localhost/issuance-bridge")
    assert settings.callers == ()


def test_the_secrets_that_are_taken_out_unless_configured() -> None:
    assert set(SECRET_NAMES) == {"authorization", "cookie", "code", "device_code", "user_code"}
    assert set(SECRET_SUFFIXES) == {"token", "assertion", "secret", "password"}


def test_a_file_is_taken_whole(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        f"""
[server]
port = 9000
max_scopes = 3
[policy]
path = "policies.tar.gz"
max_token_lifetime_s = 3600
[engine]
kind = "opa"
url = "unix:///run/opa.sock"
[evidence]
mask = ["/subject/id"]
[[callers]]
name = "as"
roles = ["token_service", "auditor"]
token_sha256 = "{HASH}"
issuer = "https://as.example"
doors = ["native"]
grant_types = ["client_credentials"]
[[callers]]
name = "other"
roles = ["operator"]
token_sha256 = ["{"a" * 64}", "{"B" * 64}"]
""",
    )
    assert (settings.server.port, settings.server.max_scopes, settings.server.host) == (9000, 3, "127.0.0.1")
    assert settings.engine.url == "unix:///run/opa.sock"
    one, other = settings.callers
    assert (one.name, one.token_sha256, one.issuer) == ("as", (HASH,), "https://as.example")
    assert (one.doors, one.grant_types) == (("native",), ("client_credentials",))
    assert (other.token_sha256, other.doors, other.grant_types) == (("a" * 64, "B" * 64), None, None)


def test_the_environment_wins_key_by_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE__SERVER__PORT", "9001")
    monkeypatch.setenv("BRIDGE__POLICY__MAX_TOKEN_LIFETIME_S", "60")
    monkeypatch.setenv("BRIDGE__EVIDENCE__MASK", '["/subject/id", "/client/id"]')
    monkeypatch.setenv("bridge__engine__kind", "opa")
    settings = load(tmp_path, "[server]\nport = 9000\nworkers = 2\n[evidence]\npath = 'here'\n")
    assert (settings.server.port, settings.server.workers) == (9001, 2)
    assert settings.policy.max_token_lifetime_s == 60
    assert (settings.evidence.mask, settings.evidence.path) == (("/subject/id", "/client/id"), "here")
    assert settings.engine.kind == "opa"


def test_callers_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE__CALLERS", f'[{{"name": "as", "roles": ["token_service"], "token_sha256": "{HASH}"}}]')
    (one,) = load_settings(None).callers
    assert (one.name, one.token_sha256) == ("as", (HASH,))


def test_a_file_of_settings_beside_the_working_directory_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("BRIDGE__SERVER__PORT=1\n")
    monkeypatch.chdir(tmp_path)
    assert load_settings(None).server.port == 8380


AS = f'[[callers]]\nname = "as"\nroles = ["token_service"]\ntoken_sha256 = "{HASH}"\n'
SERVER = '[[servers]]\nissuer = "https://as.example"\nkind = "hydra"\nadmin_url = "https://h.example"\n'
TLS = '[server]\ntls_cert = "c"\ntls_key = "k"\n'

REFUSED = [
    ("[server]\nprot = 1\n", "server.prot"),
    ("[serving]\nport = 1\n", "serving"),
    ("port = 1\n", "port"),
    ("[server]\nport = 65536\n", "server.port"),
    ("[server]\nport = -1\n", "server.port"),
    ('[server]\nport = "http"\n', "server.port"),
    ("[server]\nworkers = 0\n", "server.workers"),
    ("[server]\nworkers = 65\n", "server.workers"),
    ("[server]\ndeadline_ms = 0\n", "server.deadline_ms"),
    ("[server]\nmax_scopes = 0\n", "server.max_scopes"),
    ("[server]\nmax_scopes = 257\n", "server.max_scopes"),
    ("[server]\nmax_in_flight = 0\n", "server.max_in_flight"),
    ("[policy]\nmax_token_lifetime_s = 0\n", "policy.max_token_lifetime_s"),
    ('[engine]\nkind = "embedded"\n', "engine.kind"),
    ('[engine]\nurl = "127.0.0.1:8181"\n', "engine.url"),
    ('[engine]\nurl = "unix://opa.sock"\n', "engine.url"),
    ("[engine]\ndeadline_ms = 1\n", "engine.deadline_ms"),
    ('[evidence]\norigin = "a b"\n', "evidence.origin"),
    ('[evidence]\norigin = "a+b"\n', "evidence.origin"),
    ('[evidence]\norigin = ""\n', "evidence.origin"),
    ('[evidence]\ninstance = "a b"\n', "evidence.instance"),
    ('[evidence]\nmask = ["subject/id"]\n', "evidence.mask"),
    ('[log]\nformat = "xml"\n', "log.format"),
    ('[log]\nlevel = "loud"\n', "log.level"),
    ('[[callers]]\nname = "as"\nroles = ["token_service"]\n', "needs token_sha256 or tls_san"),
    (AS.replace('["token_service"]', "[]"), "callers.0.roles"),
    (AS.replace("token_service", "admin"), "callers.0.roles"),
    (AS.replace('"as"', '""'), "callers.0.name"),
    (AS.replace('"as"', '"a\\u0000"'), "callers.0.name"),
    (AS.replace(HASH, HASH[:-1]), "callers.0.token_sha256"),
    (AS.replace(HASH, hashlib.sha256(b"").hexdigest()), "digest of an empty secret"),
    (AS.replace(f'"{HASH}"', f'["{HASH}", "{hashlib.sha256(b"").hexdigest().upper()}"]'), "digest of an empty secret"),
    (AS + 'header = "X-Key"\ncookie = "key"\n', "header and cookie are two places"),
    ('[[callers]]\nname = "as"\nroles = ["token_service"]\nheader = "X-Key"\ntls_san = "a"\n', "need token_sha256"),
    *((AS + f'header = "{name}"\n', "callers.0.header") for name in ("X Key", "Cookie", "Host", "é", "a" * 65, "X:")),
    (AS + 'cookie = "a=b"\n', "callers.0.cookie"),
    ('[hooks.hydra]\nadmin_url = "ftp://x"\n', "hooks.hydra.admin_url"),
    ('[hooks.hydra]\nadmin_url = "http://u:p@x"\n', "without login"),
    ('[hooks.hydra]\nadmin_token_file = "x"\n', "needs admin_url"),
    ('[hooks.hydra]\nadmin_url = "http://hydra.example"\nadmin_token_file = "x"\n', "over https alone"),
    ('[hooks.hydra]\nadmin_url = "http://x"\nadmin_header = "X"\n', "needs admin_token_file"),
    ('[hooks.hydra]\nadmin = "x"\n', "there are admin_url"),
    ("[hooks.nobody]\nx = 1\n", "there are hydra"),
    (SERVER.replace("https://h.example", "h.example"), "servers.0.admin_url"),
    (SERVER.replace('admin_url = "https://h.example"', ""), "needs admin_url"),
    (SERVER.replace('"hydra"', '"other"'), "servers.0.kind"),
    (SERVER + "list_clients_s = -1\n", "servers.0.list_clients_s"),
    (SERVER.replace("https:", "http:") + 'admin_token_file = "x"\n', "over https alone"),
    (SERVER + 'admin_header = "X"\n', "needs admin_token_file"),
    (SERVER + SERVER, "servers"),
    (AS.replace(HASH, "g" * 64), "callers.0.token_sha256"),
    (AS + "tokn = 1\n", "callers.0.tokn"),
    (AS + AS.replace(HASH, "a" * 64), "every name may stand once"),
    (AS + AS.replace('"as"', '"other"').replace(HASH, HASH.upper()), "one token_sha256 stands twice"),
    (AS + 'tls_san = "as.example"\n', "tls_san needs server.client_ca"),
    ('[server]\ntls_cert = "c"\n', "server.tls_cert and server.tls_key belong together"),
    ('[server]\ntls_key = "k"\n', "server.tls_cert and server.tls_key belong together"),
    ('[server]\nclient_ca = "c"\n', "server.client_ca needs server.tls_cert"),
    ("[server\n", "bridge.toml"),
    ("[server]\nport = 1\nport = 2\n", "bridge.toml"),
]


@pytest.mark.parametrize(("text", "named"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigFault) as refused:
        load(tmp_path, text)
    assert named in str(refused.value)
    assert HASH not in str(refused.value)


CALLER_KEYS = "there are name, roles, token_sha256, header, cookie, tls_san, issuer, doors, grant_types"

ALLOWED = [
    ("[serving]\nport = 1\n", "serving: there is no such section; there are server, policy, engine, evidence, log"),
    ('_env_file = "x"\n', "_env_file: there is no such section"),
    (
        "[policy]\npth = 1\n",
        "policy.pth: there is no such key; there are path, verification_key, signing_key, signing_key_id, max_token_",
    ),
    (AS + "tokn = 1\n", f"callers.0.tokn: there is no such key; {CALLER_KEYS}"),
    ("server = 3\n", "server: must be a table, as in [server]"),
    ("[[server]]\nport = 1\n", "server: must be a table, as in [server]"),
    ('[callers]\nname = "as"\n', "callers: must be a list"),
    ('callers = ["as"]\n', "callers.0: must be a table, as in [[callers]]"),
    ('[server]\nsecret_names = "pin"\n', "server.secret_names: must be a list"),
]


@pytest.mark.parametrize(("text", "told"), ALLOWED, ids=range(len(ALLOWED)))
def test_what_is_allowed_is_told_in_words_of_the_file(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigFault) as refused:
        load(tmp_path, text)
    assert told in str(refused.value)


def test_a_certificate_name_may_belong_to_one_caller_only(tmp_path: Path) -> None:
    known = '[[callers]]\nname = "{}"\nroles = ["token_service"]\ntls_san = "as.example"\n'
    text = TLS + 'client_ca = "c"\n' + known.format("a") + known.format("b")
    with pytest.raises(ConfigFault, match="one tls_san stands twice"):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "x"), ("PORT", ""), ("WORKERS", "two"), ("BEHIND_TLS_PROXY", "perhaps"), ("PROT", "1")],
)
def test_the_environment_is_checked_alike(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"BRIDGE__SERVER__{name}", value)
    with pytest.raises(ConfigFault, match=f"server.{name.lower()}"):
        load_settings(None)


def test_a_section_that_is_unknown_is_refused_in_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE__SERVRE__PORT", "1")
    with pytest.raises(ConfigFault, match=r"(?i)servre"):
        load_settings(None)


def test_a_list_that_is_no_json_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE__CALLERS", "as")
    with pytest.raises(ConfigFault, match="callers"):
        load_settings(None)


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigFault, match=r"nowhere\.toml"):
        load_settings(tmp_path / "nowhere.toml")
    with pytest.raises(ConfigFault, match=str(tmp_path)):
        load_settings(tmp_path)
    (tmp_path / "odd.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigFault, match=r"odd\.toml"):
        load_settings(tmp_path / "odd.toml")


BEYOND = ["0.0.0.0", "::", "192.0.2.1", "pdp.example", "", "localhost.example", "127.0.0.1.example", "2001:db8::1"]


@pytest.mark.parametrize("host", BEYOND)
def test_beyond_loopback_needs_callers_and_tls(host: str) -> None:
    known = caller("as")

    def at(**sections: Any) -> Settings:
        return Settings(**{"callers": [], **sections, "server": {"host": host, **sections.get("server", {})}})

    with pytest.raises(ValueError, match=r"\[\[callers\]\]"):
        at()
    with pytest.raises(ValueError, match=r"\[\[callers\]\]"):
        at(server={"behind_tls_proxy": True})
    with pytest.raises(ValueError, match="tls_cert"):
        at(callers=[known])
    assert at(callers=[known], server={"behind_tls_proxy": True}).server.host == host
    assert at(callers=[known], server={"tls_cert": "c", "tls_key": "k"}).server.host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "::1"])
def test_on_loopback_nothing_is_needed(host: str) -> None:
    assert Settings(server={"host": host}).server.host == host  # type: ignore[arg-type]  # wrong on purpose
    assert is_loopback(host)


def test_settings_do_not_change(tmp_path: Path) -> None:
    settings = load(tmp_path, "")
    with pytest.raises(ValueError, match="frozen"):
        settings.server.port = 1  # type: ignore[misc]  # frozen: what is tested


def test_a_fault_never_shows_the_value(tmp_path: Path) -> None:
    """Somebody writes the token itself instead of its digest: it must not end up in a log."""
    text = '[[callers]]\nname = "as"\nroles = ["token_service"]\ntoken_sha256 = "my-token"\n'
    with pytest.raises(ConfigFault) as refusal:
        load(tmp_path, text)
    assert "token_sha256" in str(refusal.value)
    assert "my-token" not in str(refusal.value)


@pytest.mark.parametrize("url", ["http://user:planted/more@host", "http://user:planted", "http://user:planted@host:x"])
def test_a_fault_shows_no_piece_of_a_password(tmp_path: Path, url: str) -> None:
    """What stands before a slash in it is taken for a port."""
    with pytest.raises(ConfigFault, match=r"engine\.url: must name a port that is a number") as raised:
        load(tmp_path, f'[engine]\nurl = "{url}"\n')
    assert "planted" not in str(raised.value)
