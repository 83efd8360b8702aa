"""Logout notices: whom the connector tells what, by the register's tree, and what it makes of the answers."""

import asyncio
import stat
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bridge.config.logout import LogoutSection, RelyingPartySection
from bridge.config.logout_key import LogoutKey
from bridge.connectors import relying_parties
from bridge.connectors.relying_parties import AT_A_TIME, RelyingParties
from bridge.errors import ConfigFault
from bridge.model.ended import HIDDEN, Name, What
from bridge.model.step import Observed, Standing, Step
from tests.logout.keys import KINDS, key_of, pem, signing_key
from tests.logout.parties import ISSUER, Party, serving

SESSION = Name(What.SESSION, ISSUER, ("s-1",))


def tree(*delegations: dict[str, Any]) -> dict[str, Any]:
    return {"delegations": list(delegations), "exchanged": []}


def delegation(
    client: str, *sessions: str, subject: str = "alice", kind: str = "user", **members: Any
) -> dict[str, Any]:
    shown = {"sessions": list(sessions)} if sessions else {}
    return {"issuer": ISSUER, "client": client, "subject": {"type": kind, "id": subject}, **shown, **members}


def told(folder: Path, *tables: dict[str, Any], kind: str = "ES256") -> RelyingParties:
    key = LogoutKey(LogoutSection(signing_key=signing_key(folder, kind)))
    return RelyingParties([RelyingPartySection(**table) for table in tables], key)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_notice_is_a_signed_token_and_ends_the_session_there(tmp_path: Path, kind: str) -> None:
    app = Party("app", sessions={"s-1": True, "s-2": True})
    async with serving(app):
        connector = told(tmp_path, app.table(), kind=kind)
        assert connector._key is not None
        app.keys = connector._key.keys
        assert "d" not in app.keys["keys"][0]
        (step,) = connector.steps(SESSION, tree(delegation("app", "s-1"), delegation("other", "s-1")))
        assert (step.kind, step.name) == ("notice", Name(What.DELEGATION, ISSUER, ("app", "alice")))
        first, again = [await connector.do(step) for _ in range(2)]
        await connector.close()
    expected = Observed(
        Standing.CONFIRMED,
        "POST backchannel_logout_uri",
        {"notices": 1, "taken": 1, "status": 200, "ended": 1},
    )
    assert first == again == expected  # with a new id: the application refuses one that it knows
    assert app.sessions == {"s-1": False, "s-2": True}
    claims = app.tokens[0]
    assert claims.keys() == {"iss", "aud", "iat", "exp", "jti", "events", "sub", "sid"}
    assert (claims["iss"], claims["sub"], claims["sid"], claims["exp"] - claims["iat"]) == (ISSUER, "alice", "s-1", 120)
    assert app.headers[0] == {"alg": kind, "typ": "logout+jwt", "kid": key_of(kind).thumbprint()}


async def test_who_is_told_what(tmp_path: Path) -> None:
    app, plain = Party("app", url="http://localhost:1"), Party("plain", url="http://localhost:2")
    connector = told(tmp_path, app.table(), plain.table(session_required=False))

    def steps(name: Name, *delegations: dict[str, Any]) -> list[tuple[Any, ...]]:
        return [(step.name.ids, step.more["sessions"]) for step in connector.steps(name, tree(*delegations))]

    both = (delegation("app", "s-1", "s-2"), delegation("plain"))
    for name in (SESSION, Name(What.SUBJECT, ISSUER, ("alice",)), Name(What.CLIENT, ISSUER, ("app",))):
        assert steps(name, *both) == [(("app", "alice"), '["s-1", "s-2"]'), (("plain", "alice"), "[]")]
    assert steps(Name(What.GRANT, ISSUER, ("g",)), *both) == []
    assert steps(SESSION, delegation("app")) == []  # it wants to know which session, and nobody does
    assert steps(SESSION, delegation("plain", subject="plain", kind="client")) == []  # a client signs in nowhere
    assert steps(SESSION, delegation("app", HIDDEN), delegation("plain", subject=HIDDEN)) == []
    assert steps(SESSION, delegation("plain", "s-1", subject=HIDDEN)) == [(("plain", HIDDEN), '["s-1"]')]
    assert steps(SESSION, {**delegation("app", "s-1"), "issuer": "https://other.example"}) == []
    assert RelyingParties([RelyingPartySection(**app.table())], None).steps(SESSION, tree(*both)) == []
    assert await connector.clients() is None
    pairwise = told(tmp_path, plain.table(session_required=False, subject_type="pairwise"))
    found = pairwise.steps(SESSION, tree(delegation("plain", "s-1"), delegation("plain", subject="bob")))
    assert [step.name.ids for step in found] == [("plain", "alice")]


@pytest.mark.parametrize("status", [400, 302, 500])
async def test_a_refusal_has_failed_and_can_be_tried_again(tmp_path: Path, status: int) -> None:
    app = Party("app", sessions={"s-1": True}, refuses=status)
    async with serving(app):
        connector = told(tmp_path, app.table())
        assert connector._key is not None
        app.keys = connector._key.keys
        (step,) = connector.steps(SESSION, tree(delegation("app", "s-1")))
        found = await connector.do(step)
        assert (found.standing, found.seen) == (Standing.FAILED, {"notices": 1, "taken": 0, "status": status})
        app.refuses = 0
        assert (await connector.do(step)).standing is Standing.CONFIRMED
        await connector.close()


async def test_one_that_is_silent_gone_or_goes_on_accepting_has_failed(tmp_path: Path) -> None:
    silent, stubborn, gone = Party("silent", silent=True), Party("stubborn"), Party("gone", url="http://127.0.0.1:1")
    async with serving(silent, stubborn):
        connector = told(tmp_path, silent.table(timeout_ms=100), stubborn.table(), gone.table())
        assert connector._key is not None
        stubborn.keys = connector._key.keys
        found = {}
        for client in ("silent", "gone", "stubborn"):
            (step,) = connector.steps(SESSION, tree(delegation(client, "s-1", "s-2")))
            if client == "stubborn":
                stubborn.session = None  # type: ignore[method-assign,assignment]
                stubborn.tokens.clear()
                connector._parties[ISSUER, client] = connector._parties[ISSUER, client].model_copy(
                    update={"session_check_url": f"{silent.url}/session", "timeout_ms": 300}
                )
            found[client] = await connector.do(step)
        unknown = await connector.do(Step("notice", Name(What.DELEGATION, ISSUER, ("x", "alice")), {"sessions": "[]"}))
        await connector.close()
    assert {one.standing for one in (*found.values(), unknown)} == {Standing.FAILED}
    assert found["silent"].seen == {"notices": 2, "taken": 0, "fault": "timeout"}
    assert found["gone"].seen == {"notices": 2, "taken": 0, "fault": "unreachable"}
    assert found["stubborn"].seen == {"notices": 2, "taken": 2, "status": 200, "unanswered": 2}
    assert unknown.seen == {"fault": "not_configured"}


async def test_without_a_session_check_the_word_of_the_application_counts(tmp_path: Path) -> None:
    app = Party("app", sessions={"s-1": True})
    async with serving(app):
        # The application knows her by another name than the log.
        connector = told(tmp_path, app.table(session_check_url="", subject_type="pairwise"))
        assert connector._key is not None
        app.keys = connector._key.keys
        (step,) = connector.steps(Name(What.SUBJECT, ISSUER, ("alice",)), tree(delegation("app", "s-1")))
        found = await connector.do(step)
        assert found.standing is Standing.ACCEPTED  # a 200 is a promise, and nobody has looked
        await connector.close()
    assert app.sessions == {"s-1": False}
    assert "sub" not in app.tokens[0]


async def test_many_sessions_hold_up_nobody_and_are_told_though_one_attempt_is_too_short(tmp_path: Path) -> None:
    sessions = [f"s-{number:04}" for number in range(1500)]
    app = Party("app", sessions=dict.fromkeys(sessions, True))
    async with serving(app):
        connector = told(tmp_path, app.table(session_check_url="", timeout_ms=5000), kind="RS256")
        assert connector._key is not None
        app.keys = connector._key.keys
        (step,) = connector.steps(Name(What.SUBJECT, ISSUER, ("alice",)), tree(delegation("app", *sessions)))
        doing, held = asyncio.create_task(connector.do(step)), 0.0
        while len(app.tokens) < 40:
            before = time.monotonic()
            await asyncio.sleep(0)
            held = max(held, time.monotonic() - before)
        doing.cancel()
        await asyncio.gather(doing, return_exceptions=True)
        assert held < 0.4, held
        first = {one["sid"] for one in app.tokens}
        doing = asyncio.create_task(connector.do(step))
        while len(app.tokens) < 80:
            await asyncio.sleep(0)
        doing.cancel()
        await asyncio.gather(doing, return_exceptions=True)
        await connector.close()
    again = [one["sid"] for one in app.tokens if one["sid"] in first][len(first) :]
    assert len(again) <= AT_A_TIME, again  # those that were under way


async def test_one_that_hangs_is_left_alone_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the attempts of other sagas need not wait for it."""
    app = Party("app", silent=True, sessions={"s-1": True})
    async with serving(app):
        connector = told(tmp_path, app.table(timeout_ms=100))
        assert connector._key is not None
        app.keys = connector._key.keys
        (step,) = connector.steps(SESSION, tree(delegation("app", "s-1")))
        faults, took = [], []
        for _ in range(5):
            before = time.monotonic()
            faults.append((await connector.do(step)).seen["fault"])
            took.append(time.monotonic() - before)
        assert faults == ["timeout"] * 3 + ["silent"] * 2
        assert max(took[3:]) < 0.09 < min(took[:3])
        app.silent = False
        monkeypatch.setattr(
            relying_parties, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + 11, time=time.time)
        )
        assert (await connector.do(step)).standing is Standing.CONFIRMED
        await connector.close()


def test_keys_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    for raw, text in ((b"nothing", "PEM private key"), (pem("weak", 0), "2048 bits"), (pem("ES384", 0), "P-256")):
        file.write_bytes(raw)
        file.chmod(0o600)
        with pytest.raises(ConfigFault, match=text):
            LogoutKey(LogoutSection(signing_key=str(file)))
    file.chmod(stat.S_IRUSR | stat.S_IROTH)
    with pytest.raises(ConfigFault, match="chmod 600"):
        LogoutKey(LogoutSection(signing_key=str(file)))


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_beside_the_key_does_not_matter(tmp_path: Path, kind: str) -> None:
    """A public key in the same file, as `cat` leaves it."""
    file = Path(signing_key(tmp_path, kind))
    file.write_bytes(key_of(kind).as_pem(private=False) + pem(kind, 0))
    key = LogoutKey(LogoutSection(signing_key=str(file)))
    assert key.sign({}).count(".") == 2
    assert "d" not in key.keys["keys"][0]
