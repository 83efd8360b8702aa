"""The front-channel page, in a real browser, with three applications of which one does not answer."""

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner

from bridge.audit.filter import Filter
from bridge.audit.query import Queries
from bridge.cli.main import cli
from bridge.doors.logout import page, ticket
from bridge.doors.logout.page import frame_of, html, policy
from bridge.evidence.keys import token_digest
from bridge.model.ended import Name, What
from bridge.model.step import Standing
from bridge.pdp.lifecycle import Orders
from bridge.pdp.steps import StepEntries
from tests.logout.keys import signing_key
from tests.logout.parties import ISSUER, Party, serving
from tests.support.bridge import LocalBridge, bearer, caller, local_bridge, request
from tests.support.browser import browser
from tests.support.evidence import reading

ONWARD = "https://as.example/bye?a=1&b=2"
PUBLIC = "https://as.example/bridge"
NAMES = ("mail", "files", "silent")


@pytest.fixture
async def parties() -> AsyncIterator[dict[str, Party]]:
    found = {name: Party(name, silent=name == "silent") for name in NAMES}
    async with serving(*found.values()):
        yield found


def sections(folder: Path, parties: dict[str, Party], **more: Any) -> dict[str, Any]:
    """Without a back channel: what ends, ends by the browser."""
    tables = [
        party.table(backchannel_logout_uri="", session_required=party.client_id != "files")
        for party in parties.values()
    ]
    return {
        "callers": [caller("as", issuer=ISSUER), caller("ops", "operator")],
        "logout": {
            "signing_key": signing_key(folder),
            "public_url": PUBLIC,
            "post_logout_redirect_uri": ONWARD,
        },
        "relying_parties": tables,
        **more,
    }


async def sign_in(bridge: LocalBridge, session: str, *clients: str, subject: str = "alice") -> None:
    who = {"subject": {"type": "user", "id": subject}, "session": {"id": session}}
    for client in clients:
        asked = request("read", client={"id": client}, grant_type="authorization_code", **who)
        assert (await bridge.ask(asked, headers=bearer("as")))["outcome"] == "allow"


async def end(bridge: LocalBridge, session: str) -> dict[str, Any]:
    body = {"what": "session", "issuer": ISSUER, "session": session, "reason": "signed out"}
    async with bridge.session.post("/v1/lifecycle/end", json=body, headers=bearer("ops")) as response:
        assert response.status == 200, await response.text()
        found: dict[str, Any] = await response.json()
        return found


def here(bridge: LocalBridge, url: str) -> str:
    """Where the page is without what stands in front of the bridge."""
    assert url.startswith(f"{PUBLIC}/v1/logout/frontchannel/")
    return url.replace(PUBLIC, bridge.url)


async def test_a_browser_signs_out_of_those_that_answer_and_tells_of_the_one_that_does_not(
    tmp_path: Path, parties: dict[str, Party]
) -> None:
    async with local_bridge(tmp_path, **sections(tmp_path, parties)) as bridge, browser(tmp_path) as tab:
        await sign_in(bridge, "s-1", *NAMES)
        for party in parties.values():
            await tab.open(f"{party.url}/login?sid=s-1")
            await tab.until("document.body?.textContent === 'signed in'")
        parties["mail"].sessions["s-2"] = True
        told = await end(bridge, "s-1")
        began = time.monotonic()
        await tab.open(here(bridge, told["frontchannel_logout"]))
        await tab.until("document.getElementById('sum')?.textContent.includes('did not answer')")
        assert 4.5 < time.monotonic() - began < 12
        assert await tab.text("h1") == ["You have been signed out"]
        assert await tab.text("th") == list(NAMES)
        assert await tab.text("td.state") == ["loaded", "loaded", "did not answer within 5 s"]
        assert (await tab.text("#sum"))[0].startswith("1 of 3 applications did not answer.")
        assert await tab.value("document.getElementById('sum').getAttribute('role')") == "status"
        assert await tab.value("document.querySelector('main a').href") == ONWARD
        assert await tab.text("noscript") != []
        # The frames were really there, with the user's own cookies.
        assert parties["mail"].framed == [{"tenant": "1", "iss": ISSUER, "sid": "s-1", "cookie": "s-1"}]
        assert parties["files"].framed == [{"tenant": "1", "cookie": "s-1"}]
        assert parties["mail"].sessions == {"s-1": False, "s-2": True}
        assert [party.sessions["s-1"] for party in parties.values()] == [False, False, True]
        # The policy refuses what is not ours: a script in the page, and a frame of another origin.
        await tab.value("document.head.append(Object.assign(document.createElement('script'), {text: 'window.x = 1'}))")
        assert await tab.value("typeof window.x") == "undefined"
        frame = "Object.assign(document.createElement('iframe'), {src: 'http://127.0.0.1:9/'})"
        await tab.value(f"document.body.append({frame})")
        await tab.until("true")
        assert any("frame-src" in text for text in tab.console)
        # Without scripts the applications are told all the same.
        await tab.call("Emulation.setScriptExecutionDisabled", value=True)
        await tab.open(here(bridge, told["frontchannel_logout"]))
        async with asyncio.timeout(10):
            while len(parties["mail"].framed) < 2:
                await asyncio.sleep(0.05)
        (step,) = (one for one in bridge.entries() if one.get("effect") == "step")
    assert (step["step"], step["ending"], step["ending_id"]) == ("frontchannel", told["evidence"]["index"], told["id"])
    assert step["observed"] == {"applications": 3}


async def test_what_the_page_says_and_may_do(tmp_path: Path, parties: dict[str, Party]) -> None:
    hidden = {"path": str(tmp_path / "evidence"), "personal": ["/session/id", "/subject/id"]}
    async with local_bridge(tmp_path, **sections(tmp_path, parties, evidence=hidden)) as bridge:
        await sign_in(bridge, "s-1", "mail", "files")
        await sign_in(bridge, "s-2", "silent")
        told = await end(bridge, "s-1")
        url = told["frontchannel_logout"]
        shown = base64.urlsafe_b64decode(f"{url.rpartition('/')[2]}==")
        assert b"s-1" not in shown and ISSUER.encode() not in shown
        async with bridge.session.get(here(bridge, url)) as response:
            first = await response.text()
        async with bridge.session.get(here(bridge, url)) as response:
            text, headers = await response.text(), response.headers
        assert (response.status, text) == (200, first)
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"
        directives = dict(one.split(" ", 1) for one in headers["Content-Security-Policy"].split("; "))
        assert directives["default-src"] == directives["frame-ancestors"] == directives["base-uri"] == "'none'"
        assert set(directives["frame-src"].split()) == {parties["mail"].url, parties["files"].url}
        assert "unsafe" not in headers["Content-Security-Policy"]
        frames = re.findall(r'<iframe src="([^"]+)"', text)
        assert [urlsplit(frame).path for frame in frames] == ["/frontchannel"] * 2
        assert parse_qs(urlsplit(frames[0].replace("&amp;", "&")).query)["sid"] == ["s-1"]
        assert parties["silent"].url not in text
        assert ">silent<" not in text
        steps = [one for one in bridge.entries() if one.get("effect") == "step"]
        assert len(steps) == 1  # a page is loaded more than once
        assert "s-1" not in json.dumps(steps)
        with reading(bridge.evidence) as reader:
            (found,) = Queries(reader).query(Filter(kind="revocation", limit=1))
            assert found.entry["id"] == steps[0]["id"]
        again = await end(bridge, "s-1")
        assert again["repeated"] is True
        assert again["frontchannel_logout"] != url
        # One that nobody knows anything of: no application, and the page says so.
        nobody = await end(bridge, "s-unknown")
        async with bridge.session.get(here(bridge, nobody["frontchannel_logout"])) as response:
            text = await response.text()
        assert "No application has to be told" in text
        assert "frame-src 'none'" in response.headers["Content-Security-Policy"]
        body = {"what": "client", "issuer": ISSUER, "client": "mail", "reason": "gone"}
        async with bridge.session.post("/v1/lifecycle/end", json=body, headers=bearer("ops")) as response:
            assert "frontchannel_logout" not in await response.json()


async def test_an_ending_that_is_settled_stays_so_after_its_page_was_served(
    tmp_path: Path, parties: dict[str, Party]
) -> None:
    async with local_bridge(tmp_path, **sections(tmp_path, parties)) as bridge:
        await sign_in(bridge, "s-1", "mail")
        told = await end(bridge, "s-1")
        async with asyncio.timeout(10):
            while not (settled := [one for one in bridge.entries() if one.get("effect") == "settled"]):
                await asyncio.sleep(0.05)
        async with bridge.session.get(here(bridge, told["frontchannel_logout"])) as response:
            assert response.status == 200
        digest = token_digest(bridge.evidence)
        entries, name = StepEntries(Orders(digest), digest), Name(What.SESSION, ISSUER, ("s-1",))
        again = entries.settled((told["evidence"]["index"], told["id"]), name, Standing.ACCEPTED, 0)
        assert (await bridge.bridge.journal.append(again)).entry["id"] == settled[0]["id"]


async def test_tickets_are_ours_and_run_out(
    tmp_path: Path, parties: dict[str, Party], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with local_bridge(tmp_path, **sections(tmp_path, parties)) as bridge:
        await sign_in(bridge, "s-1", "mail")
        url = here(bridge, (await end(bridge, "s-1"))["frontchannel_logout"])
        shown, _, good = url.rpartition("/")
        count = len(bridge.entries())
        last = "A" if good[5] != "A" else "B"
        for bad in ("x", "A" * 40, good[:-4], f"{good[:5]}{last}{good[6:]}", "é", "A" * 5000, "%00", f"{good}%3D"):
            async with bridge.session.get(f"{shown}/{bad}") as response:
                assert response.status == 404, bad
                assert "run out" in await response.text()
                assert "frame-src 'none'" in response.headers["Content-Security-Policy"]
        monkeypatch.setattr(ticket, "LIFETIME_S", -1)
        late = here(bridge, (await end(bridge, "s-1"))["frontchannel_logout"])
        async with bridge.session.get(late) as response:
            assert response.status == 404
        assert len(bridge.entries()) == count
        async with bridge.session.get(url) as response:
            assert response.status == 200


async def test_the_command_tells_the_page_too(tmp_path: Path, parties: dict[str, Party]) -> None:
    async with local_bridge(tmp_path, **sections(tmp_path, parties)) as bridge:
        await sign_in(bridge, "s-1", "mail")
        command = ["sessions", "end", "s-1", "--reason", "signed out", "--config", str(tmp_path / "bridge.toml")]
        done = await asyncio.to_thread(lambda: CliRunner().invoke(cli, [*command, "--json"]))
        assert done.exit_code == 0, done.stderr
        async with bridge.session.get(here(bridge, json.loads(done.stdout)["frontchannel_logout"])) as response:
            assert response.status == 200
            assert parties["mail"].url in await response.text()
        done = await asyncio.to_thread(lambda: CliRunner().invoke(cli, command))
        assert f"within 10 minutes: {PUBLIC}/v1/logout/frontchannel/" in done.stdout


def test_names_and_addresses_cannot_leave_their_place() -> None:
    frame = frame_of('"><script>x</script>', 'https://a.example/?q="><script>', ISSUER, "\"&<'")
    text = html([frame], 'https://b.example/?"><script>')
    assert text.count("<script>") == 1
    assert "sid=%22%26%3C%27" in text
    assert "frame-src https://a.example;" in policy([frame])
    assert page._hash(page._SCRIPT) in policy([])
