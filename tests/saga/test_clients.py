"""Lists of clients are compared with the log: what is new is noted, what is gone ends, and a bad list ends nobody."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bridge.audit.delegations import clients_of
from bridge.config.servers import AuthorizationServerSection
from bridge.connectors.hydra import HydraConnector
from bridge.evidence.keys import token_digest
from bridge.saga.clients import REASON, Clients
from tests.lifecycle.test_order import POLICIES
from tests.saga.hydra_model import HydraModel, hydra_model, on
from tests.support.bridge import LocalBridge, local_bridge
from tests.support.policies import write_policies
from tests.support.waiting import until

ISSUER = "local"
CLIENTS = "/admin/clients"


@contextlib.asynccontextmanager
async def listing_bridge(folder: Path, model: HydraModel) -> AsyncIterator[tuple[LocalBridge, Clients]]:
    """A bridge, and its look at the list of clients, which the test calls."""
    server: dict[str, Any] = {"issuer": ISSUER, "kind": "hydra", "admin_url": model.url, "list_clients_s": 0}
    if not (folder / "rego").exists():
        write_policies(folder / "rego", POLICIES)
    async with local_bridge(folder, folder / "rego", servers=[server]) as bridge:
        digest, connector = token_digest(bridge.evidence), HydraConnector(AuthorizationServerSection(**server))
        inside = bridge.bridge
        assert inside.settling.listings == []

        def known(issuer: str) -> dict[str, bool]:
            return clients_of(bridge.evidence, issuer, lambda name: name.digest(digest))

        yield bridge, Clients(connector, 1, known, inside.journal, inside.lifecycle)


def noted(bridge: LocalBridge) -> list[list[str]]:
    return [[one["id"] for one in entry["clients"]] for entry in bridge.entries() if entry["kind"] == "clients"]


def ended(bridge: LocalBridge) -> list[str]:
    return [
        entry["request"]["client"]["id"]
        for entry in bridge.entries()
        if entry["kind"] == "revocation" and entry["effect"] == "ended"
    ]


def only(client: str, total: int) -> web.Response:
    return web.json_response([{"client_id": client}], headers={"X-Total-Count": str(total)})


async def twice(listing: Clients) -> None:
    await listing.look()
    await listing.look()


async def settled(bridge: LocalBridge, count: int) -> None:
    async def look() -> bool:
        return len([one for one in bridge.entries() if one.get("effect") == "settled"]) >= count

    await until(look)


async def test_what_is_new_is_noted_and_what_is_gone_ends_over_restarts(tmp_path: Path) -> None:
    async with hydra_model(clients=["a", "b", "c"]) as model:
        async with listing_bridge(tmp_path, model) as (bridge, listing):
            await listing.look()
            await listing.look()
            assert noted(bridge) == [["a", "b", "c"]]
            (entry,) = [one for one in bridge.entries() if one["kind"] == "clients"]
            assert (entry["door"], entry["caller"], entry["request"]) == ("saga", "hydra", {"issuer": ISSUER})
            assert (entry["part"], entry["parts"]) == (1, 1)
        model.clients = ["b", "c", "d"]
        async with listing_bridge(tmp_path, model) as (bridge, listing):
            await listing.look()
            assert ended(bridge) == []
            await listing.look()
            assert (noted(bridge), ended(bridge)) == ([["a", "b", "c"], ["d"]], ["a"])
            entry = next(one for one in bridge.entries() if one["kind"] == "revocation")
            assert (entry["door"], entry["caller"], entry["reason"]) == ("saga", "hydra", REASON)
            wish = {"grant_type": "client_credentials", "client": {"id": "a"}, "scopes": ["read"]}
            assert (await bridge.ask(wish))["outcome"] == "deny"
            # The saga completes it: what is gone is confirmed to be gone.
            await settled(bridge, 1)
            assert [one["standing"] for one in bridge.entries() if one.get("effect") == "settled"] == ["confirmed"]
            await listing.look()
            assert ended(bridge) == ["a"]
            # One that is listed again after its ending began anew for nobody: an operator says so.
            model.clients.append("a")
            await listing.look()
            assert (await bridge.ask(wish))["outcome"] == "deny"
            assert noted(bridge) == [["a", "b", "c"], ["d"]]
            assert listing.trouble is None


async def test_one_that_was_granted_something_is_known_without_any_list(tmp_path: Path) -> None:
    async with hydra_model(clients=["stays"]) as model, listing_bridge(tmp_path, model) as (bridge, listing):
        for client in ("stays", "gone"):
            await bridge.ask({"grant_type": "client_credentials", "client": {"id": client}, "scopes": ["read"]})
        await twice(listing)
        assert (noted(bridge), ended(bridge)) == ([], ["gone"])
        begun = {"what": "client", "issuer": ISSUER, "client": "gone", "reason": "made anew"}
        async with bridge.session.post("/v1/lifecycle/reinstate", json=begun) as reply:
            assert reply.status == 200
        model.clients.append("gone")
        await listing.look()
        model.clients.remove("gone")
        await twice(listing)
        assert ended(bridge) == ["gone", "gone"]


async def test_one_that_is_there_when_it_is_asked_for_does_not_end(tmp_path: Path) -> None:
    """The pages of a list move while it is read."""
    async with hydra_model(clients=["a", "b"]) as model, listing_bridge(tmp_path, model) as (bridge, listing):
        await listing.look()

        async def fault(request: web.Request) -> web.StreamResponse | None:
            return only("a", 1) if request.path == CLIENTS else None

        model.fault = fault
        await twice(listing)
        assert ended(bridge) == []

        # What does not answer is not gone, either.
        async def worse(request: web.Request) -> web.StreamResponse | None:
            return only("a", 1) if request.path == CLIENTS else web.Response(status=404, text="no such route")

        model.fault = worse
        await twice(listing)
        assert ended(bridge) == []


async def test_a_bad_list_ends_nobody_and_is_told(tmp_path: Path) -> None:
    many = [f"c{n:03}" for n in range(300)]
    async with hydra_model(clients=many) as model, listing_bridge(tmp_path, model) as (bridge, listing):
        await listing.look()

        async def second_page(request: web.Request) -> web.StreamResponse | None:
            return web.Response(status=500) if "page_token" in request.query else None

        def cut() -> web.Response:
            return only("c000", 300)

        broken = on("GET", CLIENTS, lambda: web.Response(body=b"[{"))
        for fault in (second_page, on("GET", CLIENTS, cut), broken):
            model.fault = fault
            await listing.look()
            assert listing.trouble == "its list of clients is not there, not whole or not understood"
        model.fault, whole = None, model.clients
        for left, told in ((whole[31:], "31 of 300"), ([], "300 of 300"), (["other"], "300 of 300")):
            model.clients = list(left)
            await twice(listing)
            assert listing.trouble == f"{told} clients are gone at once: nobody ends by that"
        model.clients = whole[30:]
        await twice(listing)
        assert (ended(bridge), listing.trouble) == (whole[:30], None)


@pytest.mark.parametrize(("left", "told"), [(["x"], "4 of 4"), (["a"], "3 of 4")])
async def test_a_few_clients_that_are_nearly_all_gone_are_another_database(
    tmp_path: Path, left: list[str], told: str
) -> None:
    async with hydra_model(clients=["a", "b", "c", "d"]) as model, listing_bridge(tmp_path, model) as (bridge, listing):
        await listing.look()
        model.clients = left
        await twice(listing)
        assert (ended(bridge), noted(bridge)) == ([], [["a", "b", "c", "d"]])
        assert listing.trouble == f"{told} clients are gone at once: nobody ends by that"


async def test_one_that_is_deleted_and_made_anew_between_two_looks_is_left_alone(tmp_path: Path) -> None:
    """As tools do that change what cannot be changed in its place."""
    async with hydra_model(clients=["a", "b"]) as model, listing_bridge(tmp_path, model) as (bridge, listing):
        await listing.look()
        for _ in range(2):
            model.clients = ["b"]
            await listing.look()
            model.clients = ["a", "b"]
            await listing.look()
        assert (ended(bridge), model.clients) == ([], ["a", "b"])
        # A list that is none tells nothing: the next one counts as the one after.
        model.clients = ["b"]
        await listing.look()
        model.fault = on("GET", CLIENTS, lambda: web.Response(status=500))
        await listing.look()
        assert ended(bridge) == []
        model.fault = None
        await listing.look()
        assert ended(bridge) == ["a"]


async def test_the_bridge_lists_by_itself_and_warns(tmp_path: Path) -> None:
    write_policies(tmp_path / "rego", POLICIES)
    async with hydra_model(clients=["a", "b"]) as model:
        server = {"issuer": ISSUER, "kind": "hydra", "admin_url": model.url, "list_clients_s": 1}
        async with local_bridge(tmp_path, tmp_path / "rego", servers=[server]) as bridge:

            async def is_noted() -> bool:
                return noted(bridge) == [["a", "b"]]

            async def warnings() -> list[str]:
                return bridge.bridge.warnings()

            await until(is_noted)
            model.clients = []
            assert await until(warnings) == [
                f"clients of {ISSUER}: 2 of 2 clients are gone at once: nobody ends by that"
            ]


async def test_what_entries_must_not_show_is_not_listed(tmp_path: Path) -> None:
    write_policies(tmp_path / "rego", POLICIES)
    server = {"issuer": ISSUER, "kind": "hydra", "admin_url": "http://127.0.0.1:1"}
    hidden = {"path": str(tmp_path / "evidence"), "personal": ["/client/id"]}
    async with local_bridge(tmp_path, tmp_path / "rego", servers=[server], evidence=hidden) as bridge:
        assert bridge.bridge.settling.listings == []
