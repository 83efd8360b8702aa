"""Evidence entries: bounded, canonical, exact to the number; and what goes first when they are too big."""

import hashlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.model.entry import MAX_ENTRY_BYTES, canonical, exact, fit
from bridge.tlog.merkle import leaf_hash

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=15,
)
json_objects = st.dictionaries(st.text(max_size=6), json_values, max_size=5)


def reference(value: Any) -> bytes:
    """Sorted by code point, no spaces, UTF-8 (RFC 8785 where no number is but an integer below 2^53)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


@given(json_objects)
def test_canonical_form_is_that_of_a_sorted_reference(value: dict[str, Any]) -> None:
    assert canonical(exact(value)) == reference(exact(value))


def test_names_sort_by_code_point_beyond_the_first_plane() -> None:
    entry = {"\U0001f600": 1, "\uffff": 2, "a": 3, "B": 4, "é": 5}
    assert list(json.loads(canonical(entry))) == ["B", "a", "é", "\uffff", "\U0001f600"]
    assert canonical(entry) == reference(entry)


@given(json_values)
def test_exact_leaves_no_number_that_a_reader_could_round(value: Any) -> None:
    def check(item: Any) -> None:
        assert not isinstance(item, float)
        if isinstance(item, int) and not isinstance(item, bool):
            assert abs(item) < 2**53
        for inner in item.values() if isinstance(item, dict) else item if isinstance(item, list) else ():
            check(inner)

    check(exact(value))


@given(json_values)
def test_exact_loses_nothing(value: Any) -> None:
    def back(item: Any) -> Any:
        if isinstance(item, dict):
            if item.keys() == {"number"} and isinstance(item["number"], str):
                return json.loads(item["number"])
            return {name: back(inner) for name, inner in item.items()}
        return [back(inner) for inner in item] if isinstance(item, list) else item

    assert json.dumps(back(exact({"v": value}))["v"]) == json.dumps(value)


@pytest.mark.parametrize(
    ("number", "written"),
    [
        *((0.5, "0.5"), (1.0, "1.0"), (-0.0, "-0.0"), (1e300, "1e+300"), (2**53, "9007199254740992")),
        *((-(2**53), "-9007199254740992"), (10**40, "1" + "0" * 40), (math.pi, "3.141592653589793")),
    ],
)
def test_numbers_that_readers_round_stand_as_text(number: float, written: str) -> None:
    assert exact([number]) == [{"number": written}]


@pytest.mark.parametrize("number", [0, 1, -1, 2**53 - 1, 1 - 2**53, True, False])
def test_other_numbers_stand_as_they_are(number: int) -> None:
    assert exact(number) is number


def entry(**members: Any) -> dict[str, Any]:
    return {
        "id": "i",
        "request": {"grant_type": "g", "client": {"id": "c"}, "subject": {"type": "user", "id": "u"}, "scopes": ["a"]},
        "claims": {"t": 1},
        "scopes": {"a": {"outcome": "allow", "findings": [{"code": "ok", "title": "Title"}]}},
        "findings": [{"code": "gate", "title": "Gate"}],
        "rules": [{"package": "p", "code": "ok"}],
        "exceptions": [{"path": "waiver"}],
        "policy": {"digest": "d"},
        **members,
    }


KEPT = ("id", "rules", "exceptions", "policy")
_sizes = st.integers(0, 40_000)


@given(_sizes, _sizes, _sizes, _sizes, _sizes, st.integers(0, 20))
def test_entry_fits_or_is_refused_and_never_loses_what_must_stay(
    request: int, name: int, claims: int, title: int, rules: int, findings: int
) -> None:
    big = entry(
        request={
            "client": {"id": "n" * name, "properties": {"x": "ü" * request}},
            "subject": {"type": "user", "id": "u"},
        },
        claims={"t": "c" * claims},
        scopes={"a": {"outcome": "deny", "findings": [{"code": "ok", "title": "t" * title}] * findings}},
        rules=[{"package": "p", "code": "r" * rules}],
    )
    must_stay = len(canonical({**{k: big[k] for k in KEPT}, "rules": big["rules"]}))
    try:
        fitted = fit(big)
    except ValueError:
        assert must_stay + findings * 20 + 600 > MAX_ENTRY_BYTES - 512
        return
    assert len(canonical(fitted)) <= MAX_ENTRY_BYTES - 512
    assert all(fitted[member] == big[member] for member in KEPT)
    assert fitted["scopes"].keys() == big["scopes"].keys()
    assert fitted["scopes"]["a"]["outcome"] == "deny"
    assert [f["code"] for f in fitted["scopes"]["a"]["findings"]] == ["ok"] * findings
    gone = fitted.get("shortened", [])
    assert gone == ["request", "claims", "titles", "names"][: len(gone)]
    assert ("claims" in fitted) == ("claims" not in gone)
    assert fitted["request"] == big["request"] or gone
    assert all("title" in f for f in fitted["scopes"]["a"]["findings"]) or "titles" in gone
    if len(canonical(big)) <= MAX_ENTRY_BYTES - 512:
        assert fitted == big


@pytest.mark.parametrize(
    ("big", "gone"),
    [
        ({}, None),
        ({"request": {"client": {"id": "c", "properties": {"x": "x" * 40_000}}}}, ["request"]),
        ({"claims": {"t": "x" * 40_000}}, ["request", "claims"]),
        ({"findings": [{"code": "gate", "title": "x" * 40_000}]}, ["request", "claims", "titles"]),
        ({"request": {"client": {"id": "x" * 40_000}}}, ["request", "claims", "titles", "names"]),
    ],
)
def test_what_goes_first(big: dict[str, Any], gone: list[str] | None) -> None:
    fitted = fit(entry(**big))
    assert fitted.get("shortened") == gone
    assert all(fitted[member] == entry()[member] for member in KEPT)
    assert fitted["scopes"]["a"]["outcome"] == "allow"


@pytest.mark.parametrize("member", ["rules", "exceptions", "scopes", "policy"])
def test_what_never_goes(member: str) -> None:
    values: dict[str, Any] = {"scopes": {"x" * 40_000: {"outcome": "deny", "findings": []}}}
    with pytest.raises(ValueError, match="does not fit"):
        fit(entry(**{member: values.get(member, [{"x": "x" * 40_000}])}))


def test_request_that_shrinks_keeps_what_identifies_it() -> None:
    request = {
        "grant_type": "g",
        "token_type": "t",
        "phase": "token",
        "issuer": "i",
        "client": {"id": "c", "properties": {"x": 1}},
        "subject": {"type": "user", "id": "u", "properties": {}},
        "actor": {"type": "client", "id": "a"},
        "session": {"id": "s"},
        "context": {"x": "x" * 40_000},
    }
    assert fit(entry(request=request))["request"] == {
        "grant_type": "g",
        "token_type": "t",
        "phase": "token",
        "issuer": "i",
        "client": {"id": "c"},
        "subject": {"type": "user", "id": "u"},
        "actor": {"type": "client", "id": "a"},
        "session": {"id": "s"},
    }


def test_request_whose_parts_are_masked_shrinks_all_the_same() -> None:
    request = {"client": "***", "subject": {"type": "user", "id": "***"}, "context": {"x": "x" * 40_000}}
    assert fit(entry(request=request))["request"]["subject"] == {"type": "user", "id": "***"}


def test_leaf_hash_is_domain_separated() -> None:
    """RFC 6962, section 2.1: the empty leaf's hash is that of one zero byte."""
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert leaf_hash(b"x") == hashlib.sha256(b"\0x").digest()
