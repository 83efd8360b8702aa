"""A strict model of Hydra's admin API on loopback: what 2.3.0 answers, its quirks too, and faults on demand."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

NOT_THERE = {"error": "Unable to locate the resource", "error_description": ""}
Fault = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


@dataclass
class Consent:
    subject: str
    client: str
    challenge: str
    session: str = ""
    expired: bool = False


@dataclass
class HydraModel:
    """`unremembered`: sessions of which Hydra keeps nothing that a browser has. `fault` may answer in its place.

    `passes_over_case`: as its database does where that is MySQL.
    """

    url: str = ""
    clients: list[str] = field(default_factory=list)
    consents: list[Consent] = field(default_factory=list)
    unremembered: set[str] = field(default_factory=set)
    passes_over_case: bool = False
    seen: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    fault: Fault | None = None

    @web.middleware
    async def around(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.seen.append(f"{request.method} {request.raw_path}")
        self.headers.append(dict(request.headers))
        if self.fault is not None and (answer := await self.fault(request)) is not None:
            return answer
        return await handler(request)  # type: ignore[no-any-return]

    async def list_consents(self, request: web.Request) -> web.Response:
        subject = request.query["subject"]
        found = [one for one in self.consents if self._same(one.subject, subject)]
        answer = self._page(request, [None if one.expired else _told(one) for one in found])
        shown = [one for one in json.loads(answer.text or "") if one is not None]  # they count, and are not shown
        return web.json_response(shown, headers={"X-Total-Count": str(len(found))} if shown else {})

    async def delete_consents(self, request: web.Request) -> web.Response:
        subject, client = request.query.get("subject", ""), request.query.get("client", "")
        if not subject or not (client or request.query.get("all") == "true"):
            return web.json_response({"error": "invalid_request"}, status=400)
        self.consents = [
            one
            for one in self.consents
            if not self._same(one.subject, subject) or (client and not self._same(one.client, client))
        ]
        return web.Response(status=204)

    async def delete_logins(self, request: web.Request) -> web.Response:
        sid, subject = request.query.get("sid"), request.query.get("subject")
        assert (sid is None) != (subject is None)
        for one in self.consents:
            if one.subject == subject or (one.session == sid and sid not in self.unremembered):
                one.session = ""
        return web.Response(status=204)

    async def list_clients(self, request: web.Request) -> web.Response:
        return self._page(request, [{"client_id": one} for one in sorted(self.clients)])

    async def get_client(self, request: web.Request) -> web.Response:
        found = [one for one in self.clients if self._same(one, request.match_info["id"])]
        return web.json_response({"client_id": found[0]}) if found else web.json_response(NOT_THERE, status=404)

    async def delete_client(self, request: web.Request) -> web.Response:
        found = [one for one in self.clients if self._same(one, request.match_info["id"])]
        if not found:
            return web.json_response(NOT_THERE, status=404)
        self.clients.remove(found[0])
        return web.Response(status=204)

    def _same(self, one: str, other: str) -> bool:
        return one == other or (self.passes_over_case and one.casefold() == other.casefold())

    def _page(self, request: web.Request, items: list[Any]) -> web.Response:
        size, token = int(request.query["page_size"]), request.query.get("page_token", "")
        assert 0 < size <= 1000
        offset = int(json.loads(base64.urlsafe_b64decode(token + "=="))["offset"]) if token else 0
        page = items[offset : offset + size]
        return web.json_response(page, headers={"X-Total-Count": str(len(items))})


def _told(one: Consent) -> dict[str, Any]:
    request = {"challenge": one.challenge, "subject": one.subject, "client": {"client_id": one.client}}
    return {"grant_scope": [], "consent_request": {**request, "login_session_id": one.session}}


@contextlib.asynccontextmanager
async def hydra_model(**state: Any) -> AsyncIterator[HydraModel]:
    model = HydraModel(**state)
    app = web.Application(middlewares=[model.around])
    sessions = "/admin/oauth2/auth/sessions"
    app.router.add_get(f"{sessions}/consent", model.list_consents, allow_head=False)
    app.router.add_delete(f"{sessions}/consent", model.delete_consents)
    app.router.add_delete(f"{sessions}/login", model.delete_logins)
    app.router.add_get("/admin/clients", model.list_clients, allow_head=False)
    app.router.add_get("/admin/clients/{id}", model.get_client, allow_head=False)
    app.router.add_delete("/admin/clients/{id}", model.delete_client)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    model.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[union-attr]
    try:
        yield model
    finally:
        await runner.cleanup()


def on(method: str, path: str, answer: Callable[[], web.StreamResponse]) -> Fault:
    """`answer` in the place of the model's, to requests of `method` whose path begins with `path`."""

    async def fault(request: web.Request) -> web.StreamResponse | None:
        return answer() if request.method == method and request.path.startswith(path) else None

    return fault


async def slow(_: web.Request) -> web.StreamResponse | None:
    await asyncio.sleep(5)
    return None
