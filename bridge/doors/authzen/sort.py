"""Sorts the tuples of an AuthZEN request: those about issuance, plain scopes (`authzen.plain_scopes`), and others."""

from collections.abc import Mapping
from typing import Any

from bridge.config.authzen import AuthzenSection, PlainScopes
from bridge.doors.authzen.plain import Form, Wish, plan_wishes
from bridge.doors.authzen.plan import ISSUANCE, SUBJECT_TYPES, Plan, fitting, plan
from bridge.model.authzen import Evaluations, Misfit, Tuple
from bridge.model.decision import Code
from bridge.pdp.gather import Call


class Sort:
    """What is to be asked for the tuples of one request."""

    def __init__(self, section: AuthzenSection) -> None:
        self._capabilities = section.capabilities
        self._plain = {(one.resource_type, one.action): one for one in section.plain_scopes}

    def __call__(self, asked: Evaluations, call: Call, batch_id: str) -> Plan:
        """MalformedRequest: the request as a whole is at fault."""
        tuples = {number: item for number, item in enumerate(asked.items) if isinstance(item, Tuple)}
        refused: dict[int, Code | Misfit] = {n: item for n, item in enumerate(asked.items) if isinstance(item, Misfit)}
        gated = {number: item for number, item in tuples.items() if item.resource["type"] == ISSUANCE}
        first = plan(gated, call, batch_id, self._capabilities)
        if not self._plain:
            return Plan(first.askings, first.places, {**first.refused, **refused})
        wishes: dict[int, Wish] = {}
        checked: dict[int, Mapping[str, Any]] = {}
        for number, item in tuples.items():
            section = self._plain.get((item.resource["type"], item.action["name"]))
            if section is None:
                continue
            if (problem := fitting(item, checked)) is not None:
                refused[number] = Misfit(problem)
            else:
                wishes[number] = _wish(item, section)
        second = plan_wishes(wishes, call, batch_id, len(first.askings))
        return Plan(first.askings + second.askings, {**first.places, **second.places}, {**first.refused, **refused})


def _wish(item: Tuple, section: PlainScopes) -> Wish:
    sent = item.subject["type"]
    form = Form(
        grant_type=section.grant_type,
        subject_type=sent if sent in SUBJECT_TYPES else section.subject_type,
        token_type=section.token_type,
        audience=section.audience,
        token_lifetime=section.token_lifetime,
    )
    return Wish(item.resource["id"], item.subject, item.context, form)
