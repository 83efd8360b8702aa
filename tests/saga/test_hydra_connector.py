"""The connector of Hydra, at a strict model of its admin API: paging, faults of every call, hostile answers."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from bridge.config.servers import AuthorizationServerSection
from bridge.connectors.hydra import HydraConnector
from bridge.errors import ConfigFault
from bridge.hydra import admin
from bridge.model.ended import Name, What
from bridge.model.step import Observed, Standing, Step
from tests.saga.hydra_model import Consent, HydraModel, hydra_model, on, slow

ISSUER = "https://as.example"
LOGIN, CONSENT, CLIENTS = "/admin/oauth2/auth/sessions/login", "/admin/oauth2/auth/sessions/consent", "/admin/clients"


def connector(model: HydraModel, **more: Any) -> HydraConnector:
    section = {"issuer": ISSUER, "kind": "hydra", "admin_url": model.url, "timeout_ms": 400, **more}
    return HydraConnector(AuthorizationServerSection(**section))


def name(what: What, *ids: str) -> Name:
    return Name(what, ISSUER, ids)


def delegation(client: str, subject: str, kind: str = "user", **more: Any) -> dict[str, Any]:
    return {"issuer": ISSUER, "client": client, "subject": {"type": kind, "id": subject}, **more}


def tree(*delegations: dict[str, Any]) -> dict[str, Any]:
    return {"delegations": list(delegations), "exchanged": []}


async def do(hydra: HydraConnector, ended: Name, *delegations: dict[str, Any]) -> list[Observed]:
    return [await hydra.do(step) for step in hydra.steps(ended, tree(*delegations))]


async def test_a_client_ends_after_its_users_consents() -> None:
    consents = [Consent(f"user-{n}", "app", f"c{n}") for n in range(3)] + [Consent("user-0", "other", "o")]
    async with hydra_model(clients=["app", "other"], consents=consents) as model:
        hydra = connector(model)
        own = delegation("app", "app", "client")
        steps = hydra.steps(name(What.CLIENT, "app"), tree(*(delegation("app", f"user-{n}") for n in range(3)), own))
        assert [step.kind for step in steps] == ["consent"] * 3 + ["client"]
        found = [await hydra.do(step) for step in steps]
        assert {one.standing for one in found} == {Standing.CONFIRMED}
        assert (model.clients, [one.challenge for one in model.consents]) == (["other"], ["o"])
        assert found[-1] == Observed(Standing.CONFIRMED, f"DELETE {CLIENTS}/{{id}}", {"status": 204, "there": False})
        again = await hydra.do(steps[-1])
        assert (again.standing, again.seen) == (Standing.CONFIRMED, {"status": 404, "there": False})
        # What is asked at another server is nothing of this one's.
        assert hydra.steps(Name(What.CLIENT, "https://other.example", ("app",)), tree()) == []


async def test_nothing_that_names_anybody_stands_in_what_was_asked_and_seen() -> None:
    async with hydra_model(clients=["app"], consents=[Consent("alice", "app", "c1", "s1")]) as model:
        hydra = connector(model)
        whole = delegation("app", "alice", grants=["c1"])
        for what, ids in (
            (What.SESSION, ("s1",)),
            (What.GRANT, ("c1",)),
            (What.DELEGATION, ("app", "alice")),
            (What.SUBJECT, ("alice",)),
            (What.CLIENT, ("app",)),
        ):
            for observed in await do(hydra, name(what, *ids), whole):
                text = json.dumps([observed.asked, dict(observed.seen)]).replace("/admin/", "")
                assert not any(
                    f"{quote}{one}{quote}" in text for one in ("app", "alice", "c1", "s1") for quote in '/?="'
                )
                assert all(isinstance(value, (int, bool)) for value in observed.seen.values())


async def test_every_page_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "PAGE", 3)
    consents = [Consent("alice", f"client-{n}", f"c{n}") for n in range(10)]
    async with hydra_model(clients=[f"client-{n}" for n in range(10)], consents=consents) as model:
        hydra = connector(model)
        assert await hydra.clients() == [f"client-{n}" for n in range(10)]
        # A deletion that does nothing is found out on the last page.
        model.fault = on("DELETE", CONSENT, lambda: web.Response(status=204))
        (observed,) = await do(hydra, name(What.DELEGATION, "client-9", "alice"))
        assert (observed.standing, observed.seen) == (Standing.FAILED, {"status": 204, "left": 1})
        (_, observed) = await do(hydra, name(What.SUBJECT, "alice"))
        assert (observed.standing, observed.seen) == (Standing.FAILED, {"status": 204, "left": 10})


async def test_consents_that_lie_behind_a_page_of_expired_ones_are_seen() -> None:
    """Of such a page Hydra shows nothing, and no number."""
    old = [Consent("alice", "other", f"old-{n}", expired=True) for n in range(admin.PAGE + 50)]
    mine = [Consent("alice", "app", "c1", "s1"), Consent("alice", "app", "c2", "s2")]
    async with hydra_model(consents=[*old, *mine]) as model:
        hydra = connector(model)
        (observed,) = await do(hydra, name(What.GRANT, "c1"), delegation("app", "alice"))
        assert (observed.standing, observed.seen) == (Standing.ACCEPTED, {"left": 1, "others": 1})
        assert model.consents[-2:] == mine
        model.fault = on("DELETE", CONSENT, lambda: web.Response(status=204))
        (observed,) = await do(hydra, name(What.DELEGATION, "app", "alice"))
        assert (observed.standing, observed.seen) == (Standing.FAILED, {"status": 204, "left": 2})


async def test_a_deletion_that_does_nothing_is_not_believed() -> None:
    async with hydra_model(clients=["app"], consents=[Consent("alice", "app", "c1", "s1")]) as model:
        hydra = connector(model)
        model.fault = on("DELETE", "/", lambda: web.Response(status=204))
        (observed,) = await do(hydra, name(What.CLIENT, "app"))
        assert (observed.standing, observed.seen) == (Standing.FAILED, {"status": 204, "there": True})
        (sessions, _) = await do(hydra, name(What.SUBJECT, "alice"))
        assert (sessions.standing, sessions.seen["left"]) == (Standing.FAILED, 1)


async def test_sessions_end_one_by_one_and_then_all_of_them() -> None:
    consents = [Consent("alice", "app", f"c{n}", f"s{n}") for n in range(3)]
    async with hydra_model(consents=consents, unremembered={"s1"}) as model:
        found = await do(connector(model), name(What.SUBJECT, "alice"))
        assert [one.standing for one in found] == [Standing.CONFIRMED, Standing.CONFIRMED]
        ended = [one.split("?")[1] for one in model.seen if one.startswith(f"DELETE {LOGIN}")]
        assert ended == ["sid=s0", "sid=s1", "sid=s2", "subject=alice"]
        # Relying parties are found by the consents: those must still be there when a session ends.
        assert max(n for n, one in enumerate(model.seen) if LOGIN in one) < model.seen.index(
            f"DELETE {CONSENT}?subject=alice&all=true"
        )


async def test_consents_of_others_are_left_alone() -> None:
    mine = [Consent("alice", "app", "c1", "s1"), Consent("alice", "app", "c2", "")]
    async with hydra_model(consents=[*mine, Consent("alice", "app", "c3", "s2")]) as model:
        hydra = connector(model)
        whole = delegation("app", "alice", grants=["c1", "c2"])
        (_, observed) = await do(hydra, name(What.SESSION, "s1"), whole)
        assert (observed.standing, observed.seen) == (Standing.ACCEPTED, {"left": 2, "others": 1})
        model.consents.pop()
        (sessions, observed) = await do(hydra, name(What.SESSION, "s1"), whole)
        assert (sessions.standing, observed.standing) == (Standing.CONFIRMED, Standing.CONFIRMED)
        assert model.consents == []


async def test_what_is_hidden_is_never_confirmed() -> None:
    async with hydra_model(clients=["app"]) as model:
        hydra = connector(model)
        found = await do(hydra, name(What.CLIENT, "app"), delegation("app", "(hidden)"))
        assert [one.standing for one in found] == [Standing.ACCEPTED, Standing.CONFIRMED]
        assert (found[0].asked, found[0].seen) == ("nothing", {"hidden": True})
        found = await do(hydra, name(What.SESSION, "s1"), delegation("app", "(hidden)", grants=["c1"]))
        assert [one.standing for one in found] == [Standing.ACCEPTED, Standing.ACCEPTED]
        assert not any("hidden" in one for one in model.seen)


STEPS = {
    "client": (What.CLIENT, ("app",), "client"),
    "consent": (What.DELEGATION, ("app", "alice"), "consent"),
    "consents": (What.SUBJECT, ("alice",), "consent"),
    "part": (What.SESSION, ("s1",), "consent"),
    "session": (What.SESSION, ("s1",), "sessions"),
    "sessions": (What.SUBJECT, ("alice",), "sessions"),
}
ANSWERS: dict[str, tuple[Callable[[], web.StreamResponse], str]] = {
    "500": (lambda: web.Response(status=500, text="boom"), "status 500"),
    "401": (lambda: web.json_response({"error": "who"}, status=401), "status 401"),
    "redirect": (lambda: web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}), "status 302"),
    "another 404": (lambda: web.Response(status=404, text="<html>"), "status 404"),
    "404 of a gateway": (lambda: web.json_response({"status": 404, "error": "Not Found"}, status=404), "status 404"),
    "404 of Keycloak": (
        lambda: web.json_response({"error": "Unable to find matching target resource method"}, status=404),
        "status 404",
    ),
    "huge": (lambda: web.Response(body=b"[" + b" " * admin.MAX_ANSWER_BYTES + b"]"), "too long"),
}
LOOKS = {
    "deep": lambda: web.Response(body=b"[" * 40 + b"]" * 40, headers={"X-Total-Count": "1"}),
    "no JSON": lambda: web.Response(body=b"<html>"),
    "an object": lambda: web.json_response({"items": []}),
    "no number": lambda: web.json_response([{"client_id": "app"}]),
    "of another": lambda: web.json_response([_consent_of("bob")], headers={"X-Total-Count": "1"}),
    "no words": lambda: web.json_response([{"consent_request": 1}], headers={"X-Total-Count": "1"}),
    "endless": lambda: web.json_response([], headers={"X-Total-Count": "999999999"}),
}


def _consent_of(subject: str) -> dict[str, Any]:
    return {"consent_request": {"subject": subject, "challenge": "c1", "client": {"client_id": "app"}}}


def _step(hydra: HydraConnector, which: str) -> Step:
    what, ids, kind = STEPS[which]
    steps = hydra.steps(name(what, *ids), tree(delegation("app", "alice", grants=["c1"])))
    (found,) = [step for step in steps if step.kind == kind]
    return found


@pytest.mark.parametrize("which", STEPS)
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_fault_of_any_call_is_failed_and_tried_again(which: str, answer: str, method: str) -> None:
    async with hydra_model(clients=["app"], consents=[Consent("alice", "app", "c1", "s1")]) as model:
        hydra = connector(model)
        step, (made, fault) = _step(hydra, which), ANSWERS[answer]
        model.fault = on(method, "/", made)
        observed = await hydra.do(step)
        assert (observed.standing, observed.seen) == (Standing.FAILED, {"fault": fault})
        model.fault = None
        assert (await hydra.do(step)).standing is not Standing.FAILED


@pytest.mark.parametrize("which", ["consent", "consents", "session", "sessions", "part"])
@pytest.mark.parametrize("answer", LOOKS)
async def test_a_list_that_is_none_confirms_nothing(which: str, answer: str) -> None:
    async with hydra_model(clients=["app"], consents=[Consent("alice", "app", "c1", "s1")]) as model:
        hydra = connector(model)
        model.fault = on("GET", CONSENT, LOOKS[answer])
        assert (await hydra.do(_step(hydra, which))).standing is Standing.FAILED


async def test_a_hydra_that_is_slow_or_gone_costs_no_more_than_its_time() -> None:
    async with hydra_model(clients=["app"], fault=slow) as model:
        hydra = connector(model, timeout_ms=50)
        step = _step(hydra, "client")
        assert (await hydra.do(step)).seen == {"fault": "timeout"}
        assert (await hydra.clients(), await hydra.has_client("app")) == (None, None)
    assert (await hydra.do(step)).seen == {"fault": "unreachable"}


async def test_a_client_that_another_is_shown_for_is_not_taken_for_it() -> None:
    async with hydra_model(clients=["app"]) as model:
        hydra = connector(model)
        model.fault = on("GET", f"{CLIENTS}/", lambda: web.json_response({"client_id": "other"}))
        assert await hydra.has_client("app") is None
        assert (await hydra.do(_step(hydra, "client"))).seen == {"fault": "status 200"}


async def test_one_that_is_spelt_otherwise_is_not_deleted() -> None:
    """MySQL and MariaDB pass over case."""
    consents = [Consent("Alice", "app", "c1", "s1")]
    async with hydra_model(clients=["App"], consents=consents, passes_over_case=True) as model:
        hydra = connector(model)
        for which in ("client", "consent", "consents"):
            assert (await hydra.do(_step(hydra, which))).standing is Standing.FAILED
        assert (model.clients, model.consents) == (["App"], consents)
        assert not any(one.startswith("DELETE") for one in model.seen)


@pytest.mark.parametrize(
    "listed",
    [
        [{"client_id": "a"}],
        [{"client_id": "a"}, {"client_id": 1}],
        [{"client_id": "a"}, {"client_id": "a"}],
        [{"client_id": "a"}, "b"],
        [{"client_id": "a"}, {"client_id": ""}],
    ],
    ids=["cut off", "a number", "twice", "a text", "empty"],
)
async def test_a_list_of_clients_that_is_not_whole_is_none(listed: list[Any]) -> None:
    async with hydra_model() as model:
        model.fault = on("GET", CLIENTS, lambda: web.json_response(listed, headers={"X-Total-Count": "2"}))
        assert await connector(model).clients() is None


async def test_no_clients_is_a_list_of_its_own() -> None:
    async with hydra_model() as model:
        assert await connector(model).clients() == []
        model.fault = on("GET", CLIENTS, lambda: web.json_response([]))
        assert await connector(model).clients() is None


@pytest.mark.parametrize(
    ("more", "shown"),
    [({}, ("Authorization", "Bearer let me in")), ({"admin_header": "X-Key"}, ("X-Key", "let me in"))],
)
async def test_a_gateway_sees_its_token(tmp_path: Any, more: dict[str, str], shown: tuple[str, str]) -> None:
    (tmp_path / "token").write_text("let me in\n")
    async with hydra_model(clients=["app"]) as model:
        assert await connector(model, admin_token_file=str(tmp_path / "token"), **more).has_client("app")
        assert shown in model.headers[0].items()


def test_a_token_that_cannot_be_read_is_told_at_the_start(tmp_path: Any) -> None:
    section = AuthorizationServerSection(
        issuer=ISSUER, kind="hydra", admin_url="https://h.example", admin_token_file=str(tmp_path / "none")
    )
    with pytest.raises(ConfigFault, match=r"servers\.admin_token_file .*none cannot be read"):
        HydraConnector(section)
