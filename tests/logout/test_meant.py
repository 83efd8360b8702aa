"""Which sessions a logout token ends: all that it means, also when it comes once more, and no other."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from bridge.audit.sessions import meant_by
from bridge.doors.logout.backchannel import PATH
from bridge.evidence.keys import token_digest
from bridge.model.ended import Effect, Name, What
from bridge.model.logout import JTI_DIGEST, Logout
from bridge.pdp.lifecycle import Order
from tests.logout.test_received import AUDIENCE, FORM, ISSUER, claims, key_set, signed
from tests.support.bridge import LocalBridge, bearer, caller, local_bridge, request


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[LocalBridge]:
    (tmp_path / "jwks.json").write_text(json.dumps(key_set()))
    table = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": str(tmp_path / "jwks.json")}
    callers = [caller("as", issuer=ISSUER), caller("other", issuer="https://as.example")]
    async with local_bridge(tmp_path, callers=callers, logout_senders=[table]) as running:
        yield running


async def outcome(bridge: LocalBridge, session: str, subject: str) -> str:
    who = {"subject": {"type": "user", "id": subject}, "session": {"id": session}}
    asked = request("read", grant_type="authorization_code", **who)
    return str((await bridge.ask(asked, headers=bearer("as")))["outcome"])


async def exchange(bridge: LocalBridge, sid: str, subject: str, issuer: str = ISSUER) -> str:
    """At another server, of a token that the provider issued."""
    token = {"iss": issuer, "sub": subject, "sid": sid}
    who = {"subject": {"type": "user", "id": "local"}, "actor": {"type": "client", "id": "c"}, "subject_token": token}
    asked = request("read", grant_type="token_exchange", **who)
    return str((await bridge.ask(asked, headers=bearer("other")))["outcome"])


async def post(bridge: LocalBridge, said: dict[str, Any]) -> None:
    body = urlencode({"logout_token": signed(said)})
    async with bridge.session.post(PATH, data=body, headers=FORM) as response:
        assert response.status == 200, await response.text()


async def test_what_was_cut_off_is_ended_when_the_token_comes_again(bridge: LocalBridge) -> None:
    """As after a kill between two transactions of a subject with many sessions."""
    sessions = ("a", "b", "c")
    assert {await outcome(bridge, one, "alice") for one in sessions} == {"allow"}
    said, digest = claims(sid=None, sub="alice"), token_digest(bridge.evidence)
    logout = Logout(ISSUER, said["jti"], said["iat"], "alice", None)
    more = {JTI_DIGEST: logout.digest(digest)}
    order = Order(Name(What.SESSION, ISSUER, ("a",)), Effect.ENDED, "r", ISSUER, "logout", more=more)
    await bridge.bridge.lifecycle.together([order])
    assert await outcome(bridge, "later", "alice") == "allow"
    assert meant_by(bridge.evidence, logout, 60_000, digest).repeated
    await post(bridge, said)
    assert [await outcome(bridge, one, "alice") for one in (*sessions, "later")] == ["deny"] * 3 + ["allow"]


async def test_an_id_that_is_used_twice_keeps_no_session_alive(bridge: LocalBridge) -> None:
    assert {await outcome(bridge, one, "alice") for one in ("a", "b")} == {"allow"}
    said = claims(sid="a")
    await post(bridge, said)
    await post(bridge, {**said, "sid": "b"})
    assert {await outcome(bridge, one, "alice") for one in ("a", "b")} == {"deny"}


async def test_sessions_that_exchanged_tokens_name_end_with_their_subject(bridge: LocalBridge) -> None:
    assert {await exchange(bridge, one, "alice") for one in ("x", "y")} == {"allow"}
    assert (
        await exchange(bridge, "z", "bob") == await exchange(bridge, "x", "alice", "https://third.example") == "allow"
    )
    await post(bridge, claims(sid=None, sub="alice"))
    assert {await exchange(bridge, one, "alice") for one in ("x", "y")} == {"deny"}
    assert (
        await exchange(bridge, "z", "bob") == await exchange(bridge, "x", "alice", "https://third.example") == "allow"
    )
