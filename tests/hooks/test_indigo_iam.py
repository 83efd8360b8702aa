"""INDIGO IAM's callout: scopes are filtered, and an empty list is never a denial."""

import asyncio
from typing import Any

import pytest

from bridge.config.hooks import IndigoIamSection
from bridge.doors.hooks.indigo_iam import PATH, IndigoIam
from bridge.errors import MalformedRequest
from bridge.model.decision import Code
from tests.hooks.deciding import SCOPES, answer, wish_of
from tests.hooks.products import said

HOOK = IndigoIam(IndigoIamSection(grant_type="authorization_code", client_grant_type="client_credentials"))
USER = {"id": "73f16d93", "groups": ["Analysis"]}
YES = {"allow": True}
ALL_YES = dict.fromkeys(SCOPES, YES)


def body_of(*scopes: str, **members: Any) -> dict[str, Any]:
    return {"user": USER, "client": {"id": "c"}, "scopes": list(scopes), **members}


def filtered(body: dict[str, Any], gate: Any = YES, packages: Any = None, hook: IndigoIam = HOOK) -> list[str] | None:
    *_, response = answer(hook, body, gate, packages or ALL_YES)
    if response.status != 200:
        assert (response.status, said(response)) == (403, {"error": "access_denied"})
        return None
    assert said(response).keys() == {"filtered_scopes"}
    found: list[str] = said(response)["filtered_scopes"]
    return found


def test_scopes_are_filtered_and_none_left_is_an_error() -> None:
    no = {"allow": False}
    assert filtered(body_of("a", "b")) == ["a", "b"]
    assert filtered(body_of("a", "b"), packages={"a": no, "b": YES}) == ["b"]
    assert filtered(body_of("a", "b"), packages={"a": no, "b": no}) is None
    assert filtered(body_of("a"), {"allow": False}) is None
    assert filtered(body_of("a", "b"), packages={"a": YES, "b": {"allow": True, "require": ["consent"]}}) == ["a"]
    assert filtered(body_of("a"), packages={"a": {"allow": True, "require": ["consent"]}}) is None
    assert filtered(body_of()) == []  # nothing was asked for
    assert filtered(body_of(), {"allow": False}) is None


@pytest.mark.parametrize(
    "gate",
    [
        {"allow": True, "limit": {"token_lifetime": 600}},
        {"allow": True, "limit": {"audience": ["https://r1"]}},
        {"allow": True, "claims": {"tier": "gold"}},
    ],
)
def test_what_it_cannot_say_is_a_denial_unless_it_is_so_anyway(gate: dict[str, Any]) -> None:
    assert filtered(body_of("a"), gate) is None
    fixed = IndigoIam(IndigoIamSection(grant_type="authorization_code", token_lifetime=600, audience=("https://r1",)))
    assert filtered(body_of("a"), gate, hook=fixed) == (None if "claims" in gate else ["a"])


def test_no_grant_type_is_sent_so_it_is_configured_or_nothing_is_granted() -> None:
    bare = IndigoIam(IndigoIamSection())
    for body in (body_of("a"), body_of("a", user=None)):
        wish, _ = wish_of(bare, body)
        assert wish.refused == Code.NOT_SHOWN
        assert filtered(body, hook=bare) is None
    wish, document = wish_of(HOOK, body_of("a"))
    assert (wish.refused, document["grant_type"]) == (None, "authorization_code")
    assert document["subject"] == {"type": "user", "id": "73f16d93", "properties": {"groups": ["Analysis"]}}
    wish, document = wish_of(HOOK, {"client": {"id": "c"}, "scopes": []})
    assert (wish.refused, document["grant_type"]) == (None, "client_credentials")
    assert document["subject"] == {"type": "client", "id": "c"}
    wish, _ = wish_of(IndigoIam(IndigoIamSection(grant_type="authorization_code")), body_of("a", user=None))
    assert wish.refused == Code.NOT_SHOWN


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"input": body_of("a")},
        body_of("a", client=None),
        body_of("a", client={"id": 7}),
        body_of("a", scopes="a"),
        body_of("a", scopes=["a", 7]),
        body_of("a", user="alice"),
        body_of("a", user={"groups": []}),
        body_of("a", user={}),
    ],
)
def test_another_body_is_malformed(body: dict[str, Any]) -> None:
    with pytest.raises(MalformedRequest):
        asyncio.run(HOOK.read(body, PATH))
