"""`sessions check`: who still accepts a session, by what the applications say themselves."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from bridge.cli.main import cli
from bridge.config.settings import load_settings
from bridge.errors import ConfigFault
from bridge.registry import SESSION_CHECK
from tests.logout.keys import signing_key
from tests.logout.parties import ISSUER, Party, serving
from tests.support.bridge import caller, local_bridge, write_config


@pytest.fixture
async def parties() -> AsyncIterator[tuple[Party, Party, Party]]:
    found = Party("app"), Party("other", sessions={"s-1": True}), Party("silent", silent=True)
    async with serving(*found):
        yield found


def config(folder: Path, *tables: dict[str, Any], **sections: Any) -> Path:
    """Tables without notices, so that no key is needed."""
    shown = [{name: value for name, value in one.items() if name != "backchannel_logout_uri"} for one in tables]
    return write_config(folder, callers=[caller("as", issuer=ISSUER)], relying_parties=shown, **sections)


async def check(file: Path, *arguments: str) -> Result:
    command = ["sessions", "check", *arguments, "--config", str(file)]
    return await asyncio.to_thread(lambda: CliRunner().invoke(cli, command, standalone_mode=False))


async def test_who_still_accepts_a_session(tmp_path: Path, parties: tuple[Party, Party, Party]) -> None:
    app, other, silent = parties
    token = tmp_path / "token"
    token.write_text("secret\n")
    tables = [app.table(session_check_token_file=str(token)), other.table(), silent.table(timeout_ms=100)]
    elsewhere = {**other.table(), "issuer": "https://elsewhere.example"}
    file = config(tmp_path, *tables, elsewhere, {**app.table(client_id="page"), "session_check_url": ""})
    done = await check(file, "s-1", "--json")
    assert done.return_value == 1
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"issuer": ISSUER, "client": "app", "state": "ended", "status": 200},
        {"issuer": ISSUER, "client": "other", "state": "active", "status": 200},
        {"issuer": ISSUER, "client": "silent", "state": "unanswered", "fault": "timeout"},
        {"issuer": ISSUER, "client": "page", "state": "not_asked"},
    ]
    assert (app.asked_with, other.asked_with) == (["Bearer secret"], [None])
    done = await check(file, "s-1")
    assert [line.split() for line in done.stdout.splitlines()][:3] == [
        ["client", "state"],
        ["app", "ended"],
        ["other", "active"],
    ]
    other.sessions["s-1"] = False
    assert (await check(config(tmp_path, app.table(), other.table()), "s-1")).return_value is None
    assert (await check(config(tmp_path, app.table(), silent.table(timeout_ms=100)), "s-1")).return_value == 1


async def test_those_that_hang_do_not_make_others_late(tmp_path: Path, parties: tuple[Party, Party, Party]) -> None:
    app, _, silent = parties
    tables = [silent.table(client_id=f"silent-{number}", timeout_ms=900) for number in range(110)]
    settings = load_settings(config(tmp_path, *tables, app.table(timeout_ms=300)))
    found = await SESSION_CHECK(list(settings.relying_parties), "s-1")
    assert [one.state for one in found] == ["unanswered"] * 110 + ["ended"]


ANSWERS: dict[str, dict[str, Any]] = {
    "status": {"status": 404},
    "redirect": {"status": 302, "headers": {"Location": "/session"}},
    "text": {"text": "false"},
    "list": {"text": "[false]"},
    "number": {"text": '{"active": 0}'},
    "word": {"text": '{"active": "false"}'},
    "nothing": {"text": "{}"},
    "twice": {"text": '{"active": true, "active": false}'},
    "long": {"text": json.dumps({"active": False, "x": "y" * 70_000})},
}


@pytest.mark.parametrize("answer", ANSWERS)
async def test_what_is_no_answer_counts_as_none(tmp_path: Path, answer: str) -> None:
    class Odd(Party):
        async def session(self, request: web.Request) -> web.Response:
            return web.Response(**ANSWERS[answer])

    async with serving(odd := Odd("app")):
        settings = load_settings(config(tmp_path, odd.table()))
        (found,) = await SESSION_CHECK(list(settings.relying_parties), "s-1")
    assert found.state == "unanswered"


async def test_a_token_file_that_is_gone(tmp_path: Path, parties: tuple[Party, Party, Party]) -> None:
    file = config(tmp_path, parties[0].table(session_check_token_file=str(tmp_path / "none")))
    done = await check(file, "s-1", "--json")
    assert (done.return_value, json.loads(done.stdout)["fault"]) == (1, "token_file")
    assert parties[0].asked_with == []


async def test_wrong_use(tmp_path: Path, parties: tuple[Party, Party, Party]) -> None:
    file = config(tmp_path, parties[0].table(session_check_url=""))
    for arguments, text in (
        (("s-1",), "session_check_url"),
        (("s-1", "--issuer", "x"), "no relying party of x"),
        (("a\nb",), "control character"),
    ):
        done = await check(file, *arguments)
        assert text in str(done.exception), arguments
    done = await asyncio.to_thread(lambda: CliRunner().invoke(cli, ["sessions", "check", "s", "--config", str(file)]))
    assert done.exit_code == 2


PARTY: dict[str, Any] = {"issuer": ISSUER, "client_id": "app", "session_check_url": "https://app.example/session"}
SENDER: dict[str, Any] = {"issuer": ISSUER, "audience": "b", "jwks_url": "https://op.example/jwks"}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "clear": ({"relying_parties": [{**PARTY, "session_check_url": "http://app.example/"}]}, "must be https"),
    "login": ({"relying_parties": [{**PARTY, "session_check_url": "https://a:b@app.example/"}]}, "without login"),
    "fragment": ({"relying_parties": [{**PARTY, "frontchannel_logout_uri": "https://a.example/?a#b"}]}, "fragment"),
    "host": ({"relying_parties": [{**PARTY, "frontchannel_logout_uri": "https://a;b.example/"}]}, "must name a host"),
    "long host": ({"relying_parties": [{**PARTY, "session_check_url": f"https://{'a' * 64}.example/"}]}, "at most 63"),
    "empty label": ({"relying_parties": [{**PARTY, "session_check_url": "https://a..example/"}]}, "at most 63"),
    "nothing": ({"relying_parties": [{**PARTY, "session_check_url": ""}]}, "needs backchannel_logout_uri"),
    "token": (
        {"relying_parties": [{**PARTY, "session_check_url": "", "session_check_token_file": "x"}]},
        "needs",
    ),
    "twice": ({"relying_parties": [PARTY, PARTY]}, "may stand once"),
    "unsigned": (
        {"relying_parties": [{**PARTY, "backchannel_logout_uri": "https://a.example/"}]},
        "needs logout.signing_key",
    ),
    "no keys": ({"logout_senders": [{**SENDER, "jwks_url": ""}]}, "needs one of jwks_url and jwks_file"),
    "both keys": ({"logout_senders": [{**SENDER, "jwks_file": "x"}]}, "needs one of jwks_url and jwks_file"),
    "keys in clear": ({"logout_senders": [{**SENDER, "jwks_url": "http://op.example/jwks"}]}, "must be https"),
    "senders twice": ({"logout_senders": [SENDER, SENDER]}, "may stand once"),
    "key id": ({"logout": {"signing_key_id": "k"}}, "needs signing_key"),
    "onward": ({"logout": {"post_logout_redirect_uri": "https://as.example/"}}, "needs public_url"),
    "page in clear": ({"logout": {"public_url": "http://as.example"}}, "must be https"),
    "issuer of an application": (
        {"callers": [caller("as", issuer=ISSUER)], "relying_parties": [{**PARTY, "issuer": f"{ISSUER}/"}]},
        "relying_parties: issuer 'https://as.example/' is 'https://as.example' in callers",
    ),
    "issuer of a sender": (
        {"callers": [caller("as", issuer=f"{ISSUER}/")], "logout_senders": [SENDER]},
        "logout_senders: issuer 'https://as.example' is 'https://as.example/' in callers",
    ),
    "no table": ({"logout": {"public_url": "https://as.example/?x"}}, "query"),
}


@pytest.mark.parametrize("name", WRONG)
def test_settings_that_cannot_be_used(tmp_path: Path, name: str) -> None:
    sections, text = WRONG[name]
    with pytest.raises(ConfigFault, match=text):
        load_settings(write_config(tmp_path, tmp_path, **sections))


async def test_the_public_key_is_for_everybody(tmp_path: Path) -> None:
    logout = {"signing_key": signing_key(tmp_path), "signing_key_id": "2026"}
    async with (
        local_bridge(tmp_path, callers=[caller("as", issuer=ISSUER)], logout=logout) as bridge,
        bridge.session.get("/v1/logout/jwks.json") as response,
    ):
        (key,) = (await response.json(content_type="application/jwk-set+json"))["keys"]
        assert response.headers["Cache-Control"] == "public, max-age=300"
    assert key.keys() == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    assert (key["kid"], key["use"], key["alg"]) == ("2026", "sig", "ES256")


@pytest.mark.parametrize(
    ("name", "line"), [("key.pem", "good logout: its key can sign"), ("none.pem", "bad  logout: ")]
)
async def test_check_looks_at_the_key(tmp_path: Path, name: str, line: str) -> None:
    Path(signing_key(tmp_path)).rename(tmp_path / "key.pem")
    file = write_config(tmp_path, logout={"signing_key": str(tmp_path / name)})
    done = await asyncio.to_thread(lambda: CliRunner().invoke(cli, ["check", "--config", str(file)]))
    assert any(told.startswith(line) for told in done.stdout.splitlines())


async def test_check_tells_of_issuers_at_which_nothing_is_granted(tmp_path: Path) -> None:
    away = {"issuer": "https://away.example"}
    callers = [caller("as", issuer=ISSUER), caller("ops", "operator")]
    file = write_config(
        tmp_path,
        callers=callers,
        relying_parties=[PARTY, {**PARTY, **away}],
        logout_senders=[SENDER, {**SENDER, **away}],
    )
    done = await asyncio.to_thread(lambda: CliRunner().invoke(cli, ["check", "--config", str(file)]))
    told = [line.partition(" is ")[0] for line in done.stdout.splitlines() if " logout: " in line]
    assert told == [f"warn logout: {table}: 'https://away.example'" for table in ("relying_parties", "logout_senders")]
