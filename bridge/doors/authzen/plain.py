"""Scopes that are asked for without a gate, by servers that read nothing but `decision`.

Such a server does not show all that the gate needs to know. So its configuration says it, the gate is asked all the
same, and what a plain yes cannot say is a denial (`inexpressible`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.doors._body import bound_list
from bridge.doors.authzen.context import members_of
from bridge.doors.authzen.plan import MAX_SCOPES, Alike, Place, Plan
from bridge.pdp.gather import Asking, Bare, Batch, Call, Terms


@dataclass(frozen=True, slots=True)
class Form:
    """What the tuples themselves do not say; `subject_type` is the one that policies see."""

    grant_type: str
    subject_type: str
    token_type: str = "access_token"  # noqa: S105 - a kind of token
    phase: str = "token"
    audience: tuple[str, ...] = ()
    token_lifetime: int | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """One scope that a tuple asks for; the `context` is a checked one."""

    scope: str
    subject: Mapping[str, Any]
    context: Mapping[str, Any]
    form: Form


def plan_wishes(wishes: Mapping[int, Wish], call: Call, batch_id: str, first: int = 0) -> Plan:
    """The askings for these (by number of the item): one for each subject, context and form, numbered from `first` on.

    MalformedRequest: the scopes are too many, or too long.
    """
    scopes = list(dict.fromkeys(wish.scope for wish in wishes.values()))
    bound_list({"evaluations": scopes}, "evaluations", "scopes", MAX_SCOPES)
    groups: dict[tuple[Any, ...], list[int]] = {}
    properties, context = Alike(), Alike()
    for number, wish in wishes.items():
        subject = wish.subject["id"], properties(wish.subject.get("properties"))
        groups.setdefault((*subject, context(wish.context), wish.form), []).append(number)
    askings = [
        _asking([wishes[n] for n in group], scopes, call, Batch(batch_id, tuple(group))) for group in groups.values()
    ]
    places = {n: Place(first + at, wishes[n].scope) for at, group in enumerate(groups.values()) for n in group}
    return Plan(tuple(askings), places, {})


def _asking(wishes: list[Wish], scopes: list[str], call: Call, batch: Batch) -> Asking:
    """All `scopes` of the batch stand in the document: they may end up in one token."""
    form, context = wishes[0].form, wishes[0].context
    subject = {**wishes[0].subject, "type": form.subject_type}
    request = {
        "grant_type": form.grant_type,
        "token_type": form.token_type,
        "phase": form.phase,
        "subject": subject,
        **members_of(subject, context),
        "scopes": scopes,
    }
    if form.audience:
        request["audience"] = list(form.audience)
    own = tuple(dict.fromkeys(wish.scope for wish in wishes))
    token = ("", form.subject_type, subject["id"], *form.audience)
    terms = Terms(scopes=own, crit=False, bare=Bare(form.token_lifetime), tokens=frozenset([token]))
    return Asking(request, call, terms, batch)
