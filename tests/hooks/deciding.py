"""Decisions for a hook without a bridge: a body is read, verdicts are merged, the answer is made."""

import asyncio
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from hypothesis import strategies as st

from bridge.doors._body import checked
from bridge.doors.hooks.door import Hook, Wish
from bridge.model.decision import Decision, Outcome
from bridge.model.dialect import Dialect
from bridge.model.issuance import IssuanceRequest
from bridge.model.mask import SecretMask
from bridge.pdp.combine import combine
from bridge.pdp.decide import Answered
from bridge.pdp.details import typed
from bridge.pdp.gather import Terms
from bridge.pdp.question import Question
from tests.hooks.products import Token
from tests.property.questions import NOW_MS, read

SCOPES = ("a", "b", "c")


def wish_of(hook: Hook, body: dict[str, Any]) -> tuple[Wish, dict[str, Any]]:
    """The wish, and the document that policies see."""
    wish = asyncio.run(hook.read(body, hook.paths[0]))
    document: dict[str, Any] = SecretMask()(checked(dict(wish.request), IssuanceRequest).document())
    return wish, document


def answer(
    hook: Hook, body: dict[str, Any], gate: Any, packages: Mapping[str, Any], ceiling: int | None = None
) -> tuple[Decision, Decision, web.Response]:
    """(the decision by policy alone, the one that is on record, the answer)."""
    wish, document = wish_of(hook, body)
    assert_declared(hook, wish.dialect)
    verdicts = {scope: read(scope, rules) for scope, rules in packages.items()}
    whole, said = (
        combine(Question(document, NOW_MS, ceiling, terms), read("issuance.gate", gate), verdicts)
        for terms in (Terms(), Terms(dialect=wish.dialect, refused=wish.refused))
    )
    return whole, said, hook.reply(wish, Answered("id", NOW_MS, said, None))


def assert_declared(hook: Hook, dialect: Dialect) -> None:
    """What is said of one token is no more than the product's abilities, as the documentation has them."""
    declared = hook.abilities.dialect
    for flag in ("scopes", "audience", "details", "waiting"):
        assert getattr(declared, flag) or not getattr(dialect, flag), flag
    assert dialect.lifetime in (None, declared.lifetime)
    assert dialect.claims <= declared.claims
    assert dialect.withheld >= declared.withheld
    assert dialect.plain_names is declared.plain_names


def assert_not_broader(token: Token, before: Token, decision: Decision) -> None:
    """The token has what was decided, nothing else that is new, and keeps to every limit."""
    assert decision.outcome is Outcome.ALLOW or decision.granted_scopes
    assert sorted(set(token.scopes)) == sorted(decision.granted_scopes)
    limit = decision.limit
    if limit.token_lifetime is not None:
        assert token.lives is not None and token.lives <= limit.token_lifetime
    if before.lives is not None:
        assert token.lives is not None and token.lives <= before.lives
    if limit.audience is not None:
        assert token.audience and set(token.audience) <= set(limit.audience)
    assert set(token.audience) <= set(before.audience)
    for name, value in decision.claims.items():
        assert typed(token.claims[name]) == typed(value), name


_values = st.sampled_from(["gold", "7", 7, 7.5, True, ["x", "y"], ["x"], [], {"o": [1]}, [1], None])
_names = st.sampled_from(
    [
        "tier",
        "roles",
        "audit",
        "https://x/y",
        "7",
        "azp",
        "scp",
        "uid",
        "aut",
        "a~b",
        "Scope",
        "mail",
        "issuance_bridge",
    ]
)
claims = st.dictionaries(_names, _values, max_size=3)
_limits = st.fixed_dictionaries(
    {},
    optional={
        "token_lifetime": st.sampled_from([60, 299, 300, 600, 90_000]),
        "audience": st.lists(st.sampled_from(["https://r1", "https://r2", "shop"]), min_size=1, max_size=3),
        "granted_scope": st.sampled_from(["a", "a b", "a b c"]),
    },
)


@st.composite
def _rules(draw: st.DrawFn) -> dict[str, Any]:
    rules: dict[str, Any] = {"allow": draw(st.sampled_from([True, True, True, False]))}
    if draw(st.booleans()):
        rules["limit"] = draw(_limits)
    if draw(st.booleans()):
        rules["claims"] = draw(claims)
    if draw(st.integers(0, 5)) == 0:
        rules["require"] = draw(st.sampled_from([["consent"], [{"acr_values": ["hi"]}], ["consent", {"amr": ["otp"]}]]))
    return rules


rules = _rules()
packages = st.fixed_dictionaries(dict.fromkeys(SCOPES, rules))
gates = st.just({"allow": True}) | rules
ceilings = st.sampled_from([None, None, 120, 3600])
