"""`policy matrix`: what the samples can grant, what a plain grant at high risk looks like, and doors that leak."""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner

from bridge.cli.main import cli
from bridge.cli.policy import matrix_text
from bridge.cli.policy.matrix_lines import lines
from bridge.cli.policy.proof import Proof, prove
from bridge.config.settings import EngineSection, Settings
from bridge.doors import native
from bridge.doors.curity import door as curity
from bridge.model.gate import TOKEN_TYPES
from bridge.model.mask import SECRET_NAMES, SECRET_SUFFIXES, SecretMask
from bridge.model.policy import PolicySet
from bridge.model.registry import RegisteredClient
from bridge.policy.answer import Settled
from bridge.policy.cases import GRANT_TYPES
from bridge.policy.load import load
from bridge.policy.matrix.clients import FOREIGN, candidates
from bridge.policy.matrix.fill import MAX_OTHERS, Fill
from bridge.policy.matrix.model import Kind, Matrix
from bridge.policy.opa import find_opa
from bridge.registry import DOORS, ENGINES
from tests.docs.pages import DOCS, blocks
from tests.support.bridge import run_cli
from tests.support.policies import write_policies

PAGE = DOCS / "policy-engineers.md"
KIND = Kind("client_credentials", "access_token")
GATE = """
allow contains {"code": "open"} if {
	input.grant_type == "client_credentials"
	input.token_type == "access_token"
}
"""
HIGH = '# METADATA\n# scope: package\n# custom: {risk: high}\n# authors: ["A | B\\u001b[31m <a@b.example>"]\n'
CLIENT = {"grant_types": ["client_credentials"], "scopes": ["plain", "bound"], "audience": []}


def small(folder: Path, data: Mapping[str, Any] | None = None) -> Path:
    policies = {
        "issuance.gate": GATE,
        "issuance.scope.plain": HIGH + 'allow contains {"code": "anybody"}',
        "issuance.scope.bound": HIGH + 'allow contains {"code": "holder"} if input.cnf.jkt',
        "issuance.scope.waived": HIGH
        + 'allow contains {"code": "w", "exception": {"kind": "waiver", "id": "W", "approved_by": ["a"], '
        '"expires": "2099-01-01T00:00:00Z"}}',
        "issuance.scope.broken": 'allow if to_number("none") > 0',
        "issuance.scope.never": 'deny contains {"code": "no"}',
        'issuance.scope_prefix["t:"]': 'allow if input.scope == "t:a"',
    }
    clients = {f"c{n}": CLIENT for n in range(5)} | {"other": {**CLIENT, "scopes": ["t:a"]}}
    return write_policies(folder, policies, data or {"registry": {"clients": {"local": clients}}})


async def filled(policy_set: PolicySet, *, clients: int = 100, seconds: float = 60) -> Matrix:
    engine = ENGINES["managed"](EngineSection(), find_opa())
    await engine.start(policy_set)
    try:
        settled = Settled(SecretMask(SECRET_NAMES, SECRET_SUFFIXES))
        return await Fill(policy_set, engine, settled, (), clients=clients, seconds=seconds)()
    finally:
        await engine.close()


def documented() -> set[str]:
    """The lines of the page, whatever their numbers."""
    (block,) = (one for one in blocks(PAGE) if one.text.startswith("$ issuance-bridge policy matrix rego\n"))
    return {re.sub("[0-9]+", "0", line) for line in block.text.splitlines()[1:] if line != "..."}


def test_the_samples() -> None:
    done = run_cli("policy", "matrix", "rego", "--strict", "--json", timeout=120)
    assert done.returncode == 0, done.stderr
    # The log of the proof's own bridge may fall behind on a busy machine, and says so.
    assert [line for line in done.stderr.splitlines() if "checkpoint_stale" not in line] == []
    told = [json.loads(line) for line in done.stdout.splitlines()]
    grants = {
        (g["scope"], g["grant_type"], g["token_type"], g["rules"][0]["code"]): g for g in told if g["check"] == "grant"
    }
    pays = grants["payments:write", "authorization_code", "access_token", "user_pays"]
    assert (pays["rules"][0]["file"], pays["risk"]) == ("scopes/payments_write.rego", "high")
    assert pays["rules"][0]["owner"] == "Payments API <payments@example.com>"
    row = Path("rego/scopes/payments_write.rego").read_text().splitlines()[pays["rules"][0]["row"] - 1 :]
    assert row[0].startswith("allow contains") or row[0].startswith("# METADATA")
    assert pays["conditions"] == {
        "require": [{"acr_values": ["urn:bank:acr:bankid"], "max_age": 300}],
        "limit": {"token_lifetime": 300},
        "sources": [],
        "needs": ["authentication", "cnf"],
    }
    assert pays["witness"]["case"].startswith("cases/payments_write.yaml:9")
    assert pays["gate"][0]["code"] == "registered_client"
    assert (
        grants["admin:users", "client_credentials", "access_token", "batch_waiver"]["rules"][0]["exception"]["id"]
        == "EX-17"
    )
    assert grants["profile", "device_code", "id_token", "user_shares_profile"]["conditions"]["needs"] == [
        "consented_scopes"
    ]
    assert grants["tenant:*", "client_credentials", "access_token", "client_of_tenant"]["clients"] == 2
    assert not any(grant in ("implicit", "password", "saml2_bearer") for _, grant, _, _ in grants)
    never = {line["scope"]: line for line in told if line["check"] == "never"}
    assert never.keys() == {"accounts:read", "admin:users", "openid", "payments:write", "profile", "tenant:*"}
    kinds = {(k["grant_type"], k["token_type"]): k["tried"] for k in never["payments:write"]["kinds"]}
    assert kinds["client_credentials", "access_token"] > 2
    assert min(kinds.values()) >= FOREIGN
    doors = {line["door"]: line for line in told if line["check"] == "door"}
    assert {line["state"] for line in doors.values()} == {"pass"}
    assert doors["POST " + native.PATH]["kinds"] == told[-1]["kinds"] + 1
    assert documented() <= {re.sub("[0-9]+", "0", line) for line in matrix_text.text(told).splitlines()}
    assert (told[-1]["check"], told[-1]["state"], told[-1]["plain"], told[-1]["proof"]["faults"]) == (
        "summary",
        "pass",
        0,
        0,
    )


async def test_a_plain_grant_at_high_risk_and_a_package_that_fails_are_told(tmp_path: Path) -> None:
    matrix = await filled(load(small(tmp_path), find_opa()))
    told = lines(matrix, Proof())
    assert {(line["scope"], line["rules"][0]["code"]) for line in told if line["check"] == "risk"} == {
        ("plain", "anybody")
    }
    (bound,) = [line for line in told if line["check"] == "grant" and line["scope"] == "bound"]
    assert (bound["conditions"]["needs"], bound["clients"]) == (["cnf"], 6)
    assert [line["package"] for line in told if line["check"] == "error"] == ['issuance.scope["broken"]']
    granted = {line["scope"] for line in told if line["check"] == "grant"}
    assert granted == {"plain", "bound", "waived", "t:*"}
    for form in (matrix_text.text, matrix_text.markdown):
        shown = form(told)
        assert "\x1b" not in shown
        assert "plain by client_credentials as access_token: anybody" in shown
        assert "W until 2099" in shown
    assert "A \\| B" in matrix_text.markdown(told)
    assert "6 of 6 registered clients" in matrix_text.text(told)


async def test_a_condition_for_some_clients_does_not_hide_those_without_it(tmp_path: Path) -> None:
    pay = 'allow contains {"code": "anybody"}\nlimit := {"token_lifetime": 60} if startswith(input.client.id, "a")'
    clients = {name: {**CLIENT, "scopes": ["pay"]} for name in ("a1", "a2", "a3", "a4", "b1")}
    data = {"registry": {"clients": {"local": clients}}}
    folder = write_policies(tmp_path, {"issuance.gate": GATE, "issuance.scope.pay": HIGH + pay}, data)
    told = lines(await filled(load(folder, find_opa())), Proof())
    grants = [(one["lacks"], one["clients"]) for one in told if one["check"] == "grant"]
    assert grants == [(["requirement", "source"], 4), (["requirement", "token_lifetime", "source"], 1)]
    assert [one["witness"]["client"] for one in told if one["check"] == "risk"] == ["b1"]


async def test_clients_and_time_are_bounded_and_that_is_told(tmp_path: Path) -> None:
    policy_set = load(small(tmp_path), find_opa())
    found = candidates(policy_set, ["t:a"], 2)
    assert [one.id for one in found] == ["c0", "other"]  # differing registrations first
    assert {"plain", "never", "t:a"} <= set(found[0].scopes)
    matrix = await filled(policy_set, clients=2)
    assert (matrix.clients, matrix.registered, matrix.stopped) == (2, 6, False)
    odd = {"local": {"odd": RegisteredClient(grant_types=tuple(f"g{n}" for n in range(MAX_OTHERS + 4)))}}
    matrix = await filled(replace(policy_set, clients=odd), seconds=0)
    assert (matrix.left_out, len(matrix.kinds)) == (4, (len(GRANT_TYPES) + MAX_OTHERS) * len(TOKEN_TYPES))
    assert "4 further names were left out" in matrix_text.text(told := lines(matrix, Proof()))
    assert "never: not tried" in matrix_text.text(told)
    matrix = await filled(policy_set, seconds=0)
    assert (matrix.requests, matrix.stopped, matrix.clients) == (0, True, 0)
    assert "stopped, since time was up" in matrix_text.text(lines(matrix, Proof()))


async def test_without_any_client_something_is_tried_all_the_same(tmp_path: Path) -> None:
    matrix = await filled(load(small(tmp_path, {"x": 1}), find_opa()))
    assert {row.name for row in matrix.rows if KIND in row.paths} == {"plain", "bound", "waived"}
    assert (matrix.clients, matrix.registered) == (0, 0)


class Leaky:
    """A native door that does not ask everybody whom it should."""

    def __init__(self, path: str, said: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._path, self._said = path, said

    def routes(self) -> list[web.RouteDef]:
        return [web.post(self._path, self._answer)]

    async def _answer(self, request: web.Request) -> web.Response:
        return web.json_response(self._said(await request.json()))


def grants_all(body: dict[str, Any]) -> dict[str, Any]:
    scopes = {scope: {"outcome": "allow"} for scope in body["scopes"]}
    return {"outcome": "allow", "granted_scopes": body["scopes"], "scopes": scopes}


def denies_all(body: dict[str, Any]) -> dict[str, Any]:
    return {"outcome": "deny", "granted_scopes": [], "scopes": {}}


async def proven(
    folder: Path, monkeypatch: pytest.MonkeyPatch, doors: tuple[Any, ...]
) -> tuple[Proof, list[dict[str, Any]]]:
    monkeypatch.setattr("bridge.server.DOORS", doors)
    policy_set = await asyncio.to_thread(load, small(folder), find_opa())
    found = await prove(Settings(), policy_set, (KIND,))
    return found, [line for line in lines(Matrix([], ()), found) if line["check"] == "door" and line["state"] == "fail"]


async def test_a_door_that_skips_the_gate_and_one_that_nobody_knows_fail_the_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaky = (lambda _: Leaky(native.PATH, grants_all), *DOORS[1:], lambda _: Leaky("/leak", grants_all))
    found, failed = await proven(tmp_path, monkeypatch, leaky)
    assert (found.holds, found.unknown) == (False, ["POST /leak"])
    assert [line["door"] for line in failed] == [f"POST {native.PATH}", "POST /leak"]
    leaks = failed[0]["leaks"]
    assert "client_credentials access_token: plain, though the gate denies" in leaks
    assert "client_credentials access_token: a token, though the gate denies" in leaks
    assert "client_credentials access_token: plain, though its package denies" in leaks
    assert "GRANTED client_credentials access_token: " in matrix_text.text(lines(Matrix([], ()), found))
    assert all(not one.leaks and not one.blind for one in found.driven if one.route != f"POST {native.PATH}")


async def test_a_door_that_asks_the_gate_alone_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It passes on what the gate says about a token without scopes, and adds the scopes."""

    class GateAlone:
        def __init__(self, parts: Any) -> None:
            self._door = DOORS[0](parts)

        def routes(self) -> list[web.RouteDef]:
            (route,) = self._door.routes()
            assert isinstance(route, web.RouteDef)

            async def answer(request: web.Request) -> web.StreamResponse:
                body = await request.json()
                request._read_bytes = json.dumps({**body, "scopes": []}).encode()
                reply: Any = await route.handler(request)
                said = json.loads(reply.body)
                return web.json_response(grants_all(body) if said["outcome"] == "allow" else denies_all(body))

            return [web.post(native.PATH, answer)]

    at = next(place for place, door in enumerate(DOORS) if "CurityDoor" in door.__code__.co_names)

    def never(_: Any) -> Leaky:
        return Leaky(curity.PATH, lambda body: {"evaluations": [{"decision": False} for _ in body["evaluations"]]})

    found, failed = await proven(tmp_path, monkeypatch, (GateAlone, *DOORS[1:at], never, *DOORS[at + 1 :]))
    seen = {one.route: one for one in found.driven}
    leaks = seen[f"POST {native.PATH}"].leaks
    assert leaks
    assert all(leak.endswith("though its package denies") for leak in leaks)
    # One that is never seen to grant proves nothing.
    assert seen[f"POST {curity.PATH}"].blind == ["client_credentials access_token"]
    assert (found.holds, len(failed)) == (False, 2)


async def test_a_door_that_is_never_seen_to_grant_a_token_without_scopes_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scopes_only(body: dict[str, Any]) -> dict[str, Any]:
        return grants_all(body) if body["scopes"] else denies_all(body)

    found, _ = await proven(tmp_path, monkeypatch, (lambda _: Leaky(native.PATH, scopes_only),))
    assert found.driven[0].blind == ["client_credentials access_token", "matrix_grant matrix_token"]


def test_wrong_use() -> None:
    assert CliRunner().invoke(cli, ["policy", "matrix", "rego", "--json", "--markdown"]).exit_code == 2
    assert CliRunner().invoke(cli, ["policy", "matrix", "nowhere"]).exit_code == 2
