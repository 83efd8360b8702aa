"""Pages of a search: whole together, and a token is good for its own search only."""

import base64
import string
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.doors.authzen.pages import Pages
from bridge.errors import MalformedRequest
from bridge.model.search import Page, Search, read_search
from tests.support.bridge import LocalBridge, caller, local_bridge
from tests.support.policies import write_policies

from .searching import searched, searches

KEY = b"k" * 32
NUMBERED = """
resources contains {"type": "file", "id": sprintf("f-%02d", [n])} if some n in numbers.range(1, data.files)
"""
BODY: dict[str, Any] = {
    "subject": {"type": "user", "id": "nina", "properties": {"level": 1}},
    "action": {"name": "open"},
    "resource": {"type": "file"},
    "context": {"hour": 9},
}
NAMES = [f"f-{n:02}" for n in range(1, 8)]


def policies_of(folder: Path, files: int) -> Path:
    policies = {"issuance.gate": "allow := true", 'authzen.resource["file"]': NUMBERED}
    return write_policies(folder, policies, {"files": files})


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[LocalBridge]:
    callers = [caller("one"), caller("two")]
    policies = policies_of(tmp_path / "rego", 7)
    async with local_bridge(tmp_path, policies, callers=callers, authzen={"max_results": 5}) as bridge:
        yield bridge


async def asked(bridge: LocalBridge, status: int = 200, *, by: str = "one", **more: Any) -> Any:
    return await searched(bridge, "resource", {**BODY, **more}, caller=by, status=status)


def ids(reply: Any) -> list[str]:
    return [one["id"] for one in reply["results"]]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7, 100, 0, None])
async def test_pages_are_the_whole_together(bridge: LocalBridge, limit: int | None) -> None:
    page: dict[str, Any] = {} if limit is None else {"limit": limit}
    reply, found = await asked(bridge, page=page), list[str]()
    size = min(limit or 5, 5)
    while True:
        found += ids(reply)
        assert reply["page"]["count"] == len(reply["results"])
        assert reply["page"]["total"] == 7
        if not reply["page"]["next_token"]:
            break
        assert len(reply["results"]) == size
        reply = await asked(bridge, page={**page, "token": reply["page"]["next_token"]})
    assert found == NAMES


async def test_without_a_page_what_is_beyond_the_bound_follows_all_the_same(bridge: LocalBridge) -> None:
    first = await asked(bridge)
    assert (ids(first), first["page"]["count"]) == (NAMES[:5], 5)
    last = await asked(bridge, page={"token": first["page"]["next_token"]})
    assert (ids(last), last["page"]["next_token"]) == (NAMES[5:], "")
    assert [entry["request"].get("page") for entry in searches(bridge)] == [None, {"limit": 0, "follows": True}]


async def test_a_limit_may_be_left_out_later_and_not_changed(bridge: LocalBridge) -> None:
    token = (await asked(bridge, page={"limit": 2}))["page"]["next_token"]
    for page in ({"limit": 2}, {}, {"limit": 0}, {"limit": None}):
        assert ids(await asked(bridge, page={**page, "token": token})) == NAMES[2:4]
    for limit in (1, 3, 5, 2**70):
        assert "limit" in (await asked(bridge, 400, page={"limit": limit, "token": token}))["error"]


@pytest.mark.parametrize(
    "changed",
    [
        {"subject": {"type": "user", "id": "olga", "properties": {"level": 1}}},
        {"subject": {"type": "user", "id": "nina", "properties": {"level": True}}},
        {"subject": {"type": "user", "id": "nina"}},
        {"action": {"name": "close"}},
        {"resource": {"type": "file", "properties": {"a": 1}}},
        {"context": {"hour": 10}},
        {"context": {"hour": 9.0}},
        {"context": None},
    ],
)
async def test_a_changed_entity_is_a_400(bridge: LocalBridge, changed: dict[str, Any]) -> None:
    token = (await asked(bridge, page={"limit": 2}))["page"]["next_token"]
    reply = await asked(bridge, 400, page={"token": token}, **changed)
    assert reply == {"error": "page.token is not a next_token of this search"}


async def test_another_callers_token_is_a_400(bridge: LocalBridge) -> None:
    token = (await asked(bridge, page={"limit": 2}))["page"]["next_token"]
    await asked(bridge, 400, by="two", page={"token": token})
    await asked(bridge, page={"token": token})


async def test_a_token_outlives_a_restart_and_a_changed_set(tmp_path: Path) -> None:
    async with local_bridge(tmp_path, policies_of(tmp_path / "rego", 4)) as bridge:
        token = (await searched(bridge, "resource", {**BODY, "page": {"limit": 2}}))["page"]["next_token"]
    async with local_bridge(tmp_path, policies_of(tmp_path / "rego", 3)) as bridge:
        assert ids(await searched(bridge, "resource", {**BODY, "page": {"token": token}})) == ["f-03"]


FOUND = [{"type": "file", "id": name} for name in NAMES]
CHARACTERS = string.ascii_letters + string.digits + "-_.=+/ é"


def search(**page: Any) -> Search:
    return read_search({**BODY, "page": page}, "resource")


def token_of(key: bytes = KEY, who: str = "one", **page: Any) -> str:
    pages, asked = Pages(key, 5), search(**page)
    cut = pages.cut(who, asked)
    return pages.token(who, asked, cut, cut(FOUND)[-1])


@given(at=st.integers(0, 200), character=st.sampled_from(CHARACTERS))
def test_any_other_text_is_refused(at: int, character: str) -> None:
    token = token_of(limit=2)
    at %= len(token)
    changed = token[:at] + character + token[at + 1 :]
    if changed == token:
        assert Pages(KEY, 5).cut("one", search(token=token)).after == "f-02"
        return
    with pytest.raises(MalformedRequest):
        Pages(KEY, 5).cut("one", search(token=changed))


@given(st.text(min_size=1) | st.binary(min_size=1).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_what_we_did_not_sign_is_refused(text: str) -> None:
    for token in (text, text + ".", "." + text, token_of() + text, text + token_of(), token_of()[: -len(text)]):
        if token:
            with pytest.raises(MalformedRequest):
                Pages(KEY, 5).cut("one", search(token=token))


def test_another_key_caller_kind_or_member_is_refused() -> None:
    token = token_of(limit=2)
    pages, page = Pages(KEY, 5), Page(token=token)
    assert pages.cut("one", search(token=token)).size == 2
    others = [
        ("two", search(token=token)),
        *(
            (
                "one",
                read_search(
                    {**BODY, name: {**BODY[name], "properties": {"x": 1}}, "page": {"token": token}}, "resource"
                ),
            )
            for name in ("subject", "action", "resource")
        ),
        ("one", Search("subject", search().tuple, page)),
    ]
    for who, other in others:
        with pytest.raises(MalformedRequest):
            pages.cut(who, other)
    with pytest.raises(MalformedRequest):
        Pages(b"x" * 32, 5).cut("one", search(token=token))


@given(st.lists(st.text(), unique=True), st.integers(1, 9), st.integers(1, 9))
def test_pages_of_any_names_are_the_whole_in_order(names: list[str], limit: int, most: int) -> None:
    found = [{"type": "file", "id": name} for name in sorted(names)]
    pages, told, token = Pages(KEY, most), list[Any](), None
    for _ in range(len(found) + 1):
        asked = search(limit=limit, token=token)
        cut = pages.cut("one", asked)
        page = cut(found)
        assert len(page) <= min(limit, most)
        told += page
        if not cut.leaves(found):
            break
        token = pages.token("one", asked, cut, page[-1])
    assert told == found
