"""However a request, or the token that it shows, spells what ended: it is what ended. And old is not made young."""

from typing import Any

import pytest

from bridge.model.ended import UNKNOWN, Name, What, begun, names_in

ISSUER = "https://as.example"
NOW_S = 1_800_000_000


def exchange(token: dict[str, Any] | None = None, **members: Any) -> dict[str, Any]:
    asked = {
        "grant_type": "token_exchange",
        "client": {"id": "gateway"},
        "subject": {"type": "user", "id": "alice"},
        **members,
    }
    return asked if token is None else {**asked, "subject_token": token}


def named(request: dict[str, Any], what: What, *ids: str, issuer: str = ISSUER) -> bool:
    return Name(what, issuer, ids) in names_in(request, issuer)


def test_both_claims_that_name_a_tokens_client_count() -> None:
    asked = exchange({"sub": "alice", "client_id": "a", "azp": "b", "act": {"sub": "x", "azp": "c", "client_id": "c"}})
    assert [named(asked, What.CLIENT, one) for one in "abcd"] == [True, True, True, False]
    assert [named(asked, What.DELEGATION, one, "alice") for one in "abcd"] == [True, True, True, False]


def test_who_acts_needs_the_delegation_of_whom_the_token_is_about() -> None:
    chain = {"sub": "alice", "act": {"sub": "app", "act": {"sub": "first", "client_id": "first-client"}}}
    asked = exchange(chain, subject={"type": "user", "id": "mapped"}, actor={"type": "client", "id": "worker"})
    for client in ("app", "first", "first-client", "gateway", "worker"):
        assert named(asked, What.DELEGATION, client, "alice"), client
    assert named(asked, What.DELEGATION, "worker", "mapped")
    assert not named(asked, What.DELEGATION, "app", "mapped")
    assert not named(asked, What.DELEGATION, "alice", "alice")


def test_a_client_that_a_server_calls_a_user_counts() -> None:
    """There are servers that send one type of subject for all, and no client beside it."""
    alone = {"grant_type": "client_credentials", "subject": {"type": "user", "id": "app"}}
    assert named(alone, What.CLIENT, "app")
    assert not named({**alone, "grant_type": "authorization_code"}, What.CLIENT, "app")


def test_ids_that_are_numbers_in_a_token_count_by_their_digits() -> None:
    asked = exchange({"sub": 17, "client_id": 18, "sid": 19, "act": {"sub": 20}})
    assert named(asked, What.SUBJECT, "17")
    assert named(asked, What.DELEGATION, "18", "17")
    assert named(asked, What.SESSION, "19")
    assert named(asked, What.CLIENT, "20")
    assert not named(exchange({"sub": True}), What.SUBJECT, "True")


@pytest.mark.parametrize("said", ["https://as.example/", "HTTPS://AS.Example"])
def test_an_issuer_that_a_token_spells_in_another_way_is_ours(said: str) -> None:
    asked = exchange({"sub": "bob", "sid": "s", "iss": said})
    assert named(asked, What.SUBJECT, "bob")
    assert Name(What.SESSION, said, ("s",)) in names_in(asked, ISSUER)
    assert not named({**asked, "subject_token": {"sub": "bob", "iss": "https://as.example/b"}}, What.SUBJECT, "bob")


def test_a_client_that_asserts_for_itself_counts() -> None:
    asked = exchange({"iss": "app", "sub": "alice"}, grant_type="jwt_bearer", client={"id": "another"})
    assert named(asked, What.CLIENT, "app")


@pytest.mark.parametrize("made_up", [NOW_S + 61, NOW_S * 1000, 1e300, 10**400])
def test_a_beginning_after_now_is_none(made_up: float) -> None:
    token = exchange({"iat": made_up})
    grant = {"grant_type": "refresh_token", "grant": {"started": made_up}}
    session = {"grant_type": "authorization_code", "authentication": {"auth_time": made_up}}
    for asked in (token, grant, session, {**grant, "grant": {}, **session, "grant_type": "refresh_token"}):
        assert begun(asked, What.SUBJECT, NOW_S * 1000) == UNKNOWN


def test_what_is_a_little_ahead_of_our_clock_is_young() -> None:
    assert begun(exchange({"iat": NOW_S + 59}), What.CLIENT, NOW_S * 1000) == (NOW_S + 59) * 1000


@pytest.mark.parametrize(
    "grant_type",
    ["refresh_token", "token_exchange", "jwt_bearer", "urn:ietf:params:oauth:grant-type:token-exchange", "refresh"],
)
def test_a_grant_that_hangs_on_something_that_is_not_shown_counts_as_older(grant_type: str) -> None:
    assert begun(exchange(grant_type=grant_type), What.CLIENT, NOW_S * 1000) == UNKNOWN
    assert begun(exchange(grant_type="authorization_code"), What.CLIENT, NOW_S * 1000) is None
