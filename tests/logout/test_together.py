"""A session that ends is told to its applications by the bridge itself, until every one of them has taken it."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.logout.keys import signing_key
from tests.logout.parties import ISSUER, Party, serving
from tests.support.bridge import LocalBridge, bearer, caller, local_bridge, request

PUBLIC = "https://as.example"
OPS = bearer("ops")


async def until(seen: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not seen():
            await asyncio.sleep(0.05)


async def unconfirmed(bridge: LocalBridge) -> list[dict[str, Any]]:
    async with bridge.session.get("/v1/lifecycle/status", headers=OPS) as response:
        found: list[dict[str, Any]] = (await response.json())["unconfirmed"]
        return found


async def test_by_both_channels_and_the_one_that_is_silent_is_told_again(tmp_path: Path) -> None:
    mail, files, silent = Party("mail"), Party("files"), Party("silent", silent=True)
    parties = (mail, files, silent)
    async with serving(*parties):
        sections: dict[str, Any] = {
            "callers": [caller("as", issuer=ISSUER), caller("ops", "operator")],
            "logout": {"signing_key": signing_key(tmp_path), "public_url": PUBLIC},
            "relying_parties": [party.table(timeout_ms=200) for party in parties],
        }
        async with local_bridge(tmp_path, **sections) as bridge:
            async with bridge.session.get("/v1/logout/jwks.json") as response:
                keys = await response.json(content_type="application/jwk-set+json")
            for party in parties:
                party.keys, party.sessions = keys, {"s-1": True, "s-2": True}
                who = {"subject": {"type": "user", "id": "alice"}, "session": {"id": "s-1"}}
                asked = request("read", client={"id": party.client_id}, grant_type="authorization_code", **who)
                await bridge.ask(asked, headers=bearer("as"))
            body = {"what": "session", "issuer": ISSUER, "session": "s-1", "reason": "signed out"}
            async with bridge.session.post("/v1/lifecycle/end", json=body, headers=OPS) as response:
                told = await response.json()
            page = told["frontchannel_logout"].replace(PUBLIC, bridge.url)
            async with bridge.session.get(page) as response:
                assert response.status == 200
            ended = {"s-1": False, "s-2": True}
            await until(lambda: mail.sessions == files.sessions == ended)
            assert (mail.tokens[0]["sid"], mail.tokens[0]["sub"]) == ("s-1", "alice")
            async with asyncio.timeout(15):
                found: list[dict[str, Any]] = []
                while not any(one.get("client") == "silent" for one in found):
                    await asyncio.sleep(0.05)
                    found = [one for saga in await unconfirmed(bridge) for one in saga["steps"]]
            notices = {one["client"]: (one["connector"], one["standing"]) for one in found if one["step"] == "notice"}
            assert notices["silent"] == ("logout", "failed")
            silent.silent = False
            await until(lambda: silent.sessions == ended)
            async with asyncio.timeout(15):
                while await unconfirmed(bridge):
                    await asyncio.sleep(0.05)
            entries = [one for one in bridge.entries() if one["kind"] == "revocation"]
    steps = [one for one in entries if one["effect"] == "step" and one["step"] == "notice"]
    assert {one["request"]["client"]["id"]: one["standing"] for one in steps} == dict.fromkeys(
        ("mail", "files", "silent"), "confirmed"
    )
    assert [one["observed"] for one in steps if one["standing"] == "failed"] == [
        {"notices": 1, "taken": 0, "fault": "timeout"}
    ]
    assert [one["effect"] for one in entries if one["effect"] != "step"] == ["ended", "settled"]
    assert [one["ending_id"] for one in entries if one.get("step") == "frontchannel"] == [told["id"]]
    assert len(mail.tokens) == len(files.tokens) == len(silent.tokens) == 1
