"""From Curity's tuples to issuance requests. What is not shown is denied (`not_shown`); a gate alone is never asked."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from bridge.config.authzen import CuritySection
from bridge.doors.authzen.plain import Form, Wish, plan_wishes
from bridge.doors.authzen.plan import SUBJECT_TYPES, Plan
from bridge.doors.curity.context import Shown, folded, read_context
from bridge.doors.curity.scopes import Parts, Requested, Scopes
from bridge.model.authzen import Evaluations, Misfit, Tuple
from bridge.model.decision import Code
from bridge.pdp.gather import Call

_IDENTIFIER = re.compile(r"[^\x00-\x1f\x7f]{1,512}")
_PATHS = ("id", "path", "resourcepath")


class CurityPlanner:
    """What is to be asked for one of Curity's batches."""

    def __init__(self, section: CuritySection) -> None:
        self._section, self._scopes = section, Scopes(section)

    def __call__(self, asked: Evaluations, call: Call, batch_id: str) -> Plan:
        """MalformedRequest: the scopes are too many, or too long."""
        refused: dict[int, Code | Misfit] = {n: item for n, item in enumerate(asked.items) if isinstance(item, Misfit)}
        tuples = {number: item for number, item in enumerate(asked.items) if isinstance(item, Tuple)}
        parts = {number: _parts(item.resource, item.action) for number, item in tuples.items()}
        # No scope is asked about twice: two that look the same are two scopes.
        looks = Counter(parts.values())
        contexts: dict[int, tuple[Shown, Requested | None] | None] = {}
        wishes: dict[int, Wish] = {}
        for number, item in tuples.items():
            if id(item.context) not in contexts:
                contexts[id(item.context)] = self._shown(item.context)
            known, told = parts[number], contexts[id(item.context)]
            wish = None
            if known is not None and looks[known] == 1 and told is not None:
                scope = self._scopes.put_together(known, number, len(asked.items), told[1])
                wish = None if scope is None else self._wish(item, scope, told[0])
            if wish is None:
                refused[number] = Code.NOT_SHOWN
            else:
                wishes[number] = wish
        planned = plan_wishes(wishes, call, batch_id)
        return Plan(planned.askings, planned.places, refused)

    def _shown(self, context: Mapping[str, Any]) -> tuple[Shown, Requested | None] | None:
        shown = read_context(context)
        if shown is None:
            return None
        return shown, None if shown.requested is None else self._scopes.requested(shown.requested)

    def _wish(self, item: Tuple, scope: str, shown: Shown) -> Wish | None:
        section = self._section
        grant_type = shown.grant_type or section.grant_type
        if grant_type is None:
            return None
        client_id, acts_for_itself = shown.context.get("client_id"), grant_type == "client_credentials"
        subject = {name: item.subject[name] for name in ("id", "properties") if item.subject.get(name) is not None}
        if acts_for_itself and client_id is not None:
            subject.setdefault("id", client_id)
        if not isinstance(subject.get("id"), str) or not _IDENTIFIER.fullmatch(subject["id"]):
            return None
        if not isinstance(subject.get("properties", {}), dict):
            return None
        sent = item.subject.get("type")
        kind = sent if sent in SUBJECT_TYPES else section.subject_type
        if acts_for_itself and kind == "user" and subject["id"] == client_id:
            kind = "client"  # RFC 6749, section 4.4; the authorizer sends one configured type for all
        form = Form(grant_type, kind, section.token_type, shown.phase, section.audience, section.token_lifetime)
        return Wish(scope, subject, shown.context, form)


def _parts(resource: Mapping[str, Any], action: Mapping[str, Any]) -> Parts | None:
    """None when two members tell different paths, or one that is none."""
    paths: list[Any] = []
    more = False
    properties = resource.get("properties")
    for place in (resource, properties if isinstance(properties, dict) else {}):
        for name, value in place.items():
            if folded(name) in _PATHS:
                paths.append(value)
            elif value and (place is not resource or name not in ("type", "properties")):
                more = True
    paths = [value for value in paths if value not in (None, "")]
    if not all(isinstance(value, str) and value == paths[0] for value in paths):
        return None
    more = more or not (properties is None or isinstance(properties, dict))
    return Parts(resource["type"], paths[0] if paths else "", action["name"], more)
