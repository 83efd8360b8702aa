"""examples/token_endpoint: a WSGI and an ASGI token endpoint that ask a real bridge, and mint nothing without it."""

import asyncio
import contextlib
import hashlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from bridge.pep import Pdp
from examples.token_endpoint import asgi, wsgi
from examples.token_endpoint.endpoint import MAX_BODY, TARGET, Client
from tests.support.bridge import LocalBridge, caller, local_bridge, token_of

KEY = ECKey.generate_key("P-256")
SECRET = hashlib.sha256(b"s3cret").hexdigest()
CLIENTS = {"job": Client(SECRET, ("read", "never")), "blocked": Client(SECRET), "bare": Client(SECRET)}
Post = Callable[..., Awaitable[httpx.Response]]


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[LocalBridge]:
    async with local_bridge(tmp_path, callers=[caller("as")]) as running:
        yield running


@contextlib.asynccontextmanager
async def serving(kind: str, pdp: Pdp) -> AsyncIterator[Post]:
    """A client of the endpoint that asks `pdp`."""
    if kind == "wsgi":
        threaded = wsgi.TokenEndpoint(pdp, CLIENTS, KEY)
        with httpx.Client(transport=httpx.WSGITransport(app=threaded), base_url="https://as.example") as client:
            yield lambda *a, **k: asyncio.to_thread(client.post, *a, **k)
        await asyncio.to_thread(threaded.close)
    else:
        looped = asgi.TokenEndpoint(pdp, CLIENTS, KEY)
        transport = httpx.ASGITransport(app=looped)
        async with httpx.AsyncClient(transport=transport, base_url="https://as.example") as session:
            yield session.post
        await looped.close()


@pytest.fixture(params=["wsgi", "asgi"])
async def post(request: pytest.FixtureRequest, bridge: LocalBridge) -> AsyncIterator[Post]:
    async with serving(request.param, Pdp.at(bridge.url, token_of("as"))) as running:
        yield running


async def ask(post: Post, scope: str | None = None, client: str = "job") -> tuple[int, dict[str, Any]]:
    named = {} if scope is None else {"scope": scope}
    reply = await post("/token", data={"grant_type": "client_credentials", **named}, auth=(client, "s3cret"))
    assert reply.headers["cache-control"] == "no-store"
    return reply.status_code, reply.json()


async def test_what_is_decided_is_minted(post: Post, bridge: LocalBridge) -> None:
    status, body = await ask(post, "read write never")
    assert (status, body["scope"], body["expires_in"]) == (200, "read write", 60)
    claims = jwt.decode(body["access_token"], KEY).claims
    assert (claims["sub"], claims["aud"], claims["scope"]) == ("job", [TARGET], "read write")
    assert claims["exp"] - claims["iat"] == 60
    status, body = await ask(post, "sealed")
    assert (status, "scope" in body) == (200, False)
    assert jwt.decode(body["access_token"], KEY).claims["tenant"] == "acme"
    status, body = await ask(post)
    assert (status, body["scope"]) == (200, "read"), "of the default scopes"
    assert (await ask(post, client="bare"))[0] == 200, "a gate alone"
    # What the client is refused is told in fixed words.
    assert await ask(post, "read", "blocked") == (
        400,
        {"error": "access_denied", "error_description": "the token may not be issued"},
    )
    assert (await ask(post, "never"))[1]["error"] == "invalid_scope"


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
async def test_without_a_bridge_nothing_is_minted(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with serving(kind, Pdp.at(f"http://127.0.0.1:{port}", "x")) as post:
        assert await ask(post, "read") == (503, {"error": "temporarily_unavailable"})


async def test_what_is_not_asked(post: Post, bridge: LocalBridge) -> None:
    form = {"grant_type": "client_credentials"}
    for expected, options in (
        (401, {"data": form}),
        (401, {"data": form, "auth": ("job", "wrong")}),
        (401, {"data": form, "auth": ("nobody", "s3cret")}),
        (401, {"data": form, "headers": {"Authorization": "Basic !"}}),
        (400, {"data": {"grant_type": "password"}, "auth": ("job", "s3cret")}),
        (400, {"content": b"grant_type=client_credentials&scope=read&scope=write", "auth": ("job", "s3cret")}),
        (400, {"content": b"grant_type=client_credentials&x=" + b"x" * MAX_BODY, "auth": ("job", "s3cret")}),
        (400, {"content": b"\xff", "auth": ("job", "s3cret")}),
    ):
        assert (await post("/token", **options)).status_code == expected, options
    assert bridge.entries() == []
