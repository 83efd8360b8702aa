"""How a minted token breaks its decision: every bound, on both of its sides."""

from typing import Any

import pytest

from bridge.model.decision import VALID_FOR_MS
from bridge.model.issued import LEEWAY_MS, Minted, TokenDigest, Violation, breaches, in_order
from bridge.model.times import rfc3339

AT = 1_780_315_200_000
UNTIL = AT + VALID_FOR_MS
A, B = "https://a.example", "https://b.example"


def decision(**members: Any) -> dict[str, Any]:
    entry = {"time": rfc3339(AT), "outcome": "allow", "granted_scopes": ["read", "write"], "limit": {}, "request": {}}
    return {**entry, **members}


def found(
    entry: dict[str, Any] | None = None,
    scopes: Any = (),
    audience: Any = None,
    exp: float | None = None,
    at: float | None = AT,
    *,
    overruled: bool = False,
) -> list[str]:
    known = decision() if entry is None else entry
    return in_order(breaches(known, Minted(scopes, audience, exp, at), overruled=overruled))


def test_nothing_is_broken_by_what_nobody_tells() -> None:
    entry = decision(limit={"token_lifetime": 1, "audience": [A]})
    assert in_order(breaches(entry, Minted(None, None, None, None), overruled=False)) == []


def test_without_a_decision_there_is_nothing_to_compare() -> None:
    assert breaches(None, Minted(["x"], [A], 0, AT), overruled=True) == {Violation.UNKNOWN_DECISION}


@pytest.mark.parametrize(
    ("members", "broken"),
    [
        ({}, False),
        ({"granted_scopes": []}, False),
        ({"outcome": "conditional"}, False),
        ({"outcome": "conditional", "granted_scopes": []}, True),
        ({"outcome": "deny", "granted_scopes": []}, True),
    ],
)
def test_only_a_yes_is_one(members: dict[str, Any], broken: bool) -> None:
    assert found(decision(**members)) == (["after_denial"] if broken else [])
    assert found(decision(**members), overruled=True) == ["after_denial"]


@pytest.mark.parametrize(
    ("at", "late"), [(AT, False), (UNTIL, False), (UNTIL + LEEWAY_MS, False), (UNTIL + LEEWAY_MS + 1, True)]
)
def test_late(at: float, late: bool) -> None:
    assert found(at=at) == (["late"] if late else [])


@pytest.mark.parametrize(
    ("scopes", "more"),
    [(["read", "write", "read"], False), (["write"], False), ([], False), (["read", "Read"], True), (["read "], True)],
)
def test_scopes(scopes: list[str], more: bool) -> None:
    assert found(scopes=scopes) == (["more_scopes"] if more else [])


@pytest.mark.parametrize(("scopes", "more"), [(["read"], False), (["read", "write"], False), (["read", "admin"], True)])
def test_scopes_that_only_the_limit_of_a_gate_names(scopes: list[str], more: bool) -> None:
    entry = decision(granted_scopes=[], limit={"granted_scope": "read write"})
    assert found(entry, scopes=scopes) == (["more_scopes"] if more else [])


@pytest.mark.parametrize(
    ("at", "exp_ms", "longer"),
    [
        (AT, AT + 60_000, False),
        (AT, AT + 60_000 + LEEWAY_MS, False),
        (AT, AT + 61_000 + LEEWAY_MS, True),
        (UNTIL + 4_000, UNTIL + 60_000 + LEEWAY_MS, False),  # the life begins when the decision ran out, at the latest
        (UNTIL + 4_000, UNTIL + 61_000 + LEEWAY_MS, True),
        (None, UNTIL + 60_000 + LEEWAY_MS, False),
        (None, UNTIL + 61_000 + LEEWAY_MS, True),
    ],
)
def test_life(at: float | None, exp_ms: int, longer: bool) -> None:
    limited = decision(limit={"token_lifetime": 60})
    assert found(limited, exp=exp_ms / 1000, at=at) == (["longer_life"] if longer else [])
    assert found(exp=exp_ms / 1000, at=at) == []


@pytest.mark.parametrize(
    ("limit", "asked", "audience", "wider"),
    [
        (None, None, [A], False),
        (None, [], [A], False),
        (None, [A], [A], False),
        (None, [A, B], [A], False),
        (None, [A], [A, B], True),
        (None, [A], [], True),
        (None, None, [], False),
        ([A], None, [A], False),
        ([A], None, [B], True),
        ([A], None, [], True),
        ([A], [A, B], [B], True),
        (None, "***", [B], False),
        (None, [A, "***"], [B], False),
    ],
)
def test_audience(limit: list[str] | None, asked: Any, audience: list[str], wider: bool) -> None:
    entry = decision(
        limit={} if limit is None else {"audience": limit}, request={} if asked is None else {"audience": asked}
    )
    assert found(entry, audience=audience) == (["wider_audience"] if wider else [])


def test_an_entry_that_was_shortened_is_compared_as_far_as_it_goes() -> None:
    entry = decision()
    del entry["request"]
    assert found(entry, scopes=["pay"], audience=[A]) == ["more_scopes"]


def test_a_digest_needs_its_key() -> None:
    one, other = TokenDigest(b"\x01" * 32), TokenDigest(b"\x02" * 32)
    assert one("jti") == one("jti") != one("jtI")
    assert one("jti") != other("jti")
    assert one.key_id != other.key_id
    # RFC 4231, test case 2.
    vector = TokenDigest(b"Jefe")("what do ya want for nothing?")
    assert vector == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
