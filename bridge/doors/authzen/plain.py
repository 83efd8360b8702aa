"""Scope tuples without a gate: one resource for each scope, as some servers ask (`authzen.plain_scopes`).

Such a server shows no grant type and reads nothing but `decision`. So the grant type comes from the configuration, the
gate is asked all the same, and what a plain yes cannot say is a denial (`inexpressible`).
"""

from collections.abc import Mapping

from bridge.config.settings import PlainScopes
from bridge.doors._body import bound_list
from bridge.doors.authzen.context import members_of
from bridge.doors.authzen.plan import MAX_SCOPES, SUBJECT_TYPES, Place, Plan, fitting
from bridge.model.authzen import Misfit, Tuple
from bridge.model.decision import Code
from bridge.pdp.gather import Asking, Bare, Batch, Call, Terms, encode


def plan_plain(tuples: Mapping[int, tuple[Tuple, PlainScopes]], call: Call, batch_id: str, first: int) -> Plan:
    """The askings for these tuples, one for each subject, context and form; they are numbered from `first` on."""
    refused: dict[int, Code | Misfit] = {}
    groups: dict[bytes, list[int]] = {}
    for number, (item, form) in tuples.items():
        if (problem := fitting(item, {})) is not None:
            refused[number] = Misfit(problem)
            continue
        key = encode([item.subject, item.context, form.resource_type, form.action])
        groups.setdefault(key, []).append(number)
    askings = [
        _asking([tuples[n][0] for n in group], tuples[group[0]][1], call, Batch(batch_id, tuple(group)))
        for group in groups.values()
    ]
    places = {
        number: Place(first + at, tuples[number][0].resource["id"])
        for at, group in enumerate(groups.values())
        for number in group
    }
    return Plan(tuple(askings), places, refused)


def _asking(items: list[Tuple], form: PlainScopes, call: Call, batch: Batch) -> Asking:
    scopes = list(dict.fromkeys(item.resource["id"] for item in items))
    bound_list({"evaluations": scopes}, "evaluations", "scopes", MAX_SCOPES)
    sent = items[0].subject
    subject = {**sent, "type": sent["type"] if sent["type"] in SUBJECT_TYPES else form.subject_type}
    audience = {"audience": list(form.audience)} if form.audience else {}
    request = {
        "grant_type": form.grant_type,
        "token_type": form.token_type,
        "phase": "token",
        "subject": subject,
        **members_of(subject, items[0].context),
        "scopes": scopes,
        **audience,
    }
    return Asking(request, call, Terms(crit=False, bare=Bare(form.token_lifetime)), batch)
