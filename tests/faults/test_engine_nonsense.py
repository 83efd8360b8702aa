"""Whatever stands where OPA should and answers nonsense: denied, on record with the right code, and nothing leaks.

Each lie differs from an honest answer in one thing. The honest answer allows, before the lie and after it, so that
what is denied is denied for the lie alone.
"""

import asyncio
import gzip
import io
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.bridge import PATH, LocalBridge, local_bridge, request
from tests.support.policies import POLICIES, write_policies

from .wire import Asked, HostileServer, honest, hostile_server, http

UNKNOWN = "0" * 64
Lie = Callable[[Asked, str], "bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]"]


@pytest.fixture
async def server() -> AsyncIterator[HostileServer]:
    async with hostile_server() as server:
        yield server


@pytest.fixture
async def bridge(server: HostileServer, tmp_path: Path) -> AsyncIterator[LocalBridge]:
    engine = {"kind": "opa", "url": server.url, "deadline_ms": 600}
    async with local_bridge(tmp_path, engine=engine) as bridge:
        yield bridge


def digest_of(bridge: LocalBridge) -> str:
    current = bridge.bridge.policies.current
    assert current is not None
    return current.digest


def tell_the_truth(server: HostileServer, bridge: LocalBridge) -> None:
    digest = digest_of(bridge)
    server.reply = lambda asked: http(honest(asked, digest))


async def assert_denied(bridge: LocalBridge, code: str, *scopes: str) -> dict[str, Any]:
    """Asks for `scopes`: denied with `code`, to the caller and on record, and not a word about why to the caller."""
    async with bridge.session.post(PATH, json=request(*(scopes or ("read", "write")))) as response:
        text = await response.text()
        assert response.status == 200, text
    reply = json.loads(text)
    assert reply["outcome"] == "deny"
    assert reply["granted_scopes"] == []
    assert {scope["outcome"] for scope in reply["scopes"].values()} == {"deny"}
    assert (reply["claims"], reply["crit"], reply["limit"]) == ({}, [], {})
    assert [finding["code"] for finding in reply["findings"]] == [code]
    assert not any(word in text for word in ("Traceback", "Error", "File ", "line ", ".py"))
    entry = bridge.entry_of(reply["decision_id"])
    assert (entry["outcome"], entry["granted_scopes"]) == ("deny", [])
    assert entry["reply"] == {"outcome": "deny", "code": code}
    return entry


def raw(data: bytes) -> Lie:
    return lambda asked, digest: data


def body(value: Any, status: str = "200 OK") -> Lie:
    return lambda asked, digest: http(value, status)


def changed(change: Callable[[dict[str, Any]], Any]) -> Lie:
    """The honest answer, with its `result` changed in place or replaced."""

    def lie(asked: Asked, digest: str) -> bytes:
        answer = honest(asked, digest)
        replaced = None if asked.probe else change(answer["result"])
        return http(answer if replaced is None else {"result": replaced})

    return lie


def item(change: Callable[[dict[str, Any]], Any]) -> Lie:
    return changed(lambda result: change(result["items"][0]))


def read_rules(rules: Any) -> Lie:
    """The honest answer, but for the rules of every scope's package."""

    def change(answer: dict[str, Any]) -> None:
        for said in answer["scopes"].values():
            said["rules"] = rules

    return item(change)


def put(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda target: target.__setitem__(name, value)


def drop(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda target: target.__delitem__(name)


def cut(part: slice, *, reset: bool = False) -> Lie:
    """A part of the honest answer, then the connection is closed, or reset."""

    def lie(asked: Asked, digest: str) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
        async def write(writer: asyncio.StreamWriter) -> None:
            writer.write(http(honest(asked, digest))[part])
            await writer.drain()
            if reset:
                held: socket.socket = writer.get_extra_info("socket")
                held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.close()

        return write

    return lie


def drip(interval_s: float, size: int = 1, head: bytes = b"") -> Lie:
    """The honest answer, after `head`, a few bytes at a time."""

    def lie(asked: Asked, digest: str) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
        async def write(writer: asyncio.StreamWriter) -> None:
            answer = head + http(honest(asked, digest))
            for start in range(0, len(answer), size):
                writer.write(answer[start : start + size])
                await writer.drain()
                await asyncio.sleep(interval_s)

        return write

    return lie


def never(asked: Asked, digest: str) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
    async def write(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    return write


def endless(asked: Asked, digest: str) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" " * (1 << 20))
            await writer.drain()

    return write


def padded(size: int) -> Lie:
    """The honest answer, made longer with white space, which JSON allows."""
    return lambda asked, digest: http(json.dumps(honest(asked, digest)).encode() + b" " * size)


def chunked(asked: Asked, digest: str) -> bytes:
    answer = json.dumps(honest(asked, digest)).encode()
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\nzz\r\n" % (len(answer), answer)


def packed(asked: Asked, digest: str) -> bytes:
    answer = gzip.compress(json.dumps(honest(asked, digest)).encode())
    return http(answer, headers="Content-Type: application/json\r\nContent-Encoding: gzip\r\n")


def too_short(asked: Asked, digest: str) -> bytes:
    return http(honest(asked, digest)).replace(b"Content-Length: ", b"Content-Length: 9")


def too_long(asked: Asked, digest: str) -> bytes:
    return http(honest(asked, digest)) + http(honest(asked, digest))


def two_lengths(asked: Asked, digest: str) -> bytes:
    return http(honest(asked, digest), headers="Content-Length: 2\r\n")


def redirect(asked: Asked, digest: str) -> bytes:
    answer = honest(asked, digest)
    return http(answer, "307 Temporary Redirect", "Location: /v1/data/issuance/kernel/answer\r\n")


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


# Nothing that could be an answer came.
NO_ANSWER: dict[str, Lie] = {
    "not http": raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    "not json": body(b"<html>it works</html>"),
    "two values": body(b'{"result": {}} {"result": {}}'),
    "an empty body": body(b""),
    "no content": raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "undefined": body({}),
    "a null result": body({"result": None}),
    "a result of another type": body({"result": True}),
    "an array": body([]),
    "a bare true": body(True),
    "not utf-8": body(b'{"result": "\xff"}'),
    "a lone surrogate": body(b'{"result": "\\ud800"}'),
    "NaN": body(b'{"result": NaN}'),
    "500 in html": body(b"<h1>Internal Server Error</h1>", "500 Internal Server Error"),
    "500 with a code of another's": body({"code": "oops"}, "500 Internal Server Error"),
    "500 with an honest body": lambda asked, digest: http(honest(asked, digest), "500 Internal Server Error"),
    "401 with an honest body": lambda asked, digest: http(honest(asked, digest), "401 Unauthorized"),
    "201 with an honest body": lambda asked, digest: http(honest(asked, digest), "201 Created"),
    "a redirect": redirect,
    "half a head": cut(slice(0, 30)),
    "half a body": cut(slice(0, -60)),
    "half a body, reset": cut(slice(0, -60), reset=True),
    "nothing, closed": cut(slice(0, 0)),
    "nothing, reset": cut(slice(0, 0), reset=True),
    "a broken chunk": chunked,
    "compressed": packed,
    "two lengths": two_lengths,
    "two answers at once": too_long,
    "only informational heads": raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 10),
    "17 MB": padded(17 << 20),
    "deep": body(("[" * 100_000 + "]" * 100_000).encode()),
    "a header of 1 MB": lambda asked, digest: http(honest(asked, digest), headers=f"X: {'x' * 1_000_000}\r\n"),
}

# JSON of OPA's, not an answer of the kernel to this question.
WRONG_SHAPE: dict[str, Lie] = {
    "no digest": changed(drop("digest")),
    "a null digest": changed(put("digest", None)),
    "a list as digest": changed(lambda result: result.update(digest=[result["digest"]])),
    "no items": changed(drop("items")),
    "an empty list of items": changed(put("items", [])),
    "one item too many": changed(lambda result: result["items"].append(result["items"][0])),
    "an object of items": changed(lambda result: result.update(items={"0": result["items"][0]})),
    "a null item": changed(put("items", [None])),
    "the gate missing": item(drop("gate")),
    "the gate undefined": item(put("gate", [])),
    "the gate twice": item(put("gate", [{"allow": True}, {"allow": True}])),
    "the gate as an object": item(put("gate", {"allow": True})),
    "the gate as true": item(put("gate", True)),
    "no scopes": item(drop("scopes")),
    "a list of scopes": item(put("scopes", [{"package": 'issuance.scope["read"]', "rules": {"allow": True}}])),
    "an extra scope": item(
        lambda i: i["scopes"].update({"never": {"package": 'issuance.scope["never"]', "rules": {"allow": True}}})
    ),
    "a scope without a package": item(lambda i: i["scopes"]["read"].pop("package")),
    "a scope without rules": item(lambda i: i["scopes"]["read"].pop("rules")),
    "a scope as true": item(put("scopes", {"read": True, "write": True})),
    "another question's answer": item(lambda i: i.update(id="00000000-0000-7000-8000-000000000000")),
    "the answer to no question": item(drop("id")),
}

# The kernel's shape, and a gate that does not plainly allow.
GATE_NOT_A_YES: dict[str, tuple[Any, str]] = {
    "nothing": ({}, "no_allow"),
    "false": ({"allow": False}, "no_allow"),
    "an empty set": ({"allow": []}, "no_allow"),
    "null": ({"allow": None}, "policy_error"),
    "1": ({"allow": 1}, "policy_error"),
    "a text": ({"allow": "true"}, "policy_error"),
    "a set of true": ({"allow": [True]}, "policy_error"),
    "an object": ({"allow": {"code": "x"}}, "policy_error"),
    "a finding without a code": ({"allow": [{"title": "x"}]}, "policy_error"),
    "an empty code": ({"allow": [{"code": ""}]}, "policy_error"),
    "findings without end": ({"allow": [{"code": str(n)} for n in range(1000)]}, "policy_error"),
    "a null deny": ({"allow": True, "deny": None}, "deny"),
    "a deny of 0": ({"allow": True, "deny": 0}, "deny"),
    "an unknown rule": ({"allow": True, "grant": True}, "policy_error"),
    "an endless lifetime": ({"allow": True, "limit": {"token_lifetime": 1e300}}, "policy_error"),
    "a lifetime of true": ({"allow": True, "limit": {"token_lifetime": True}}, "policy_error"),
    "a negative lifetime": ({"allow": True, "limit": {"token_lifetime": -1}}, "policy_error"),
    "a protocol claim": ({"allow": True, "claims": {"sub": "root"}}, "policy_error"),
    "not an object": ([{"allow": True}], "policy_error"),
    "a claim deeper than evidence can hold": (
        {"allow": True, "claims": {"a": json.loads(nested(300))}},
        "policy_error",
    ),
    "a claim deeper than Python goes": ({"allow": True, "claims": {"a": json.loads(nested(700))}}, "policy_error"),
}


async def assert_only_the_lie_is_denied(
    server: HostileServer, bridge: LocalBridge, lie: Lie, code: str, *scopes: str
) -> dict[str, Any]:
    digest = digest_of(bridge)
    tell_the_truth(server, bridge)
    assert (await bridge.ask(request("read", "write")))["granted_scopes"] == ["read", "write"]
    server.reply = lambda asked: lie(asked, digest)
    entry = await assert_denied(bridge, code, *scopes)
    tell_the_truth(server, bridge)
    assert (await bridge.ask(request("read", "write")))["granted_scopes"] == ["read", "write"]
    return entry


@pytest.mark.parametrize("name", NO_ANSWER)
async def test_no_answer_at_all(server: HostileServer, bridge: LocalBridge, name: str) -> None:
    entry = await assert_only_the_lie_is_denied(server, bridge, NO_ANSWER[name], "engine_unavailable")
    assert [(e["path"], e["code"]) for e in entry["exceptions"]] == [("fail_closed", "engine_unavailable")]


@pytest.mark.parametrize("name", WRONG_SHAPE)
async def test_the_wrong_shape(server: HostileServer, bridge: LocalBridge, name: str) -> None:
    entry = await assert_only_the_lie_is_denied(server, bridge, WRONG_SHAPE[name], "engine_unavailable")
    assert [(e["path"], e["code"]) for e in entry["exceptions"]] == [("fail_closed", "engine_unavailable")]


@pytest.mark.parametrize("name", GATE_NOT_A_YES)
async def test_a_gate_that_does_not_plainly_allow(server: HostileServer, bridge: LocalBridge, name: str) -> None:
    rules, code = GATE_NOT_A_YES[name]
    await assert_only_the_lie_is_denied(server, bridge, item(put("gate", [rules])), code)


@pytest.mark.parametrize(
    "lie",
    [never, drip(0.02), too_short, endless],
    ids=["never", "a byte at a time", "less than its length", "without end"],
)
async def test_an_answer_too_late(server: HostileServer, bridge: LocalBridge, lie: Lie) -> None:
    began = asyncio.get_running_loop().time()
    digest = digest_of(bridge)
    server.reply = lambda asked: lie(asked, digest)
    await assert_denied(bridge, "engine_unavailable" if lie is endless else "deadline")
    assert asyncio.get_running_loop().time() - began < 1.0
    tell_the_truth(server, bridge)
    assert (await bridge.ask(request("read")))["outcome"] == "allow"


async def test_a_server_that_does_not_read_the_question(tmp_path: Path) -> None:
    """The head of an answer comes while a question larger than any buffer is still on its way."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        held: socket.socket = writer.get_extra_info("socket")
        held.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        transport: Any = writer.transport
        transport.pause_reading()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{")
        try:
            await asyncio.sleep(20)
        finally:
            writer.close()

    running: set[asyncio.Task[None]] = set()
    body = json.dumps(request("read", context={"large": "x" * 4_000_000})).encode()
    deaf = await asyncio.start_server(serve, "127.0.0.1", 0)
    engine = {"kind": "opa", "url": f"http://127.0.0.1:{deaf.sockets[0].getsockname()[1]}"}
    async with local_bridge(tmp_path, engine=engine) as bridge:
        began = asyncio.get_running_loop().time()
        headers = {"Content-Type": "application/json"}
        async with bridge.session.post(PATH, data=io.BytesIO(body), headers=headers) as response:
            reply = await response.json()
        assert (reply["outcome"], reply["findings"]) == ("deny", [{"code": "deadline"}])
        assert asyncio.get_running_loop().time() - began < 1.5
    deaf.close()
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_a_set_that_was_never_accepted(server: HostileServer, bridge: LocalBridge) -> None:
    """It allows everything, in the right shape: asked anew once, then denied."""
    entry = await assert_only_the_lie_is_denied(server, bridge, changed(put("digest", UNKNOWN)), "policy_mismatch")
    assert [(e["path"], e["code"]) for e in entry["exceptions"]] == [("fail_closed", "policy_mismatch")]
    assert "policy" not in entry, "an answer that was not used must not look like the one that decided"
    assert server.questions == 4, "one, the lie and its second try, and one more"


async def test_the_second_try_may_be_answered_by_an_accepted_set(server: HostileServer, bridge: LocalBridge) -> None:
    digest = digest_of(bridge)
    server.reply = lambda asked: http(honest(asked, UNKNOWN if asked.number == 1 else digest))
    reply = await bridge.ask(request("read"))
    assert reply["outcome"] == "allow"
    assert bridge.entry_of(reply["decision_id"])["policy"]["digest"] == digest


async def test_halves_answered_by_two_sets(server: HostileServer, tmp_path: Path) -> None:
    """Both sets are accepted; one decision may still not be made of two."""
    policies = write_policies(tmp_path / "rego")
    async with local_bridge(tmp_path, policies, engine={"kind": "opa", "url": server.url}) as bridge:
        first = digest_of(bridge)
        write_policies(policies, {**POLICIES, "issuance.scope.new": "allow := true"})
        async with asyncio.timeout(10):
            while digest_of(bridge) == first:
                await asyncio.sleep(0.05)
        second = digest_of(bridge)

        def reply(asked: Asked) -> bytes:
            if asked.items and asked.items[0]["gate"] and asked.scopes:
                return http({"code": "internal_error", "message": "try less"}, "500 Internal Server Error")
            return http(honest(asked, first if asked.items and asked.items[0]["gate"] else second))

        server.reply = reply
        await assert_denied(bridge, "policy_mismatch")


async def test_a_failure_of_everything_is_nobodys_yes(server: HostileServer, bridge: LocalBridge) -> None:
    lie = body({"code": "internal_error", "message": "eval_conflict_error"}, "500 Internal Server Error")
    entry = await assert_only_the_lie_is_denied(server, bridge, lie, "policy_error")
    assert {e["path"] for e in entry["exceptions"]} == {"policy_error"}
    assert {e["package"] for e in entry["exceptions"]} == {
        "issuance.gate",
        *(f'issuance.scope["{s}"]' for s in ("read", "write")),
    }


@pytest.mark.parametrize("rules", [{}, {"allow": None}, {"allow": [[]]}, [], None, True, "allow"])
async def test_a_scope_that_does_not_plainly_allow(server: HostileServer, bridge: LocalBridge, rules: Any) -> None:
    digest = digest_of(bridge)
    server.reply = lambda asked: read_rules(rules)(asked, digest)
    reply = await bridge.ask(request("read"))
    assert (reply["outcome"], reply["granted_scopes"]) == ("deny", [])
    assert bridge.entry_of(reply["decision_id"])["outcome"] == "deny"


@pytest.mark.parametrize("package", ["issuance.scope_prefix", "issuance", "data.issuance.scope"])
async def test_an_answer_by_another_package(server: HostileServer, bridge: LocalBridge, package: str) -> None:
    digest = digest_of(bridge)
    server.reply = lambda asked: http(honest(asked, digest, package=package))
    reply = await bridge.ask(request("read"))
    assert (reply["outcome"], reply["scopes"]["read"]["findings"]) == ("deny", [{"code": "policy_error"}])


async def test_an_answer_that_nobody_asked_for(server: HostileServer, bridge: LocalBridge) -> None:
    """A server (or a proxy before it) that answers twice: the second yes must not become the next question's answer."""
    digest = digest_of(bridge)

    def twice(asked: Asked) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
        rules = {"deny": [{"code": "no"}]} if asked.number > 1 else None

        async def write(writer: asyncio.StreamWriter) -> None:
            writer.write(http(honest(asked, digest, rules)))
            await writer.drain()
            if asked.items:
                await asyncio.sleep(0.02)
                writer.write(http(honest(asked, digest, rules)))
                await writer.drain()

        return write

    server.reply = twice
    assert (await bridge.ask(request("read")))["outcome"] == "allow"
    await asyncio.sleep(0.1)
    reply = await bridge.ask(request("read", client={"id": "another"}))
    assert reply["outcome"] == "deny"
    assert bridge.entry_of(reply["decision_id"])["outcome"] == "deny"


async def test_a_probe_answered_with_nonsense_does_not_end_the_probing(server: HostileServer, tmp_path: Path) -> None:
    answers: list[Any] = [[], {"digest": []}, {"digest": {}}, {"digest": None}, True, None, {}]
    server.reply = lambda asked: http({"result": answers[0]})
    async with local_bridge(tmp_path, engine={"kind": "opa", "url": server.url}) as bridge:
        engine: Any = bridge.bridge.engine
        for value in answers:
            server.reply = lambda asked, value=value: http({"result": value})  # type: ignore[misc]  # a default binds the loop variable
            await engine._probe()
            assert not engine.status().ready
        tell_the_truth(server, bridge)
        async with asyncio.timeout(5):
            while not engine.status().ready:
                await asyncio.sleep(0.05)


async def test_the_breaker_opens_and_closes(server: HostileServer, bridge: LocalBridge) -> None:
    server.reply = lambda asked: raw(b"junk\r\n\r\n")(asked, "")
    for _ in range(5):
        await assert_denied(bridge, "engine_unavailable")
    asked = server.questions
    entry = await assert_denied(bridge, "engine_unavailable")
    assert server.questions == asked, "an open breaker asks nothing"
    assert "breaker" in entry["exceptions"][0]["message"]
    tell_the_truth(server, bridge)
    async with asyncio.timeout(5):
        while (await bridge.ask(request("read")))["outcome"] != "allow":
            await asyncio.sleep(0.1)
    assert server.questions == asked + 1, "one probe was enough"


async def test_the_bridge_is_ready_again_although_nobody_asks(server: HostileServer, bridge: LocalBridge) -> None:
    """A load balancer sends nothing while it is not ready: readiness must not wait for a request."""
    server.reply = lambda asked: raw(b"junk\r\n\r\n")(asked, "")
    for _ in range(6):
        await assert_denied(bridge, "engine_unavailable")
    async with bridge.session.get("/health/ready") as response:
        assert response.status == 503
    tell_the_truth(server, bridge)
    asked = server.questions
    async with asyncio.timeout(5):
        while True:
            async with bridge.session.get("/health/ready") as response:
                if response.status == 200:
                    break
            await asyncio.sleep(0.1)
    assert server.questions == asked
