"""The connector against an unmodified Hydra 2.3.0: what it says is confirmed is so, and others are left alone.

The tests own the tokens, and try them; the connector never sees one.
"""

import asyncio

import pytest

from bridge.config.servers import AuthorizationServerSection
from bridge.connectors.hydra import HydraConnector
from bridge.model.ended import Name, What
from bridge.model.step import Observed, Standing, Step
from tests.lifecycle.real_servers import World, session_of
from tests.support.waiting import wait_until

CONFIRMED, ACCEPTED = Standing.CONFIRMED, Standing.ACCEPTED
LIVE, DEAD = (True, True), (False, False)


def connector(world: World) -> HydraConnector:
    admin = f"http://127.0.0.1:{world.hydra.ports.admin}"
    return HydraConnector(AuthorizationServerSection(issuer=world.issuer, kind="hydra", admin_url=admin))


def done(world: World, name: Name) -> list[tuple[Step, Observed]]:
    """All that follows the ending of `name`, one after the other; then the same again, which does no harm."""

    async def all_of_it() -> list[tuple[Step, Observed]]:
        hydra = connector(world)
        return [(step, await hydra.do(step)) for step in hydra.steps(name, world.tree(name))]

    first, again = asyncio.run(all_of_it()), asyncio.run(all_of_it())
    assert [step for step, _ in first] == [step for step, _ in again]
    assert {CONFIRMED, ACCEPTED} >= {observed.standing for _, observed in again}
    return first


def standings(found: list[tuple[Step, Observed]]) -> list[tuple[str, Standing]]:
    return [(step.kind, observed.standing) for step, observed in found]


def test_a_client_ends_for_all_its_users_and_no_other_does(world: World) -> None:
    world.client("gone", "stays")
    mine = [world.delegate("gone", user) for user in ("alice", "bob")]
    other = world.delegate("stays", "alice")
    assert [world.lives("gone", one) for one in mine] == [LIVE, LIVE]
    found = done(world, world.name(What.CLIENT, "gone"))
    assert standings(found) == [("consent", CONFIRMED), ("consent", CONFIRMED), ("client", CONFIRMED)]
    assert {step.name.ids for step, _ in found[:2]} == {("gone", "alice"), ("gone", "bob")}
    assert [world.lives("gone", one) for one in mine] == [DEAD, DEAD]
    assert world.hydra.admin.get("/admin/clients/gone").status_code == 404
    assert world.lives("stays", other) == LIVE
    # Hydra tells relying parties of sessions alone: who must be told of a client's end is told by us.
    assert (world.parties.of("gone"), world.parties.of("stays")) == ([], [])


def test_a_delegation_ends_and_the_users_others_do_not(world: World) -> None:
    world.client("shop", "bank")
    mine, other, of_another = (world.delegate(*who) for who in (("shop", "carol"), ("bank", "carol"), ("shop", "dan")))
    found = done(world, world.name(What.DELEGATION, "shop", "carol"))
    assert standings(found) == [("consent", CONFIRMED)]
    assert found[0][1].seen == {"status": 204, "left": 0}
    assert (world.lives("shop", mine), world.lives("bank", other), world.lives("shop", of_another)) == (
        DEAD,
        LIVE,
        LIVE,
    )


def test_a_subject_ends_everywhere_and_relying_parties_are_told(world: World) -> None:
    world.client("mail", "news")
    mine = [world.delegate("mail", "erin"), world.delegate("news", "erin", remember=False)]
    other = world.delegate("mail", "frank")
    found = done(world, world.name(What.SUBJECT, "erin"))
    assert standings(found) == [("sessions", CONFIRMED), ("consent", CONFIRMED)]
    assert found[0][1].seen == {"sessions": 2, "status": 204, "left": 0}
    assert [world.lives(client, one) for client, one in zip(("mail", "news"), mine, strict=True)] == [DEAD, DEAD]
    assert world.lives("mail", other) == LIVE
    wait_until(lambda: world.parties.of("mail"), 10)
    assert [told["sid"] for told in world.parties.of("mail")] == [session_of(mine[0])]
    assert world.parties.of("news") == []  # Hydra tells of no session that was not remembered


def test_a_session_ends_with_its_tokens_and_another_one_of_the_user_does_not(world: World) -> None:
    world.client("tv", "phone")
    mine, other = world.delegate("tv", "gina"), world.delegate("phone", "gina")
    found = done(world, world.name(What.SESSION, session_of(mine)))
    assert standings(found) == [("sessions", CONFIRMED), ("consent", CONFIRMED)]
    assert (world.lives("tv", mine), world.lives("phone", other)) == (DEAD, LIVE)
    wait_until(lambda: world.parties.of("tv"), 10)
    assert (len(world.parties.of("tv")), world.parties.of("phone")) == (1, [])


@pytest.mark.parametrize("what", [What.SESSION, What.GRANT])
def test_what_hydra_cannot_end_alone_is_left_and_said_to_be(world: World, what: What) -> None:
    """The user let the same client act twice: Hydra can only take back both."""
    client, user = f"twice-{what}", f"harry-{what}"
    world.client(client)
    mine, other = world.delegate(client, user), world.delegate(client, user)
    if what is What.SESSION:
        name = world.name(what, session_of(mine))
    else:
        grants = [entry["request"]["grant"]["id"] for entry in world.bridge.entries() if _is_of(entry, user)]
        name = world.name(what, grants[0])
    step, observed = done(world, name)[-1]
    assert (step.kind, observed.standing, observed.seen) == ("consent", ACCEPTED, {"left": 1, "others": 1})
    assert (world.lives(client, mine), world.lives(client, other)) == (LIVE, LIVE)


def test_a_grant_ends(world: World) -> None:
    world.client("once")
    mine = world.delegate("once", "ivy")
    (grant,) = {entry["request"]["grant"]["id"] for entry in world.bridge.entries() if _is_of(entry, "ivy")}
    assert standings(done(world, world.name(What.GRANT, grant))) == [("consent", CONFIRMED)]
    assert world.lives("once", mine) == DEAD


def test_a_session_that_was_not_remembered_is_no_more_than_accepted(world: World) -> None:
    world.client("kiosk")
    mine = world.delegate("kiosk", "jack", remember=False)
    found = done(world, world.name(What.SESSION, session_of(mine)))
    assert standings(found) == [("sessions", ACCEPTED), ("consent", CONFIRMED)]
    assert found[0][1].seen == {"status": 204, "left": 1}
    assert world.lives("kiosk", mine) == DEAD


@pytest.mark.parametrize("client", ["with a blank", "ümläut", "what?#%2F&", "a/b", "..", "."])
def test_ids_that_are_no_plain_words(world: World, client: str) -> None:
    hydra = connector(world)
    world.hydra.admin.post("/admin/clients", json={"client_id": client}).raise_for_status()
    assert asyncio.run(hydra.has_client(client)) is True
    assert client in (asyncio.run(hydra.clients()) or [])
    observed = asyncio.run(hydra.do(Step("client", world.name(What.CLIENT, client))))
    reachable = "/" not in client and client not in ("..", ".")
    assert observed.standing is (CONFIRMED if reachable else Standing.FAILED)
    assert asyncio.run(hydra.has_client(client)) is not reachable


def test_all_clients_are_listed(world: World) -> None:
    for number in range(7):
        world.hydra.admin.post("/admin/clients", json={"client_id": f"many-{number}"}).raise_for_status()
    listed = asyncio.run(connector(world).clients())
    assert listed is not None and {f"many-{number}" for number in range(7)} < set(listed)


def _is_of(entry: dict[str, object], user: str) -> bool:
    request = entry.get("request")
    return entry["kind"] == "decision" and isinstance(request, dict) and request["subject"]["id"] == user
