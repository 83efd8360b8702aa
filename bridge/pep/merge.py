"""All answers become one: what to mint, or why nothing is. Pure; the heart of this library, read it after wish.py.

A closed gate ends it. A scope is granted where every party and every target of the first level permits it; the second
level narrows. What items say about the token beyond that is merged in shape.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bridge.pep import refuse, shape
from bridge.pep.batch import Batch
from bridge.pep.refuse import Denied, Refusal, StepUp
from bridge.pep.reply import Item
from bridge.pep.shape import Answers, Reach, Understood
from bridge.pep.wish import Wish


@dataclass(frozen=True, slots=True)
class Mint:
    """Exactly what to mint: one token, now.

    `state_scope`: the response must have `scope` (RFC 6749, section 5.1). `resources`: what is left of the second
    level. `lifetime` in seconds; None: neither the server nor the PDP bounds it. `claims` are added to the server's
    own, and those in `crit` must be heeded. `waiting`: what the scopes left out would need, where a sign-in or consent
    would mend it. `decision_ids`: where the PDP keeps its records, for the server's log.
    """

    scopes: tuple[str, ...]
    state_scope: bool
    audience: tuple[str, ...]
    resources: tuple[str, ...] = ()
    lifetime: int | None = None
    authorization_details: tuple[Mapping[str, Any], ...] = ()
    claims: Mapping[str, Any] = field(default_factory=dict)
    crit: tuple[str, ...] = ()
    waiting: StepUp | None = None
    decision_ids: tuple[str, ...] = ()


def merge(wish: Wish, batch: Batch, items: Sequence[Item], understood: Understood) -> Mint | Refusal:
    """What `items`, the answers to `batch`, allow of `wish`."""
    answers = tuple(zip(batch.tuples, items, strict=True))
    try:
        return _mint(wish, answers, understood)
    except Denied as denied:
        return replace(denied.refusal, decision_ids=_decision_ids(answers))


def _mint(wish: Wish, answers: Answers, understood: Understood) -> Mint:
    _gates(wish, answers)
    permitted = [(asked, item) for asked, item in answers if item.permitted]
    reach = _reach(wish, answers)
    scopes = shape.granted(wish, reach.scopes, permitted)
    audience, resources = shape.targets(wish, reach, permitted)
    adding = shape.adding(permitted, scopes, (*audience, *resources))
    claims, crit = shape.claims(wish, adding, understood)
    return Mint(
        scopes=scopes,
        state_scope=set(scopes) != set(wish.scopes),
        audience=audience,
        resources=resources,
        lifetime=shape.lifetime(wish, permitted),
        authorization_details=shape.authorization_details(wish, adding, understood),
        claims=claims,
        crit=crit,
        waiting=_step_up(wish, _waiting([(asked, item) for asked, item in answers if asked.scope not in scopes])),
        decision_ids=_decision_ids(answers),
    )


def _gates(wish: Wish, answers: Answers) -> None:
    closed = [item for asked, item in answers if asked.scope is None and not item.permitted]
    if not closed:
        return
    # One sign-in for all that waits, where one will do.
    step_up = _step_up(wish, closed) and (_step_up(wish, [*closed, *_waiting(answers)]) or _step_up(wish, closed))
    if step_up is None or wish.grant_type == "token_exchange":
        raise Denied(refuse.denied(wish, "a gate is closed"))
    raise Denied(refuse.waits(wish, step_up, "a gate waits for a sign-in or consent"))


def _reach(wish: Wish, answers: Answers) -> Reach:
    """What is left of scopes and resources. Without scopes nothing was said about resources: they only narrow."""
    asked_scopes = wish.asked_scopes
    if not asked_scopes:
        return Reach((), wish.resources)
    refused = {(asked.level, asked.target, asked.scope) for asked, item in answers if not item.permitted}
    scopes = tuple(s for s in asked_scopes if not any((1, target, s) in refused for target in wish.targets))
    left = wish.resources
    if scopes and left:
        left = tuple(r for r in left if any((2, r, s) not in refused for s in scopes))
        if not left:
            raise _nothing(wish, answers, Refusal("invalid_target", "no resource of the second level is left"))
        scopes = tuple(s for s in scopes if not any((2, r, s) in refused for r in left))
    if not scopes:
        raise _nothing(wish, answers, Refusal("invalid_scope", "no scope is granted"))
    return Reach(scopes, left)


def _nothing(wish: Wish, answers: Answers, flat: Refusal) -> Denied:
    """No scope is left: the step-up that would mend it, else `flat`."""
    waiting = _step_up(wish, _waiting(answers))
    return Denied(refuse.waits(wish, waiting, "the scopes wait for a sign-in or consent") if waiting else flat)


def _waiting(answers: Answers) -> list[Item]:
    """The items of the scopes that nothing but a sign-in or consent stands in the way of."""
    refused: dict[str, list[Item]] = {}
    for asked, item in answers:
        if asked.scope is not None and not item.permitted:
            refused.setdefault(asked.scope, []).append(item)
    # A scope that is also flatly denied somewhere would be asked for in vain.
    return [item for items in refused.values() if all(i.require for i in items) for item in items]


def _step_up(wish: Wish, items: Iterable[Item]) -> StepUp | None:
    """One step-up for all of `items`; None when one of them is flatly denied, or when there is no user to sign in."""
    items = list(items)
    if wish.subject.type != "user" or not items or not all(item.require for item in items):
        return None
    return refuse.together(requirement for item in items for requirement in item.require)


def _decision_ids(answers: Answers) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.decision_id for _, item in answers if item.decision_id is not None))
