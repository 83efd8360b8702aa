"""How the bridge shows who it is: a bearer token from a file, or a client certificate; and to whom it speaks."""

import asyncio
import contextlib
import ssl
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from bridge.config.settings import load_settings
from bridge.config.sources import SourceSection
from bridge.errors import ConfigFault, SourceFailed
from bridge.server import Bridge
from bridge.sources.http import HttpFetcher
from tests.support.bridge import write_config
from tests.support.sources import SourceServer, source, source_server


async def fetched(section: SourceSection) -> object:
    fetcher = HttpFetcher(section)
    await fetcher.start()
    try:
        return (await fetcher.fetch(("c",))).value
    finally:
        await fetcher.close()


def wanting(server: SourceServer, token: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        shown = request.headers.get("Authorization") == f"Bearer {token}"
        return web.json_response("welcome", status=200 if shown else 401)

    server.answer = answer


async def test_a_token_comes_from_its_file_and_may_be_replaced_there(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    async with source_server() as server:
        wanting(server, "first")
        fetcher = HttpFetcher(SourceSection(**source(server.url, token_file=str(file))))
        await fetcher.start()
        assert (await fetcher.fetch(("c",))).value == "welcome"
        wanting(server, "second")
        with pytest.raises(SourceFailed, match="status 401"):
            await fetcher.fetch(("c",))
        file.write_text("second")
        assert (await fetcher.fetch(("c",))).value == "welcome"
        await fetcher.close()
        assert "Cookie" not in server.headers[-1]


async def test_a_new_token_serves_all_questions_that_were_out_with_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    async with source_server() as server:
        wanting(server, "second")
        server.delay_s = 0.05
        fetcher = HttpFetcher(SourceSection(**source(server.url, token_file=str(file))))
        await fetcher.start()
        file.write_text("second")
        came = await asyncio.gather(*(fetcher.fetch((str(n),)) for n in range(8)))
        assert {held.value for held in came} == {"welcome"}
        await fetcher.close()


async def test_a_certificate_is_shown_and_the_other_one_checked(tmp_path: Path) -> None:
    ours, theirs = trustme.CA(), trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs.issue_cert("127.0.0.1").configure_cert(context)
    ours.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    ours.issue_cert("bridge.example").private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    theirs.cert_pem.write_to_path(tmp_path / "ca.pem")
    ours.cert_pem.write_to_path(tmp_path / "other.pem")
    pem = str(tmp_path / "client.pem")
    async with source_server({"c": "welcome"}, tls=context) as server:
        table = source(server.url, tls_cert=pem, tls_key=pem)
        assert await fetched(SourceSection(**table, ca=str(tmp_path / "ca.pem"))) == "welcome"
        with pytest.raises(SourceFailed, match="certificate"):
            await fetched(SourceSection(**table, ca=str(tmp_path / "other.pem")))
        with pytest.raises(SourceFailed):
            await fetched(SourceSection(**source(server.url), ca=str(tmp_path / "ca.pem")))
        assert len(server.asked) == 1


async def test_proxies_and_cookies_of_the_surroundings_play_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    async def baking(_: web.Request) -> web.StreamResponse:
        response = web.json_response("welcome")
        response.set_cookie("session", "abc")
        return response

    async with source_server() as server:
        server.answer = baking
        fetcher = HttpFetcher(SourceSection(**source(server.url)))
        await fetcher.start()
        for _ in range(2):
            assert (await fetcher.fetch(("c",))).value == "welcome"
        await fetcher.close()
        assert "Cookie" not in server.headers[1]


async def test_a_kept_connection_that_was_closed_is_no_failure() -> None:
    async with source_server({"c": "welcome"}) as server:
        port = int(server.url.split(":")[2].split("/")[0])
        fetcher = HttpFetcher(SourceSection(**source(server.url)))
        await fetcher.start()
        assert (await fetcher.fetch(("c",))).value == "welcome"
    async with source_server({"c": "again"}, port=port):
        assert (await fetcher.fetch(("c",))).value == "again"
    await fetcher.close()


async def test_what_was_said_unasked_is_no_answer_to_the_next_question() -> None:
    connections = 0

    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError):
            for _ in range(9):
                await reader.readuntil(b"}")
                writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"mine"')
                await asyncio.sleep(0.03)
                writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n"theirs"')
        writer.close()

    async with await asyncio.start_server(twice, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        fetcher = HttpFetcher(SourceSection(**source(f"http://127.0.0.1:{port}/")))
        await fetcher.start()
        for key in "abc":
            assert (await fetcher.fetch((key,))).value == "mine"
            await asyncio.sleep(0.1)
        assert connections == 3
        await fetcher.close()


@pytest.mark.parametrize("content", [None, "", "two words", "t\x00k", "é"])
async def test_a_token_that_cannot_be_used_ends_the_start(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    table = source("https://posture.example/v1", token_file=str(file))
    config = await asyncio.to_thread(write_config, tmp_path, None, sources=[table])
    with pytest.raises(ConfigFault, match="token_file"):
        await Bridge(load_settings(config)).start()


REFUSED = {
    "ftp://x/y": "must begin with",
    "http://user:pw@x/y": "must not hold a login",
    "http://x:port/": "a number",
    "http:///y": "must name a host",
    "https://x/y#z": "no fragment",
    "https://x y/": "printable ASCII",
    "file://host/y": "must name a file",
    "file:": "must name a file",
}


@pytest.mark.parametrize("url", REFUSED)
def test_an_address_that_is_none_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigFault, match=REFUSED[url]):
        load_settings(write_config(tmp_path, sources=[source(url)]))


MEMBERS = [
    ({"key": []}, "key"),
    ({"key": ["client/id"]}, "JSON pointer"),
    ({"key": ["/id"]}, "a key is made of"),
    ({"key": ["/subjct/id"]}, "a key is made of"),
    ({"key": ["/audience/0"]}, "a key is made of"),
    ({"key": ["/client/id", "/client/id"]}, "once"),
    ({"scopes": []}, "needs scopes"),
    ({"scopes": ["a b"]}, "scope"),
    ({"on_failure": "stale"}, "max_stale_s"),
    ({"max_stale_s": 100}, "max_stale_s"),
    ({"on_failure": "stale", "max_stale_s": 10}, "less than max_age_s"),
    ({"tls_cert": "x"}, "belong together"),
    ({"url": "http://10.1.2.3/", "token_file": "x"}, "https alone"),
    ({"url": "http://10.1.2.3/", "ca": "x"}, "https URL"),
    ({"url": "file:x.json", "max_age_s": 1}, "2 or more"),
    ({"token": "clear"}, "no such key"),
    ({"owner": ""}, "owner"),
]


@pytest.mark.parametrize(("members", "message"), MEMBERS, ids=str)
def test_what_does_not_fit_is_refused(tmp_path: Path, members: dict[str, object], message: str) -> None:
    table = {**source("https://posture.example/v1"), **members}
    with pytest.raises(ConfigFault, match=message):
        load_settings(write_config(tmp_path, sources=[table]))


def test_a_name_may_stand_once(tmp_path: Path) -> None:
    table = source("https://posture.example/v1")
    with pytest.raises(ConfigFault, match="once"):
        load_settings(write_config(tmp_path, sources=[table, table]))
