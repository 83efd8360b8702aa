"""Relying parties for the tests: real HTTP servers on loopback with sessions of their own."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from joserfc import jws
from joserfc.jwk import import_key

from bridge.config.logout_key import Only
from bridge.model.logout import EVENT

ISSUER = "https://as.example"


@dataclass
class Party:
    """`sessions`: sid -> whether it is still accepted. `silent`: it takes requests and never answers them."""

    client_id: str
    silent: bool = False
    refuses: int = 0
    keys: dict[str, Any] | None = None
    url: str = ""
    sessions: dict[str, bool] = field(default_factory=dict)
    tokens: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, Any]] = field(default_factory=list)
    framed: list[dict[str, str]] = field(default_factory=list)
    asked_with: list[str | None] = field(default_factory=list)

    def table(self, **members: Any) -> dict[str, Any]:
        """Its `[[relying_parties]]`."""
        return {
            "issuer": ISSUER,
            "client_id": self.client_id,
            "backchannel_logout_uri": f"{self.url}/backchannel?tenant=1",
            "frontchannel_logout_uri": f"{self.url}/frontchannel?tenant=1",
            "session_required": True,
            "session_check_url": f"{self.url}/session",
            "timeout_ms": 400,
            **members,
        }

    async def login(self, request: web.Request) -> web.Response:
        """The browser gets a cookie of this application."""
        self.sessions[request.query["sid"]] = True
        response = web.Response(text="signed in", content_type="text/html")
        response.set_cookie(f"session-{self.client_id}", request.query["sid"], httponly=True, samesite="Lax")
        return response

    async def backchannel(self, request: web.Request) -> web.Response:
        """As section 2.6 has it, by the keys that the provider publishes."""
        if self.silent:
            await asyncio.sleep(3600)
        if self.refuses:
            return web.json_response({"error": "invalid_request"}, status=self.refuses)
        token = (await request.post())["logout_token"]
        assert isinstance(token, str) and self.keys is not None
        signed = jws.deserialize_compact(token, _the_key(self.keys), registry=Only(self.keys["keys"][0]["alg"]))
        claims = json.loads(signed.payload)
        assert claims["events"] == {EVENT: {}} and claims["aud"] == self.client_id and "nonce" not in claims
        if claims["jti"] in {one["jti"] for one in self.tokens}:
            return web.json_response({"error": "invalid_request"}, status=400)
        self.tokens.append(claims)
        self.headers.append(signed.headers())
        for sid in [claims["sid"]] if "sid" in claims else list(self.sessions):
            self.sessions[sid] = False
        return web.Response(headers={"Cache-Control": "no-store"})

    async def frontchannel(self, request: web.Request) -> web.Response:
        """Ends the session whose cookie the browser shows."""
        if self.silent:
            await asyncio.sleep(3600)
        cookie = request.cookies.get(f"session-{self.client_id}", "")
        self.framed.append({**request.query, "cookie": cookie})
        if self.sessions.get(cookie):
            self.sessions[cookie] = False
        response = web.Response(text="signed out", content_type="text/html", headers={"Cache-Control": "no-store"})
        response.del_cookie(f"session-{self.client_id}")
        return response

    async def session(self, request: web.Request) -> web.Response:
        """The session check."""
        if self.silent:
            await asyncio.sleep(3600)
        form = await request.post()
        assert form["iss"] == ISSUER
        self.asked_with.append(request.headers.get("Authorization"))
        return web.json_response({"active": self.sessions.get(str(form["sid"]), False)})


def _the_key(keys: dict[str, Any]) -> Any:
    (key,) = keys["keys"]
    return import_key(key)


@asynccontextmanager
async def serving(*parties: Party) -> AsyncIterator[None]:
    """All of them, each on a port of its own."""
    runners = []
    try:
        for party in parties:
            app = web.Application()
            app.add_routes(
                [
                    web.get("/login", party.login),
                    web.post("/backchannel", party.backchannel),
                    web.get("/frontchannel", party.frontchannel),
                    web.post("/session", party.session),
                ]
            )
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            runners.append(runner)
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = site._server.sockets[0].getsockname()[:2]  # type: ignore[union-attr]
            party.url = f"http://{host}:{port}"
        yield
    finally:
        for runner in runners:
            await runner.cleanup()
