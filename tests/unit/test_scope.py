"""The scope grammar (RFC 6749, section 3.3)."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.model.scope import is_scope_token, split

ALLOWED = [c for c in map(chr, range(0x110000)) if c in string.printable and c not in ' "\\' and c.isprintable()]


def test_alphabet_is_printable_ascii_without_space_quote_and_backslash() -> None:
    assert [c for c in map(chr, range(0x3000)) if is_scope_token(c)] == sorted(ALLOWED)


@pytest.mark.parametrize(
    "scope",
    [
        *("", " ", "a b", "a\n", "\na", "a\x00", "a\t", 'a"', "a\\", "ä", "a\u2028", "a\u200b", "\ud800", "\x7f"),
        *("issue:", "issue:access_token", 'x"]', "\uff41"),
    ],
)
def test_not_a_scope(scope: str) -> None:
    assert not is_scope_token(scope)


@pytest.mark.parametrize(
    "scope",
    ["openid", "payments:write", "../x", "__proto__", "%2F", "issue", "Issue:x", "x]", "https://x/y?z=1", "a" * 8192],
)
def test_odd_names_are_scopes_all_the_same(scope: str) -> None:
    assert is_scope_token(scope)


@given(st.lists(st.text(st.sampled_from(ALLOWED), min_size=1)))
def test_split_undoes_the_join(tokens: list[str]) -> None:
    assert split(" ".join(tokens)) == tuple(tokens)


@pytest.mark.parametrize("value", [" ", "a ", " a", "a  b", "a\tb", "a\nb", "a\n", 'a "b"', "ü", "a\u00a0b"])
def test_ill_formed_lists_are_refused(value: str) -> None:
    assert split(value) is None
