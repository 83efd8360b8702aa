"""Evidence entries: one JSON object each, in exact bytes that are hashed and never written anew (RFC 8785 spirit)."""

from typing import Any

import orjson

MAX_ENTRY_BYTES = 32 * 1024
LONG_NAME = 64
FOUND_BY = ("decision_id", "jti_digest", "ended_digest", "ending_id", "logout_digest")
"""Members that lead to an entry from another one: the decision, the token, what ended, its ending, or the logout token,
that it is about."""
_EXACT = 2**53


def canonical(value: Any) -> bytes:
    """UTF-8 JSON, names sorted, no spaces. Numbers must have gone through `exact` before."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def exact(value: Any) -> Any:
    """`value` with every number but integers below 2^53 as `{"number": "0.5"}`, so that no reader rounds it."""
    if isinstance(value, dict):  # nearly all members are strings or small numbers: no call for those
        return {
            name: item if type(item) is str or (type(item) is int and -_EXACT < item < _EXACT) else exact(item)
            for name, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [
            item if type(item) is str or (type(item) is int and -_EXACT < item < _EXACT) else exact(item)
            for item in value
        ]
    if isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) >= _EXACT):
        return {"number": repr(value)}
    return value


def fit(entry: dict[str, Any], *, room: int = 512) -> dict[str, Any]:
    """The entry within 32 KiB, `room` bytes left for what the writer adds.

    First `request` shrinks to what identifies it, then `claims` goes, then the titles of findings, then the ends of
    long names there, then all of `sources` but names and status, then `terms`. `rules`, `exceptions`, `scopes` and
    `policy` never go. ValueError when even that is too much.
    """
    limit = MAX_ENTRY_BYTES - room
    for shrink in (None, *_SHRINKING):
        if shrink is not None:
            entry = shrink(entry)
        if len(orjson.dumps(entry)) <= limit:  # the canonical form is as long
            return entry
    raise ValueError("the entry does not fit")


def _without_request(entry: dict[str, Any]) -> dict[str, Any]:
    request = entry.get("request", {})
    kept = {name: request[name] for name in ("grant_type", "token_type", "phase", "issuer") if name in request}
    for name in ("client", "subject", "actor", "session"):
        if isinstance(who := request.get(name), dict):  # a masked one is a string
            kept[name] = {k: v for k, v in who.items() if k in ("type", "id", "commitment")}
    return {**entry, "request": kept, "shortened": _shortened(entry, "request")}


def _without_claims(entry: dict[str, Any]) -> dict[str, Any]:
    return {**{k: v for k, v in entry.items() if k != "claims"}, "shortened": _shortened(entry, "claims")}


def _without_titles(entry: dict[str, Any]) -> dict[str, Any]:
    scopes = {
        scope: {**answer, "findings": [{"code": f["code"]} for f in answer["findings"]]}
        for scope, answer in entry.get("scopes", {}).items()
    }
    findings = [{"code": f["code"]} for f in entry.get("findings", ())]
    return {**entry, "scopes": scopes, "findings": findings, "shortened": _shortened(entry, "titles")}


def _without_long_names(entry: dict[str, Any]) -> dict[str, Any]:
    def cut(value: Any) -> Any:
        return {k: cut(v) for k, v in value.items()} if isinstance(value, dict) else value[:LONG_NAME]

    return {**entry, "request": cut(entry["request"]), "shortened": _shortened(entry, "names")}


def _bare_sources(entry: dict[str, Any]) -> dict[str, Any]:
    bare = [{k: told[k] for k in ("name", "status")} for told in entry.get("sources", ())]
    return {**entry, "sources": bare, "shortened": _shortened(entry, "sources")} if bare else entry


def _without_terms(entry: dict[str, Any]) -> dict[str, Any]:
    if not entry.get("terms"):
        return entry
    return {**{k: v for k, v in entry.items() if k != "terms"}, "shortened": _shortened(entry, "terms")}


_SHRINKING = (
    *(_without_request, _without_claims, _without_titles, _without_long_names, _bare_sources),
    _without_terms,
)


def _shortened(entry: dict[str, Any], what: str) -> list[str]:
    """An entry may have been shortened before, and may have grown since."""
    return list(dict.fromkeys([*entry.get("shortened", ()), what]))


def chunks(items: list[dict[str, Any]], limit: int) -> list[list[dict[str, Any]]]:
    """`items` in their order, in lists of at most `limit` bytes each (or of one item that alone is larger)."""
    found: list[list[dict[str, Any]]] = [[]]
    size = 0
    for item in items:
        length = len(canonical(item)) + 1
        if found[-1] and size + length > limit:
            found.append([])
            size = 0
        found[-1].append(item)
        size += length
    return found
