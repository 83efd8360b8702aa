"""What a product's body shows: members that may be missing, or be of another kind than they should."""

import re
from collections.abc import Mapping
from typing import Any

from bridge.errors import MalformedRequest
from bridge.model import strict_json
from bridge.model.mask import MASKED

UNKNOWN = "unknown"
"""The grant type of a document whose own is neither shown nor configured; such a wish is refused (`not_shown`)."""

_SECRETS = re.compile(r".+authorization|.*api[-_]?key|id_token_hint|request|code_verifier|dpop", re.IGNORECASE)


def member(body: Any, *names: str) -> Any:
    """The value at `names`, one inside the other; None when it is not there."""
    for name in names:
        body = body.get(name) if isinstance(body, Mapping) else None
    return body


def section(body: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """The object at `names`; empty when it is not there. MalformedRequest when it is something else."""
    found = member(body, *names)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise MalformedRequest([("/" + "/".join(names), "must be an object")])
    return found


def text(value: Any) -> str | None:
    """A string that is not empty."""
    return value if isinstance(value, str) and value else None


def texts(value: Any) -> list[str] | None:
    """A list of strings."""
    return list(value) if isinstance(value, list) and all(isinstance(item, str) for item in value) else None


def seconds(value: Any) -> int | None:
    """A number of seconds that is not negative."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def lives_s(value: Any) -> int | None:
    """How long a token lives (s); 0 is none: servers mean by it their default, or no end."""
    return seconds(value) or None


def details(value: Any) -> list[dict[str, Any]] | None:
    """Authorization details (RFC 9396), as JSON or as the text of a request's parameter; None: they cannot be read."""
    if isinstance(value, str):
        try:
            value = strict_json.loads(value.encode())
        except MalformedRequest:
            return None
    fits = isinstance(value, list) and all(isinstance(d, dict) and isinstance(d.get("type"), str) for d in value)
    return list(value) if fits else None


def without_absent(document: Mapping[str, Any]) -> dict[str, Any]:
    """The members that are something."""
    return {name: value for name, value in document.items() if value is not None}


def sent(by_client: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters or headers of the client's own request, less the secrets that `server.secret_names` need not know."""
    return {name: MASKED if _SECRETS.fullmatch(name) else value for name, value in by_client.items()}
