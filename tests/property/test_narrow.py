"""Mutual narrowing against Dung's definition, by enumeration of all subsets."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from bridge.pdp import narrow

NAMES = ("a", "b", "c", "d", "e")
allowed_sets = st.dictionaries(st.sampled_from(NAMES), st.none() | st.frozensets(st.sampled_from(NAMES)))


def _complete(allowed: narrow.Allowed) -> list[frozenset[str]]:
    """Every set that attacks none of its own and holds exactly the scopes that it defends."""

    def attacks(by: str, scope: str) -> bool:
        limit = allowed[by]
        return limit is not None and scope not in limit

    def defends(group: frozenset[str], scope: str) -> bool:
        return all(any(attacks(g, by) for g in group) for by in allowed if attacks(by, scope))

    subsets = (frozenset(c) for n in range(len(allowed) + 1) for c in combinations(allowed, n))
    return [
        group
        for group in subsets
        if not any(attacks(x, y) for x in group for y in group) and group == {s for s in allowed if defends(group, s)}
    ]


@given(allowed_sets)
def test_survivors_are_the_smallest_complete_extension(allowed: narrow.Allowed) -> None:
    complete = _complete(allowed)
    survivors = narrow.survivors(allowed)
    assert survivors in complete
    assert all(survivors <= other for other in complete)


@given(allowed_sets)
def test_no_survivor_stands_outside_the_limit_of_another(allowed: narrow.Allowed) -> None:
    survivors = narrow.survivors(allowed)
    for scope in survivors:
        limit = allowed[scope]
        assert limit is None or survivors <= limit
        assert not narrow.excluded(scope, survivors, allowed)


@given(allowed_sets, st.randoms(use_true_random=False))
def test_order_makes_no_difference(allowed: narrow.Allowed, random: object) -> None:
    names = list(allowed)
    random.shuffle(names)  # type: ignore[attr-defined]  # hypothesis gives a Random
    assert narrow.survivors({name: allowed[name] for name in names}) == narrow.survivors(allowed)


def test_two_that_exclude_each_other_are_both_denied() -> None:
    assert narrow.survivors({"a": frozenset("a"), "b": frozenset("b"), "c": None}) == frozenset()
    assert narrow.survivors({"a": frozenset("ac"), "b": frozenset("bc"), "c": None}) == {"c"}


def test_one_that_excludes_itself_counts_for_nobody_but_leaves_doubt() -> None:
    assert narrow.survivors({"a": frozenset()}) == frozenset()
    assert narrow.survivors({"a": frozenset("b"), "b": None}) == {"b"}


def test_scope_freed_by_a_denied_limiter_is_granted() -> None:
    """a leaves b out, b would have left c out: c stays."""
    assert narrow.survivors({"a": frozenset("ac"), "b": frozenset("ab"), "c": None}) == {"a", "c"}


def test_a_chain_of_256_is_settled_at_once() -> None:
    names = [str(n) for n in range(256)]
    chain = {name: frozenset(names) - {str(int(name) + 1)} for name in names}
    assert narrow.survivors(chain) == {str(n) for n in range(0, 256, 2)}
