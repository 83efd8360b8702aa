"""RFC 7009: tokens that an order brings are taken back, told of one by one, and kept nowhere."""

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bridge.cli.main import cli
from bridge.connectors import rfc7009
from bridge.errors import ConfigFault
from bridge.pdp import tokens
from tests.saga.server import Server, served
from tests.support.bridge import LocalBridge, local_bridge, write_config
from tests.support.waiting import until

GOOD, OLD, ODD = "good-token-4711", "old-token-4712", "odd-token-4713"
END = "/v1/lifecycle/end"


@pytest.fixture
def server() -> Iterator[Server]:
    with served(Server()) as running:
        yield running


def sections(folder: Path, server: Server, **more: Any) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    secret = folder / "secret"
    secret.write_text("s:cret/+\n")
    one = {"issuer": "local", "kind": "rfc7009", "revocation_url": f"{server.url}/revoke", "client_id": "the bridge"}
    return {"servers": [{**one, "client_secret_file": str(secret), "timeout_ms": 500, **more}]}


@contextlib.asynccontextmanager
async def bridge_of(folder: Path, server: Server, **more: Any) -> AsyncIterator[LocalBridge]:
    async with local_bridge(folder, **sections(folder, server, **more)) as bridge:
        yield bridge


async def end(bridge: LocalBridge, given: Any, status: int = 200, **members: Any) -> dict[str, Any]:
    body = {"what": "grant", "issuer": "local", "grant": "g", "reason": "a test", "tokens": given, **members}
    async with bridge.session.post(END, json=body) as reply:
        assert reply.status == status, await reply.text()
        found: dict[str, Any] = await reply.json()
        return found


def steps(bridge: LocalBridge) -> list[dict[str, Any]]:
    return [one for one in bridge.entries() if one.get("effect") == "step"]


async def test_each_token_is_sent_and_told_of_and_none_is_kept(tmp_path: Path, server: Server) -> None:
    answers = {ODD: [400], OLD: [503, 503]}
    server.answer = lambda _method, _kind, token: answers[token].pop() if answers.get(token) else None
    async with bridge_of(tmp_path, server) as bridge:
        given = [{"token": GOOD, "token_type_hint": "refresh_token"}, {"token": OLD}, {"token": ODD}]
        told = await end(bridge, given)
        assert told["tokens"] == [
            {"standing": "accepted", "observed": {"status": 200}},
            {"standing": "accepted", "observed": {"status": 200}},
            {"standing": "failed", "observed": {"status": 400, "error": "unsupported_token_type"}},
        ]
        assert [f["token"] for f in server.forms].count(OLD) == 3
        assert {"token": GOOD, "token_type_hint": "refresh_token"} in server.forms
        assert set(server.logins) == {"Basic dGhlK2JyaWRnZTpzJTNBY3JldCUyRiUyQg=="}  # both form-encoded
        found = steps(bridge)
        assert [(s["token"], s["tokens"], s["step"], s["standing"]) for s in found] == [
            (1, 3, "tokens", "accepted"),
            (2, 3, "tokens", "accepted"),
            (3, 3, "tokens", "failed"),
        ]
        assert {(s["asked"], s["connector"], s["door"], s["ending_id"]) for s in found} == {
            ("POST /revoke", "rfc7009", "lifecycle", told["id"])
        }
        again = await end(bridge, [{"token": ODD}])
        assert (again["repeated"], again["tokens"][0]["standing"]) == (True, "accepted")

        async def settled() -> bool:
            return any(one.get("effect") == "settled" for one in bridge.entries())

        await until(settled)
    kept = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    for token in (GOOD, OLD, ODD):
        assert not any(token.encode() in data for data in kept)


async def test_a_server_that_is_down_is_told_of_in_time(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "WITHIN_S", 0.6)
    monkeypatch.setattr(rfc7009, "PAUSE_S", 0.05)
    async with bridge_of(tmp_path, server, revocation_url="http://127.0.0.1:9/revoke") as bridge:
        told = await end(bridge, [{"token": GOOD}])
        assert told["tokens"] == [{"standing": "failed", "observed": {"fault": "connection"}}]
        assert "repeated" not in told  # what ended has ended all the same


@pytest.mark.parametrize(
    ("given", "members", "problem"),
    [
        ([], {}, ["/tokens"]),
        ([{"token": GOOD}] * 21, {}, ["/tokens"]),
        ([{"token": "a\nb"}], {}, ["/tokens/0/token"]),
        ([{"token": "x" * 16_385}], {}, ["/tokens/0/token"]),
        ([{"token": GOOD, "more": 1}], {}, ["/tokens/0/more"]),
        ([GOOD], {}, ["/tokens/0"]),
        ([{"token": GOOD}], {"issuer": "elsewhere"}, ["/tokens"]),
        ([{"token": GOOD}], {"dry_run": True}, []),
    ],
)
async def test_an_order_that_cannot_be_ends_nothing(
    tmp_path: Path, server: Server, given: Any, members: dict[str, Any], problem: list[str]
) -> None:
    async with bridge_of(tmp_path, server) as bridge:
        told = await end(bridge, given, 400, **members)
        assert [one["pointer"] for one in told.get("errors", ())] == problem
        assert GOOD not in json.dumps(told)
        assert not bridge.entries()
        assert not server.forms


def test_the_command_takes_them_from_a_file(tmp_path: Path, server: Server) -> None:
    from bridge.evidence.store import SqliteStore

    store = SqliteStore(tmp_path / "evidence", "bridge/0")
    store.open()
    store.close()
    config, file = write_config(tmp_path, **sections(tmp_path, server)), tmp_path / "tokens"
    file.write_text(f"{GOOD}\n\n{ODD}\n")
    server.answer = lambda _method, _kind, token: 400 if token == ODD else None

    def run(*more: str, code: int) -> Result:
        command = ["delegations", "revoke", "--grant", "g", "--reason", "a test", "--config", str(config)]
        result = CliRunner().invoke(cli, [*command, "--token-file", str(file), *more])
        assert result.exit_code == code, (result.output, result.exception)
        assert GOOD not in result.output
        return result

    told = json.loads(run("--json", code=1).stdout)
    assert [one["standing"] for one in told["tokens"]] == ["accepted", "failed"]
    server.answer = lambda *_: None
    assert "token 2: accepted (status=200)" in run(code=0).output
    run("--dry-run", code=2)
    run("--issuer", "elsewhere", code=2)
    for text in ("", "\x00", "x" * 20_000, f"{GOOD}\n" * 21):
        file.write_text(text)
        run(code=2)
    assert len(server.forms) == 4


async def test_a_public_client_names_itself(tmp_path: Path, server: Server) -> None:
    async with bridge_of(tmp_path, server, client_secret_file="") as bridge:
        await end(bridge, [{"token": GOOD}])
    assert (server.forms, server.logins) == ([{"token": GOOD, "client_id": "the bridge"}], [None])


async def test_a_secret_that_is_not_there(tmp_path: Path, server: Server) -> None:
    with pytest.raises(ConfigFault, match="client_secret_file"):
        async with bridge_of(tmp_path, server, client_secret_file=str(tmp_path / "none")):
            pass
