"""The search forms of the Authorization API 1.0 (section 8), read strictly, and what policies answer them with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bridge.errors import MalformedRequest
from bridge.model.authzen import ENTITIES, Tuple, read_tuple
from bridge.model.entry import canonical, exact
from bridge.model.limit import writable

Kind = Literal["subject", "resource", "action"]
Result = Mapping[str, Any]
"""An entity: `{type, id}` or `{name}`, and `properties` where there are some."""
RULES: Mapping[Kind, str] = {"subject": "subjects", "resource": "resources", "action": "actions"}
"""What is searched for -> the rule that knows."""


@dataclass(frozen=True, slots=True)
class Page:
    """`limit`: at most so many results at once (None: not said). `token`: go on from there."""

    limit: int | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Search:
    """One search; the searched entity of `tuple` has no identifier. `page`: None when the request has none."""

    searched: Kind
    tuple: Tuple
    page: Page | None = None

    def document(self) -> dict[str, Any]:
        """The tuple as policies see it."""
        return {name: value for name, value in self.tuple.document().items() if value or name != "action"}


def read_search(body: Mapping[str, Any], searched: Kind) -> Search:
    """MalformedRequest names the member and what is allowed. What identifies the searched entity is passed over."""
    entity = body.get(searched)
    kept = {"type": entity["type"]} if isinstance(entity, dict) and "type" in entity else {}
    if isinstance(entity, dict) and searched != "action":
        entity = {name: value for name, value in entity.items() if name == "properties"} | kept
    asked = {**body, searched: None if searched == "action" else entity}
    return Search(searched, read_tuple(asked, searched=searched), _page(body))


def read_results(said: Any, searched: Kind, entity_type: str | None) -> list[Result]:
    """The entities of this type in what a rule `said`, each once, in order; ValueError: it is no such set."""
    if not isinstance(said, list):
        raise ValueError("must be a set of entities")
    found: dict[str, Result] = {}
    for one in sorted((_entity(member, searched) for member in said), key=lambda one: canonical(exact(one))):
        if one.get("type") == entity_type:
            found.setdefault(key_of(one), one)
    return [found[key] for key in sorted(found)]


def key_of(result: Result) -> str:
    """What tells it from the others of its search."""
    key: str = result["id"] if "id" in result else result["name"]
    return key


def _entity(member: Any, searched: Kind) -> dict[str, Any]:
    names = ENTITIES[searched]
    if not isinstance(member, dict) or not all(isinstance(member.get(name), str) for name in names):
        raise ValueError(f"each must be an object with {' and '.join(names)}, strings")
    properties = member.get("properties")
    if properties is not None and not (isinstance(properties, dict) and writable(properties)):
        raise ValueError("properties must be an object, not nested too deep, without numbers that readers would round")
    told = {} if properties is None else {"properties": properties}
    return {**{name: member[name] for name in names}, **told}


def _page(body: Mapping[str, Any]) -> Page | None:
    page = body.get("page")
    if page is None:
        return None
    if not isinstance(page, dict):
        raise MalformedRequest([("/page", "must be an object")])
    limit, token = page.get("limit"), page.get("token")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 0):
        raise MalformedRequest([("/page/limit", "must be an integer that is not negative")])
    if token is not None and not isinstance(token, str):
        raise MalformedRequest([("/page/token", "must be a string")])
    if page.get("properties") is not None and not isinstance(page["properties"], dict):
        raise MalformedRequest([("/page/properties", "must be an object")])
    return Page(limit or None, token or None)
