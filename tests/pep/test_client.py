"""HTTP to a PDP on real sockets: whatever is not a whole answer in time is no decision."""

import asyncio
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import trustme

from bridge.pep import AsyncEnforcer, Enforcer, Mint, Misuse, NoDecision, Pdp, Refusal, Understood
from bridge.pep.fault import BadReply
from tests.pep.pdp import StandIn, drip, permit_all, response, stand_in, wish

DEADLINE_S = 0.4
WISH = wish("a")
GOOD: dict[str, Any] = {"evaluations": [{"decision": True}, {"decision": True}]}


@pytest.fixture
def pdp() -> Iterator[StandIn]:
    with stand_in() as running:
        yield running


@pytest.fixture
def enforcer(pdp: StandIn) -> Iterator[Enforcer]:
    """Patient: a busy machine is not what is tested."""
    with Enforcer(Pdp.at(pdp.url, "secret", deadline_s=20)) as running:
        yield running


@pytest.fixture
def hurried(pdp: StandIn) -> Iterator[Enforcer]:
    with Enforcer(Pdp.at(pdp.url, "secret", deadline_s=DEADLINE_S)) as running:
        yield running


def fault(enforcer: Enforcer) -> NoDecision:
    with pytest.raises(NoDecision) as raised:
        enforcer.ask(WISH)
    return raised.value


def test_what_goes_over_the_wire(pdp: StandIn, enforcer: Enforcer) -> None:
    assert isinstance(enforcer.ask(wish("a", request_id="r-1")), Mint)
    assert isinstance(enforcer.ask(wish()), Mint)
    batch, alone = pdp.requests
    assert batch.line == "POST /access/v1/evaluations HTTP/1.1"
    assert alone.line == "POST /access/v1/evaluation HTTP/1.1"
    assert (batch.headers["content-type"], batch.headers["authorization"]) == ("application/json", "Bearer secret")
    assert (batch.headers["x-request-id"], len(alone.headers["x-request-id"])) == ("r-1", 36)
    assert pdp.connections == 1


def test_nothing_is_asked_that_is_refused_before(pdp: StandIn, enforcer: Enforcer) -> None:
    assert isinstance(enforcer.ask(wish("issue:x")), Refusal)
    assert pdp.requests == []


@pytest.mark.parametrize("status", [201, 202, 204, 206, 300, 400, 401, 403, 404, 405, 413, 418])
def test_another_status_is_the_servers_error(pdp: StandIn, enforcer: Enforcer, status: int) -> None:
    pdp.says(GOOD, status=status)
    assert (type(fault(enforcer)), fault(enforcer).error) == (BadReply, "server_error")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_status_that_may_pass(pdp: StandIn, enforcer: Enforcer, status: int) -> None:
    pdp.says(GOOD, status=status)
    assert fault(enforcer).error == "temporarily_unavailable"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(pdp: StandIn, enforcer: Enforcer, status: int) -> None:
    pdp.says(GOOD, status=status, headers=[("Location", f"{pdp.url}/access/v1/evaluations")])
    fault(enforcer)
    assert len(pdp.requests) == 1


@pytest.mark.parametrize("kind", ["text/html", "", "application/jsonx", "text/json", "application/problem+json"])
def test_another_content_type(pdp: StandIn, enforcer: Enforcer, kind: str) -> None:
    pdp.says(GOOD, content_type=kind)
    assert isinstance(fault(enforcer), BadReply)
    pdp.says(GOOD, content_type="Application/JSON; charset=utf-8")
    assert isinstance(enforcer.ask(WISH), Mint)


def test_the_reply_to_another_request(pdp: StandIn, enforcer: Enforcer) -> None:
    pdp.answer = lambda r: response(GOOD, headers=[("X-Request-ID", r.headers["x-request-id"])])
    assert isinstance(enforcer.ask(WISH), Mint)
    pdp.says(GOOD, headers=[("X-Request-ID", "another")])
    assert isinstance(fault(enforcer), BadReply)


def test_a_compressed_reply(pdp: StandIn, enforcer: Enforcer) -> None:
    pdp.says(GOOD, headers=[("Content-Encoding", "gzip")])
    assert isinstance(fault(enforcer), BadReply)


@pytest.mark.parametrize("framed", [True, False])
def test_a_reply_without_end(pdp: StandIn, enforcer: Enforcer, framed: bool) -> None:
    length = "Content-Length: 9999999999\r\n" if framed else ""

    def endless() -> Iterator[bytes]:
        yield f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{length}\r\n".encode()
        while True:
            yield b" " * 65536

    pdp.answer = lambda _: endless()
    assert "larger" in str(fault(enforcer))


@pytest.mark.parametrize("cut", [0, 5, 40, -1])
def test_a_reply_that_breaks_off(pdp: StandIn, enforcer: Enforcer, cut: int) -> None:
    pdp.answer = lambda _: iter([response(GOOD)[:cut]])
    assert fault(enforcer).error == "temporarily_unavailable"


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\xff\xfe" * 50,
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
    ],
)
def test_what_is_not_http(pdp: StandIn, enforcer: Enforcer, raw: bytes) -> None:
    pdp.answer = lambda _: iter([raw])
    fault(enforcer)


@pytest.mark.parametrize("start", [0, 30])
def test_a_byte_at_a_time_does_not_stretch_the_deadline(pdp: StandIn, hurried: Enforcer, start: int) -> None:
    whole = response(GOOD)
    pdp.answer = lambda _: _slow(whole, start)
    started = time.monotonic()
    assert "did not answer within" in str(fault(hurried))
    assert time.monotonic() - started < DEADLINE_S + 2


def _slow(whole: bytes, start: int) -> Iterator[bytes]:
    yield whole[:start]
    yield from drip(whole[start:], 0.05)


def test_silence_and_then_an_answer(pdp: StandIn, hurried: Enforcer) -> None:
    release = threading.Event()

    def late(request: Any) -> bytes:
        release.wait(10)
        return permit_all(request)

    pdp.answer = late
    assert fault(hurried).error == "temporarily_unavailable"
    release.set()
    pdp.answer = permit_all
    # The late answer belongs to the first question: the second gets one of its own.
    assert isinstance(hurried.ask(WISH), Mint)


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with Enforcer(Pdp.at(f"http://127.0.0.1:{taken.getsockname()[1]}", deadline_s=DEADLINE_S)) as enforcer:
            assert fault(enforcer).error == "temporarily_unavailable"


def test_tls_of_an_unknown_authority_and_of_a_known_one() -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    known = ssl.create_default_context()
    authority.configure_trust(known)
    with stand_in(tls=context) as pdp:
        with Enforcer(Pdp.at(pdp.url, deadline_s=5)) as enforcer:
            assert fault(enforcer).error == "temporarily_unavailable"
        assert pdp.requests == []
        with Enforcer(Pdp.at(pdp.url, deadline_s=5, tls=known)) as enforcer:
            assert isinstance(enforcer.ask(WISH), Mint)


def test_no_proxy_of_the_environment(pdp: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with Enforcer(Pdp.at(pdp.url)) as enforcer:
        assert isinstance(enforcer.ask(WISH), Mint)


@pytest.mark.parametrize(
    "url",
    ["http://pdp.example", "ftp://127.0.0.1", "pdp.example", "", "https://", "http://[::", "http://127.0.0.1.example"],
)
def test_tls_is_needed_beyond_loopback(url: str) -> None:
    with pytest.raises(Misuse):
        Pdp.at(url)


def test_endpoints_of_the_metadata_and_secrets_in_no_repr() -> None:
    assert Pdp.at("https://pdp.example/t1/").evaluations_url == "https://pdp.example/t1/access/v1/evaluations"
    assert "hidden" not in repr(Pdp("https://p.example/one", "http://localhost:1/many", "hidden"))
    for token in ("", "a\nb", "ü", " "):
        with pytest.raises(Misuse):
            Pdp.at("https://pdp.example", token)


def test_many_threads_and_an_end(pdp: StandIn) -> None:
    enforcer = Enforcer(Pdp.at(pdp.url, deadline_s=20))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: enforcer.ask(wish("a", request_id=f"r{n}")), range(40)))
    assert all(isinstance(answer, Mint) for answer in answers)
    enforcer.close()
    enforcer.close()
    assert isinstance(enforcer.ask(WISH), Mint)  # it starts anew
    enforcer.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "enforcer"]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_gets_a_loop_of_its_own(pdp: StandIn) -> None:
    with Enforcer(Pdp.at(pdp.url, deadline_s=5)) as enforcer:
        assert isinstance(enforcer.ask(WISH), Mint)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if isinstance(enforcer.ask(WISH), Mint) else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert isinstance(enforcer.ask(WISH), Mint)


async def test_on_asyncio(pdp: StandIn) -> None:
    enforcer = AsyncEnforcer(Pdp.at(pdp.url, deadline_s=DEADLINE_S))
    answers = await asyncio.gather(*(enforcer.ask(WISH) for _ in range(5)))
    assert all(isinstance(answer, Mint) for answer in answers)
    pdp.says({"evaluations": []})
    with pytest.raises(BadReply):
        await enforcer.ask(WISH)
    await enforcer.close()


def test_a_defect_of_a_validator_is_a_fault_of_ours(pdp: StandIn) -> None:
    def broken(requested: Any, returned: Any) -> bool:
        raise KeyError("max")

    entry = {"type": "pay", "max": 1}
    pdp.says({"evaluations": [{"decision": True, "context": {"issuance": {"authorization_details": [entry]}}}] * 2})
    with Enforcer(Pdp.at(pdp.url), Understood(details={"pay": broken})) as enforcer:
        assert isinstance(enforcer.ask(wish("a", authorization_details=(entry,))), Mint)
        with pytest.raises(NoDecision) as raised:
            enforcer.ask(wish("a", authorization_details=({"type": "pay", "max": 2},)))
    assert raised.value.error == "server_error"
