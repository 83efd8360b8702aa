"""The road that all hooks share: who may call, what a body may be, how long it may take, how a fault is told."""

import asyncio
import contextlib
import hashlib
import io
import itertools
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from bridge.config.settings import CallerSection
from bridge.doors._callers import Callers
from bridge.doors._http import DoorRunner
from bridge.doors.hooks.door import Abilities, HookDoor, Wish
from bridge.errors import MalformedRequest
from bridge.model.decision import Code
from bridge.model.dialect import ANY, Dialect
from bridge.pdp.decide import Answered
from tests.support.bridge import LocalBridge, local_bridge

PATH = "/hooks/plain"
SECRET = "a secret of its own"
BASIC = "Basic dXNlcjpwYXNz"
ABILITIES = Abilities("Plain", Dialect(), (), fails_open=True, when_down="", authenticates_by="")


@dataclass
class Plain:
    """A product whose body is the document itself; it is told 200 for all it may mint, and 418 for anything else."""

    name: str = "plain"
    paths: tuple[str, ...] = (PATH,)
    abilities: Abilities = ABILITIES
    patience_s: float | None = None
    dialect: Dialect = field(default_factory=lambda: Dialect(claims=ANY, withheld=frozenset({"ours"})))
    refused: Code | None = None
    slow_s: float = 0.0
    tells_faults: bool = True
    broken: str = ""

    async def read(self, body: dict[str, Any], path: str) -> Wish:
        await asyncio.sleep(self.slow_s)
        if self.broken == "read":
            raise RuntimeError("a defect")
        if "malformed" in body:
            raise MalformedRequest([("/malformed", "leave it out")])
        return Wish(body, self.dialect, given=path, refused=self.refused)

    def reply(self, wish: Wish, answered: Answered) -> web.Response:
        if self.broken == "reply":
            raise RuntimeError("a defect")
        decision = answered.decision
        status = 200 if decision.outcome == "allow" else 418
        body = {"id": answered.id, "codes": [f.code for f in decision.findings], "claims": dict(decision.claims)}
        return web.json_response({**body, "given": wish.given}, status=status)

    def fault(self, status: int, text: str) -> web.Response | None:
        return web.json_response({"was": status, "text": text}, status=418) if self.tells_faults else None


@dataclass(frozen=True)
class Hooked:
    bridge: LocalBridge
    session: aiohttp.ClientSession

    async def ask(self, body: Any = None, headers: Mapping[str, str] | None = None) -> tuple[int, dict[str, Any]]:
        sent = {"X-Hook-Key": SECRET} if headers is None else headers
        data = io.BytesIO(body) if isinstance(body, bytes) else None
        typed = {"Content-Type": "application/json", **sent}
        async with self.session.post(PATH, json=None if data else body, data=data, headers=typed) as response:
            return response.status, await response.json(content_type=None)


def caller(name: str, secret: str, **members: Any) -> CallerSection:
    known = hashlib.sha256(secret.encode()).hexdigest()
    return CallerSection(**{"name": name, "roles": ["token_service"], "token_sha256": known, **members})


CALLERS = [
    caller("hydra", SECRET, header="X-Hook-Key", issuer="https://as.example"),
    caller("okta", BASIC, header="authorization", doors=["plain"]),
    caller("cookies", "c00kie", cookie="bridge_key"),
    caller("bearer", "token"),
    caller("elsewhere", "elsewhere", doors=["native"]),
    caller("auditor", "auditor", roles=["auditor"]),
    caller("batch", "batch", grant_types=["client_credentials"]),
]


@contextlib.asynccontextmanager
async def hooked(folder: Path, hook: Plain, **sections: Any) -> AsyncIterator[Hooked]:
    async with local_bridge(folder, **sections) as bridge:
        inner = bridge.bridge
        door = HookDoor(hook, inner.decide, Callers(CALLERS), inner.metrics, max_scopes=4)
        app = web.Application()
        app.add_routes(door.routes())
        runner = DoorRunner(app, inner.metrics, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
                yield Hooked(bridge, session)
        finally:
            await runner.cleanup()


def wish(*scopes: str, **members: Any) -> dict[str, Any]:
    return {"grant_type": "client_credentials", "client": {"id": "c"}, "scopes": list(scopes), **members}


async def test_a_wish_is_decided_and_on_record(tmp_path: Path) -> None:
    async with hooked(tmp_path, Plain()) as door:
        status, told = await door.ask(wish("read", "sealed", context={"code": "secret-code"}))
        assert status == 200
        assert told["claims"]["tenant"] == "acme"
        assert told["given"] == PATH
        entry = door.bridge.entry_of(told["id"])
        assert (entry["door"], entry["caller"]) == ("plain", "hydra")
        assert entry["request"]["issuer"] == "https://as.example"
        assert entry["request"]["context"] == {"code": "***"}
        assert entry["terms"]["dialect"] == {"claims": sorted(ANY), "withheld": ["ours"]}
        status, told = await door.ask(wish("read", "never"))
        assert (status, told["codes"]) == (418, ["inexpressible"])
        assert door.bridge.entry_of(told["id"])["reply"] == {"outcome": "deny", "code": "inexpressible"}
        assert await door.bridge.metric('issuance_decisions_total{door="plain",outcome="allow"}') == 1


async def test_what_is_refused_beforehand_is_denied_on_record_whatever_the_policies_say(tmp_path: Path) -> None:
    async with hooked(tmp_path, Plain(refused=Code.NOT_SHOWN)) as door:
        for scopes in ([], ["read"]):
            status, told = await door.ask(wish(*scopes))
            assert (status, told["codes"]) == (418, ["not_shown"])
            entry = door.bridge.entry_of(told["id"])
            assert (entry["outcome"], entry["granted_scopes"], entry["claims"]) == ("deny", [], {})
            assert entry["reply"] == {"outcome": "deny", "code": "not_shown"}
            assert entry["terms"]["refused"] == "not_shown"
            assert {answer["findings"][0]["code"] for answer in entry["scopes"].values()} <= {"not_shown"}


async def test_a_claim_that_is_withheld_is_inexpressible(tmp_path: Path) -> None:
    async with hooked(tmp_path, Plain(dialect=Dialect(claims=ANY, withheld=frozenset({"tenant"})))) as door:
        status, told = await door.ask(wish("sealed"))
        assert (status, told["codes"]) == (418, ["inexpressible"])


KNOWN: list[tuple[dict[str, str], str]] = [
    ({"X-Hook-Key": SECRET}, "hydra"),
    ({"x-hook-key": f" {SECRET}  "}, "hydra"),
    ({"Authorization": BASIC}, "okta"),
    ({"Cookie": "bridge_key=c00kie"}, "cookies"),
    ({"Cookie": "other=1; bridge_key=c00kie;x"}, "cookies"),
    ({"Authorization": "Bearer token"}, "bearer"),
]


WRONG: list[dict[str, str]] = [
    {},
    {"X-Hook-Key": SECRET + "x"},
    {"X-Hook-Key": ""},
    {"X-Hook-Key": hashlib.sha256(SECRET.encode()).hexdigest()},
    {"Authorization": SECRET},
    {"Authorization": f"Bearer {SECRET}"},
    {"Authorization": f"Bearer {BASIC}"},
    {"Authorization": "token"},
    {"Authorization": "Bearer c00kie"},
    {"X-Hook-Key": "token"},
    {"Cookie": f"X-Hook-Key={SECRET}"},
    {"Cookie": "bridge_key=c00kie; bridge_key=c00kie"},
    {"Cookie": "Bridge_Key=c00kie"},
    {"bridge_key": "c00kie"},
    {"X-Hook-Key": SECRET, "Authorization": BASIC},
    {"X-Hook-Key": SECRET, "Authorization": "Bearer token"},
    {"X-Hook-Key": SECRET, "Authorization": "nonsense"},
    {"X-Hook-Key": SECRET, "Cookie": "bridge_key=wrong"},
]


async def test_a_caller_is_known_by_the_one_secret_in_its_place(tmp_path: Path) -> None:
    async with hooked(tmp_path, Plain()) as door:
        for headers, name in KNOWN:
            status, told = await door.ask(wish("read"), headers)
            assert (status, door.bridge.entry_of(told["id"])["caller"]) == (200, name), headers
        before = len(door.bridge.entries())
        for headers in WRONG:
            status, told = await door.ask(wish("read"), headers)
            assert (status, told) == (418, {"was": 401, "text": "not allowed"}), headers
        assert len(door.bridge.entries()) == before
        text = await (await door.bridge.session.get("/metrics")).text()
        counted = [line for line in text.splitlines() if line.startswith("issuance_refused_calls_total")]
        assert sum(float(line.split()[-1]) for line in counted) == len(WRONG), counted


async def test_a_caller_without_role_door_or_grant_is_told_in_the_products_words(tmp_path: Path) -> None:
    async with hooked(tmp_path, Plain()) as door:
        for name in ("elsewhere", "auditor"):
            assert await door.ask(wish("read"), {"Authorization": f"Bearer {name}"}) == (
                418,
                {"was": 403, "text": "not allowed"},
            )
        user = wish("read", grant_type="password", subject={"type": "user", "id": "a"})
        assert (await door.ask(user, {"Authorization": "Bearer batch"}))[1]["was"] == 403
        assert (await door.ask(wish("read"), {"Authorization": "Bearer batch"}))[0] == 200


BAD: list[tuple[Any, int]] = [
    (b"{", 400),
    (b"[]", 400),
    (b'{"scopes": [], "scopes": []}', 400),
    (b"x" * 5_000_000, 413),
    ({"malformed": 1}, 400),
    (wish("a", "b", "c", "d", "e"), 400),
    (wish("x" * 9000), 400),
    (wish(grant_type=7), 400),
    (wish(client={"id": ""}), 400),
    (wish(unheard=1), 400),
    (wish(grant_type="refresh_token"), 400),
]


async def test_a_bad_body_is_never_decided(tmp_path: Path) -> None:
    hook = Plain()
    async with hooked(tmp_path, hook) as door:
        for (body, expected), tells in itertools.product(BAD, (True, False)):
            hook.tells_faults = tells
            status, told = await door.ask(body)
            assert (told["was"] if tells else status) == expected, body
            assert status == (418 if tells else expected)
        assert [entry for entry in door.bridge.entries() if entry["kind"] == "decision"] == []


async def test_a_defect_is_a_fault_and_what_was_decided_is_taken_back_on_record(tmp_path: Path) -> None:
    hook = Plain()
    async with hooked(tmp_path, hook) as door:
        for hook.broken, hook.tells_faults in itertools.product(("read", "reply"), (True, False)):
            status, told = await door.ask(wish("read"))
            assert status == (418 if hook.tells_faults else 500)
            assert (told["was"] if hook.tells_faults else told["status"]) == 500
        await asyncio.sleep(0.05)
        overruled = [entry for entry in door.bridge.entries() if entry["kind"] == "overruled"]
        assert [entry["overruled"] for entry in overruled] == ["allow", "allow"]


async def test_nobody_is_kept_waiting_beyond_its_patience(tmp_path: Path) -> None:
    """What the hook itself takes counts: then so little is left that nothing can be decided any more."""
    server, engine = {"deadline_ms": 60_000}, {"deadline_ms": 60_000}
    async with hooked(tmp_path, Plain(patience_s=0.3, slow_s=0.3), server=server, engine=engine) as door:
        before = asyncio.get_running_loop().time()
        inner = door.bridge.bridge.engine
        query = inner.query

        async def late(items: bytes, timeout_s: float) -> Any:
            await asyncio.sleep(0.2)
            return await query(items, timeout_s)

        inner.query = late  # type: ignore[method-assign]
        status, told = await door.ask(wish("read"))
        assert (status, told["codes"]) == (418, ["deadline"])
        assert asyncio.get_running_loop().time() - before < 2
