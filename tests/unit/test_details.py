"""Rich authorization requests: what comes back must lie inside ONE entry that was asked for (RFC 9396)."""

from typing import Any

import pytest

from bridge.pdp.details import covered, typed, union

ASKED: list[dict[str, Any]] = [
    {"type": "pay", "actions": ["read", "write"], "amount": {"currency": "EUR", "value": 10}, "instant": True},
    {"type": "acc", "locations": ["https://x", "https://y"], "datatypes": []},
]


@pytest.mark.parametrize(
    "returned",
    [
        ASKED[0],
        {**ASKED[0], "actions": ["write"]},
        {**ASKED[0], "actions": ["write", "read"]},
        {**ASKED[0], "amount": {"value": 10, "currency": "EUR"}},
        {**ASKED[1], "locations": ["https://y"]},
    ],
)
def test_entry_inside_one_asked_for_is_covered(returned: dict[str, Any]) -> None:
    assert covered(returned, ASKED)


@pytest.mark.parametrize(
    "returned",
    [
        {"type": "pay"},
        {},
        {**ASKED[0], "type": "acc"},
        {**ASKED[0], "type": ["pay"]},
        {**ASKED[0], "actions": ["read", "delete"]},
        {**ASKED[0], "actions": []},
        {**ASKED[0], "actions": "read"},
        {**ASKED[0], "actions": None},
        {**ASKED[0], "amount": {"currency": "EUR", "value": 9}},
        {**ASKED[0], "amount": {"currency": "EUR", "value": 10.0}},
        {**ASKED[0], "amount": {"currency": "EUR"}},
        {**ASKED[0], "instant": 1},
        {**ASKED[0], "more": 1},
        {k: v for k, v in ASKED[0].items() if k != "amount"},
        {**ASKED[1], "datatypes": ["balances"]},
        {**ASKED[1], "datatypes": None},
        {**ASKED[1], **ASKED[0]},
    ],
)
def test_anything_broader_or_other_is_not(returned: dict[str, Any]) -> None:
    assert not covered(returned, ASKED)


def test_two_entries_do_not_cover_one_together() -> None:
    asked = [{"type": "t", "actions": ["a"]}, {"type": "t", "actions": ["b"]}]
    assert not covered({"type": "t", "actions": ["a", "b"]}, asked)
    assert not covered({"type": "t"}, [])


def test_members_of_a_list_compare_by_type() -> None:
    asked = [{"type": "t", "ids": [1, True, "1", {"a": 1}]}]
    assert covered({"type": "t", "ids": ["1", {"a": 1}]}, asked)
    assert not covered({"type": "t", "ids": [1.0]}, asked)
    assert not covered({"type": "t", "ids": [{"a": True}]}, asked)
    assert not covered({"type": "t", "ids": [False]}, [{"type": "t", "ids": [0]}])


def test_union_holds_each_entry_once_whoever_returned_it_first() -> None:
    one, two = {"type": "a", "n": 1}, {"type": "a", "n": True}
    assert union([[one, two], [two]]) == union([[two], [two, one]])
    assert len(union([[one], [two], [{"n": 1, "type": "a"}]])) == 2


def test_typed_keeps_all_json_types_apart() -> None:
    values: list[Any] = [1, 1.0, True, "1", "true", None, "null", [1], ["1"], {"1": 1}, {}, [], "", 0, False, -0.0, "0"]
    assert len({typed(value) for value in values}) == len(values)
