"""Sagas of a whole bridge, with an authorization server that is asked over HTTP."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from click.testing import CliRunner

from bridge.audit.query import Queries
from bridge.cli.main import cli
from bridge.config.settings import load_settings
from bridge.registry import CONNECTORS
from bridge.saga import saga, watch
from tests.saga.admin import Admin
from tests.saga.server import Server, served
from tests.support.bridge import LocalBridge, bearer, caller, local_bridge, request, write_config
from tests.support.evidence import reading
from tests.support.policies import write_policies
from tests.support.waiting import until

ISSUER = "https://as.example"
AS, OPS = bearer("as"), bearer("ops")
POLICIES = {"issuance.gate": "allow := true", "issuance.scope.read": "allow := true"}
END, STATUS = "/v1/lifecycle/end", "/v1/lifecycle/status"


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONNECTORS, "hydra", Admin)
    for module, name, value in ((saga, "FIRST_S", 0.02), (watch, "LOOK_S", 0.02), (saga, "LONGEST_S", 0.3)):
        monkeypatch.setattr(module, name, value)


@pytest.fixture
def server() -> Iterator[Server]:
    with served(Server()) as running:
        yield running


def sections(server: Server, **more: Any) -> dict[str, Any]:
    return {
        "callers": [caller("as", issuer=ISSUER), caller("ops", "operator")],
        "servers": [{"issuer": ISSUER, "kind": "hydra", "admin_url": server.url}],
        "lifecycle": {"alarm_after_s": 1},
        **more,
    }


@contextlib.asynccontextmanager
async def bridge_of(folder: Path, server: Server, **more: Any) -> AsyncIterator[LocalBridge]:
    policies = folder / "rego"
    if not policies.exists():
        write_policies(policies, POLICIES)
    evidence = {"path": str(folder / "evidence"), "personal": ["/subject/id"]}
    async with local_bridge(folder, policies, **sections(server, evidence=evidence, **more)) as bridge:
        yield bridge


async def granted(bridge: LocalBridge, subject: str, client: str = "app", **members: Any) -> bool:
    who = {"client": {"id": client}, "subject": {"type": "user", "id": subject}, "grant_type": "authorization_code"}
    reply = await bridge.ask(request("read", **{**who, **members}), headers=AS)
    return bool(reply["outcome"] == "allow")


async def end(bridge: LocalBridge, path: str = END, **named: Any) -> dict[str, Any]:
    body = {"what": "client", "issuer": ISSUER, "reason": "a test", **named}
    async with bridge.session.post(path, json=body, headers=OPS) as reply:
        assert reply.status == 200, await reply.text()
        told: dict[str, Any] = await reply.json()
        return told


async def status(bridge: LocalBridge) -> list[dict[str, Any]]:
    async with bridge.session.get(STATUS, headers=OPS) as reply:
        assert reply.status == 200
        told: list[dict[str, Any]] = (await reply.json())["unconfirmed"]
        return told


def of(bridge: LocalBridge, effect: str) -> list[dict[str, Any]]:
    return [one for one in bridge.entries() if one.get("effect") == effect]


async def settled(bridge: LocalBridge, count: int = 1) -> list[dict[str, Any]]:
    async def all_of_them() -> list[dict[str, Any]]:
        found = of(bridge, "settled")
        return found if len(found) >= count else []

    return await until(all_of_them)


def ids(entry: dict[str, Any]) -> Any:
    return entry["request"].get("client", {}).get("id"), entry["request"].get("subject")


async def test_notices_then_consents_then_the_client_and_all_of_it_on_record(tmp_path: Path, server: Server) -> None:
    server.there = {"notice": {"app"}, "client": {"app", "other"}, "consent": {"app/alice", "app/bob", "other/alice"}}
    async with bridge_of(tmp_path, server) as bridge:
        for subject in ("alice", "bob"):
            assert await granted(bridge, subject)
        assert await granted(bridge, "alice", "other")
        ended = await end(bridge, client="app")
        (told,) = await settled(bridge)
        assert (told["standing"], told["steps"]) == ("confirmed", 4)
        assert server.there == {"notice": set(), "client": {"other"}, "consent": {"other/alice"}}
        assert server.of("DELETE") == ["notice", "consent", "consent", "client"]
        steps = of(bridge, "step")
        assert [one["step"] for one in steps] == ["notice", "consent", "consent", "client"]
        for one in (*steps, told):
            assert (one["ending"], one["ending_id"]) == (ended["evidence"]["index"], ended["id"])
        assert all((s["connector"], s["attempts"], s["standing"]) == ("admin", 1, "confirmed") for s in steps)
        assert {s["asked"] for s in steps} == {"DELETE /notice", "DELETE /consent", "DELETE /client"}
        assert "alice" not in json.dumps(steps)  # it is personal, and hidden as in any request
        assert len({s["step_digest"] for s in steps}) == 4
        assert not await granted(bridge, "alice")
        assert await granted(bridge, "alice", "other")
        assert await status(bridge) == []
        with reading(bridge.evidence) as reader:
            shown = Queries(reader).show(ended["id"])
        assert [one.entry["effect"] for one in shown] == ["ended", *["step"] * 4, "settled"]


async def test_a_server_that_is_down_alarms_and_is_asked_again(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.there = {"client": {"app"}, "consent": {"app/alice"}}
    server.answer = lambda method, *_: 503 if method == "DELETE" else None
    with structlog.testing.capture_logs() as logged:
        async with bridge_of(tmp_path, server) as bridge:
            assert await granted(bridge, "alice")
            await end(bridge, client="app")

            async def tried() -> bool:
                return len(of(bridge, "step")) == 2 and not await granted(bridge, "alice")

            await until(tried)
            (waiting,) = await status(bridge)
            assert (waiting["what"], waiting["client"]) == ("client", "app")
            assert {s["step"]: (s["standing"], s["observed"], s.get("subject")) for s in waiting["steps"]} == {
                "notice": ("failed", {"status": 503, "then": 404}, None),
                "consent": ("failed", {"status": 503, "then": 200}, "alice"),
            }
            bridge.bridge.observe()
            assert bridge.bridge.metrics.registry.get_sample_value("issuance_lifecycle_unconfirmed") == 1
            command = ["lifecycle", "status", "--config", str(tmp_path / "bridge.toml")]
            result = CliRunner().invoke(cli, command)
            assert result.exit_code == 1
            assert "failed consent (admin) of delegation app alice at https://as.example" in result.output
            assert "there may be more" not in result.output
            monkeypatch.setattr("bridge.cli.lifecycle.status.MOST", 1)
            assert CliRunner().invoke(cli, command).output.endswith("these are the oldest 1; there may be more\n")

            async def alarmed() -> list[Any]:
                return [one for one in logged if one["event"] == "revocation_unconfirmed"]

            await until(alarmed)
            assert "lifecycle status" in "".join(bridge.bridge.warnings())
            server.answer = lambda *_: None
            (told,) = await settled(bridge)
            assert told["standing"] == "confirmed"
            assert bridge.bridge.warnings() == []
            assert len(await alarmed()) == 1
            assert "alice" not in str(logged)
            deleted = server.of("DELETE")
            assert "notice" not in deleted[deleted.index("client") :]  # it waited for that
            result = CliRunner().invoke(cli, [*command, "--json"])
            assert (result.exit_code, result.output) == (0, "")


async def test_what_is_let_in_again_in_the_middle_is_not_touched(tmp_path: Path, server: Server) -> None:
    server.there = {"client": {"app"}, "notice": set()}
    server.answer = lambda method, kind, _: 503 if kind == "notice" else None
    async with bridge_of(tmp_path, server) as bridge:
        await end(bridge, client="app")

        async def tried() -> bool:
            return bool(of(bridge, "step"))

        await until(tried)
        await end(bridge, "/v1/lifecycle/reinstate", client="app")
        (told,) = await settled(bridge)
        assert told["standing"] == "superseded"
        assert "client" not in server.of("DELETE")
        assert await granted(bridge, "alice")


async def test_grants_of_exchanged_tokens_end_by_entries_of_their_own(tmp_path: Path, server: Server) -> None:
    token = {"sub": "alice", "client_id": "app", "iss": ISSUER}
    async with bridge_of(tmp_path, server) as bridge:
        exchange = {"grant_type": "token_exchange", "subject_token": token}
        assert await granted(bridge, "alice", "gateway", grant={"id": "g-1"}, **exchange)
        assert await granted(bridge, "alice", "worker", **exchange)
        chained = {"sub": "alice", "client_id": "gateway", "iss": ISSUER}
        further = {"grant_type": "token_exchange", "subject_token": chained, "grant": {"id": "g-2"}}
        assert await granted(bridge, "alice", "last", **further)
        ended = await end(bridge, client="app")
        told = await settled(bridge, 3)
        grants = [one for one in of(bridge, "ended") if one["what"] == "grant"]
        assert sorted(one["request"]["grant"]["id"] for one in grants) == ["g-1", "g-2"]
        assert {one["caused_by"] for one in grants} == {ended["id"]}
        assert {one["reason"] for one in grants} == {f"follows ending {ended['evidence']['index']}"}
        steps = [one for one in of(bridge, "step") if one["ending_id"] == ended["id"] and one["step"] == "downstream"]
        assert sorted((one["what"], one["standing"]) for one in steps) == [
            ("delegation", "accepted"),  # no grant of it is known
            ("grant", "confirmed"),
            ("grant", "confirmed"),
        ]
        assert {one["standing"] for one in told} == {"accepted", "confirmed"}
        refresh = {"grant_type": "refresh_token", "grant": {"id": "g-1", "scopes": ["read"]}}
        assert not await granted(bridge, "alice", "gateway", **refresh)
        assert await granted(bridge, "alice", "gateway", grant={"id": "g-3"})


async def test_an_ending_by_a_command_while_the_bridge_is_down_is_done_at_its_start(
    tmp_path: Path, server: Server
) -> None:
    server.there = {"client": {"app"}, "consent": {"app/alice"}}
    async with bridge_of(tmp_path, server) as bridge:
        assert await granted(bridge, "alice")
    command = ["clients", "delete", "app", "--reason", "a test", "--config", str(tmp_path / "bridge.toml")]
    result = await asyncio.to_thread(CliRunner().invoke, cli, command)
    assert result.exit_code == 0, result.output
    assert not server.calls
    async with bridge_of(tmp_path, server) as bridge:
        (told,) = await settled(bridge)
        assert told["standing"] == "confirmed"
        assert server.there == {"client": set(), "consent": set(), "notice": set()}
    calls = len(server.calls)
    async with bridge_of(tmp_path, server):  # a restart does nothing again
        await asyncio.sleep(0.3)
    assert len(server.calls) == calls


async def test_ids_that_are_masked_leave_nothing_to_do(tmp_path: Path, server: Server) -> None:
    with structlog.testing.capture_logs() as logged:
        async with local_bridge(
            tmp_path, write_policies(tmp_path / "rego", POLICIES), **sections(server, evidence={"mask": ["/client/id"]})
        ) as bridge:
            await end(bridge, client="app")
            (told,) = await settled(bridge)
    assert (told["standing"], told["steps"]) == ("accepted", 0)
    assert [one["event"] for one in logged].count("revocation_nameless") == 1
    assert not server.calls


async def test_ids_are_not_erased_before_the_ending_is_settled(tmp_path: Path, server: Server) -> None:
    server.there = {"client": {"app"}, "consent": {"app/alice"}}
    server.answer = lambda method, *_: 503 if method == "DELETE" else None
    options = ["--reason", "a request", "--config", str(tmp_path / "bridge.toml")]
    async with bridge_of(tmp_path, server) as bridge:
        assert await granted(bridge, "alice")
        await end(bridge, client="app")

        async def tried() -> bool:
            return len(of(bridge, "step")) == 2

        await until(tried)
        refused = CliRunner().invoke(cli, ["log", "erase", "--subject", "alice", *options])
        assert (refused.exit_code, "is not settled" in refused.output) == (1, True)
        assert CliRunner().invoke(cli, ["log", "erase", "--subject", "bob", *options]).exit_code == 0
        server.answer = lambda *_: None
        assert [one["standing"] for one in await settled(bridge)] == ["confirmed"]
        done = CliRunner().invoke(cli, ["log", "erase", "--subject", "alice", *options])
        assert (done.exit_code, "entries erased" in done.output) == (0, True)


async def test_only_operators_see_what_is_unconfirmed(tmp_path: Path, server: Server) -> None:
    async with bridge_of(tmp_path, server) as bridge:
        for headers, code in ((AS, 403), ({}, 401)):
            async with bridge.session.get(STATUS, headers=headers) as reply:
                assert reply.status == code


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"kind": "keycloak"}, "hydra"),
        ({"kind": "hydra"}, "admin_url"),
        ({"kind": "hydra", "admin_url": "ftp://x"}, "http or https"),
        ({"kind": "hydra", "admin_url": "http://as.example", "admin_token_file": "x"}, "https alone"),
        ({"kind": "hydra", "admin_url": "http://127.0.0.1", "admin_header": "X-Key"}, "admin_token_file"),
        ({"kind": "hydra", "admin_url": "http://127.0.0.1", "client_id": "a"}, "client_id is nothing"),
        ({"kind": "rfc7009", "client_id": "a"}, "revocation_url"),
        ({"kind": "rfc7009", "client_id": "a", "revocation_url": "http://as.example/revoke"}, "https alone"),
        ({"kind": "rfc7009", "revocation_url": "https://as.example/revoke"}, "client_id"),
    ],
)
def test_a_server_that_cannot_be(tmp_path: Path, table: dict[str, Any], problem: str) -> None:
    file = write_config(tmp_path, servers=[{"issuer": ISSUER, **table}])
    with pytest.raises(Exception, match=problem):
        load_settings(file)


def test_a_kind_stands_once_for_an_issuer(tmp_path: Path) -> None:
    one = {"issuer": ISSUER, "kind": "hydra", "admin_url": "http://127.0.0.1:4445"}
    with pytest.raises(Exception, match="once"):
        load_settings(write_config(tmp_path, servers=[one, one]))


def test_check_tells_of_a_server_that_nobody_asks_for(tmp_path: Path) -> None:
    one = {
        "issuer": "https://typo.example",
        "kind": "rfc7009",
        "client_id": "a",
        "revocation_url": "http://127.0.0.1:1",
    }
    lacking = {**one, "client_secret_file": "nowhere"}
    for server, state, text in ((one, "warn", "typo.example"), (lacking, "bad", "nowhere")):
        file = write_config(tmp_path, callers=[caller("as", issuer=ISSUER)], servers=[server])
        lines = map(json.loads, CliRunner().invoke(cli, ["check", "--json", "--config", str(file)]).stdout.splitlines())
        assert [one for one in lines if one["check"] == "servers" and one["state"] == state and text in one["text"]]
