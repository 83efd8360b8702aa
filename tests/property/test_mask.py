"""Secrets: planted at any depth, none survives; and personal values by JSON pointer."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.model.mask import MASKED, SecretMask, mask_pointers, parse_pointer

PLANTED = "PLANTED-SECRET"
NAMES = ("authorization", "cookie", "code", "device_code", "user_code")
ENDINGS = ("token", "assertion", "secret", "password")
_secret_name = st.one_of(
    st.sampled_from(NAMES),
    st.tuples(st.text(max_size=8), st.sampled_from(ENDINGS)).map("".join),
    st.tuples(st.text("x_-", min_size=130, max_size=140), st.sampled_from(ENDINGS)).map("".join),
).flatmap(lambda name: st.sampled_from([name, name.upper(), name.title()]))
_innocent = st.sampled_from(
    ["id", "type", "tokens", "codes", "secretary", "x", "", "code_challenge", "token_type", "acr"]
)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_innocent, inner, max_size=3),
    max_leaves=10,
)
# A secret is a string under a secret name, or any string of a list (of lists) there.
_planted = st.recursive(st.just(PLANTED), lambda inner: st.lists(inner, min_size=1, max_size=2), max_leaves=3)


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """JSON with at least one planted secret somewhere in it, below names of either kind."""
    value: Any = {draw(_secret_name): draw(_planted)}
    for _ in range(draw(st.integers(0, 6))):
        match draw(st.sampled_from(["member", "secret member", "list"])):
            case "list":
                value = [draw(_values), value, draw(_values)]
            case "member":
                value = {**draw(st.dictionaries(_innocent, _values, max_size=2)), draw(_innocent): value}
            case _:
                value = {draw(_secret_name): value}
    return value


@given(documents())
def test_no_planted_secret_survives(document: Any) -> None:
    before = copy.deepcopy(document)
    masked = SecretMask()(document)
    assert PLANTED not in json.dumps(masked)
    assert MASKED in json.dumps(masked)
    assert document == before


@given(_values)
def test_what_is_no_secret_stays(value: Any) -> None:
    assert SecretMask()(value) == value


def test_validated_claims_of_the_subject_token_stay_and_are_looked_into() -> None:
    claims = {
        "sub": "u",
        "scope": "a b",
        "act": {"client_id": "x"},
        "client_secret": "s",
        "actor_token": {"raw_token": "t"},
    }
    masked = SecretMask()({"subject_token": claims})
    assert masked["subject_token"] == {
        "sub": "u",
        "scope": "a b",
        "act": {"client_id": "x"},
        "client_secret": MASKED,
        "actor_token": {"raw_token": MASKED},
    }


def test_only_strings_are_secrets() -> None:
    value = {"code": 7, "token": None, "password": True, "cookie": {"a": "b"}, "secret": [1, "s", [{"k": "v"}, "s"]]}
    masked = SecretMask()(value)
    assert masked == {**value, "secret": [1, MASKED, [{"k": "v"}, MASKED]]}


def test_names_are_configurable() -> None:
    mask = SecretMask(names=("PIN",), suffixes=())
    assert mask({"pin": "1", "Pin": "2", "code": "3", "token": "4"}) == {
        "pin": MASKED,
        "Pin": MASKED,
        "code": "3",
        "token": "4",
    }
    assert SecretMask(names=(), suffixes=("key",))({"api_KEY": "1"}) == {"api_KEY": MASKED}


POINTED = {"a": {"b": ["x", {"c": "y"}], "*": "star"}, "m~n": 1, "o/p": 2, "": 3, "list": [["i"], ["j"]]}


@pytest.mark.parametrize(
    ("pointer", "change"),
    [
        ("/a", {**POINTED, "a": MASKED}),
        ("/a/b/0", {**POINTED, "a": {"b": [MASKED, {"c": "y"}], "*": "star"}}),
        ("/a/b/1/c", {**POINTED, "a": {"b": ["x", {"c": MASKED}], "*": "star"}}),
        ("/a/b/*", {**POINTED, "a": {"b": [MASKED, MASKED], "*": "star"}}),
        ("/a/*", {**POINTED, "a": {"b": MASKED, "*": MASKED}}),
        ("/list/*/0", {**POINTED, "list": [[MASKED], [MASKED]]}),
        ("/m~0n", {**POINTED, "m~n": MASKED}),
        ("/o~1p", {**POINTED, "o/p": MASKED}),
        ("/", {**POINTED, "": MASKED}),
        *(
            (absent, POINTED)
            for absent in ("/z", "/a/z", "/a/b/2", "/a/b/-1", "/a/b/x", "/m~0n/x", "/a/b/0/0", "/a/b/00")
        ),
    ],
)
def test_json_pointers(pointer: str, change: dict[str, Any]) -> None:
    before = copy.deepcopy(POINTED)
    assert mask_pointers(POINTED, [parse_pointer(pointer)]) == change
    assert before == POINTED


@pytest.mark.parametrize(("text", "tokens"), [("/a~1b/~0", ("a/b", "~")), ("/~01", ("~1",)), ("/a//b", ("a", "", "b"))])
def test_pointer_tokens_are_unescaped_in_the_right_order(text: str, tokens: tuple[str, ...]) -> None:
    assert parse_pointer(text) == tokens


@pytest.mark.parametrize("text", ["", "a", "a/b", "#/a", " /a"])
def test_pointer_must_begin_with_a_slash(text: str) -> None:
    with pytest.raises(ValueError, match="JSON pointer"):
        parse_pointer(text)
