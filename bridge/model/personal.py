"""Keeps personal values out of entries: commitments in their place, and wherever else the entry repeats them.

A value can come back in what policies say (claims, titles, codes, messages) and in other members of the request. So
claims, granted details and messages are committed whatever they say, and every other text is looked through.
"""

import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import orjson

from bridge.model.commitment import MEMBER, SALT_BYTES, Disclosure, as_text, as_value, commit, standing_in
from bridge.model.decision import Code, Outcome
from bridge.model.dialect import ANY
from bridge.model.entry import canonical, exact
from bridge.model.issuance import Authentication, Grant, PolicyInput, Subject
from bridge.model.mask import MASKED, covers, replace_at
from bridge.model.verdict import EXCEPTION_KINDS, FIELDS

Pointer = tuple[str, ...]
SALT = "salt"
"""The member of the input document that keeps anyone from guessing a document by its digest."""
MIN_TEXT, MIN_NUMBER = 3, 1000
"""Shorter texts and smaller numbers are not looked for elsewhere: they stand everywhere, and tell next to nothing."""
MAX_PLACES = 1000
"""Values of one request that are kept to be disclosed: each costs work, and a caller sends as many as it likes."""
_LOOKED_THROUGH = frozenset(
    [
        *("request", "request_id", "granted_scopes", "scopes", "findings", "limit", "require", "claims", "crit"),
        *("reply", "exceptions", "decisions", "results", "terms"),
    ]
)
_FEW = 64
_WORDS = frozenset(
    [
        *(name for model in (PolicyInput, Subject, Grant, Authentication) for name in model.model_fields),
        *("user", "client", "workload", "token", "authorization"),
        *(
            "outcome",
            "findings",
            "code",
            "title",
            "granted_scope",
            "token_lifetime",
            "max_age",
            "acr_values",
            "consent",
        ),
        *("max_token_lifetime", "targets", "within", "bare", "gate_alone", "source_failed", "gate"),
        *("dialect", "lifetime", "lives", "details", "claim_names", "withheld", "plain_names", "standing", "waiting"),
        *("refused", *ANY),
        *("path", "package", "message", "approved_by", "expires", "reason", "number", MEMBER),
        *("fail_closed", "expired_exception", *EXCEPTION_KINDS, *FIELDS, *Outcome, *Code),
    ]
)
"""What the bridge itself writes into those members, as a name or a value."""


class Personal:
    """`pointers`: which values of a request are personal (JSON pointers, split into their tokens)."""

    def __init__(self, pointers: Sequence[Pointer]) -> None:
        self._pointers = tuple(sorted(pointers, key=len))  # what lies within another one's value is hidden with it
        self._clients_too = any(covers(pointer, ("client", "id")) for pointer in pointers)

    def values(self, document: dict[str, Any]) -> list[Any]:
        """The personal values in `document`."""
        found: list[Any] = []
        replace_at(document, self._pointers, found.append)
        return found

    def hiding(self, document: dict[str, Any], known: Sequence[Container[str]] = ()) -> "Hiding":
        """For one request: `document` is the whole input, unmasked; `known`: texts of the policies, so nobody's."""
        return Hiding(self._pointers, exact(document), known, None if self._clients_too else _own_id(document))


class Hiding:
    """Hides the personal values of one request in the entries about it, and keeps what it hid."""

    def __init__(
        self, pointers: Sequence[Pointer], document: dict[str, Any], known: Sequence[Container[str]], client: str | None
    ) -> None:
        self._pointers, self._client = pointers, client
        named = [document.get(name) for name in ("id", "time", "door", "caller", "issuer", "grant_type", "token_type")]
        self._known: tuple[Container[str], ...] = (_WORDS, frozenset(filter(None, named)), *known)
        self._kept: dict[str, tuple[bytes, bytes]] = {}  # commitment -> salt, value
        self._places: list[tuple[str, str]] = []
        self._names: dict[str | int, str] = {}  # a text is one and the same throughout an entry: scopes, codes
        leaves: set[str | int] = {document.get(SALT, "")}
        replace_at(document, self._pointers, lambda value: leaves.update(_leaves(value)))
        self._numbers = {leaf for leaf in leaves if isinstance(leaf, int)}
        texts = {leaf for leaf in leaves if isinstance(leaf, str) and leaf not in (MASKED, client)}
        texts = {text.casefold() for text in texts if not self._is_known(text)} | {str(n) for n in self._numbers}
        self._texts = sorted(text for text in texts if len(text) >= MIN_TEXT)

    def places(self, entry: dict[str, Any]) -> dict[str, Any]:
        """The entry with commitments in the places that have personal values, or may have them whatever they say."""
        request = {name: value for name, value in entry["request"].items() if name != SALT}
        request = replace_at(request, self._pointers, self._named)
        self._places = standing_in(request, ("request",))
        codes = self._mentioned(canonical([rule["code"] for rule in entry["rules"]]))
        return {
            **entry,
            **self._answers(entry),
            "request": request,
            "exceptions": [
                {**e, "message": self._value(e["message"])} if "message" in e else e for e in entry["exceptions"]
            ],
            "rules": [{**rule, "code": self._text(rule["code"], codes)} for rule in entry["rules"]]
            if codes
            else entry["rules"],
        }

    def _answers(self, entry: dict[str, Any]) -> dict[str, Any]:
        """What policies give with an answer, of an issuance request or of other tuples, whatever it says.

        Of a search the results: the pointers say which values of them.
        """
        if "results" in entry:
            return replace_at({"results": entry["results"]}, self._pointers, self._named)
        if "decisions" in entry:
            given = [{**d, "context": self._value(d["context"])} if "context" in d else d for d in entry["decisions"]]
            return {"decisions": given}
        return {
            "claims": {name: self._value(value) for name, value in entry["claims"].items()},
            "limit": self._limit(entry["limit"]),
            "scopes": {
                scope: {**answer, "limit": self._limit(answer["limit"])} if "limit" in answer else answer
                for scope, answer in entry["scopes"].items()
            },
        }

    def mentions(self, entry: dict[str, Any]) -> dict[str, Any]:
        """The entry with a commitment for each text or name that repeats a personal value. Its size must be bounded."""
        found = self._mentioned(canonical(entry))
        if not found:
            return entry
        return {
            name: self._without(value, found) if name in _LOOKED_THROUGH else value for name, value in entry.items()
        }

    def disclosures(self, entries: Sequence[dict[str, Any]]) -> list[tuple[Disclosure, ...]]:
        """What is to be kept beside each of these entries.

        A personal value of the request is kept with the first one even when it was left out there for want of room:
        by it the entry is found, and with it the input document, when it is to be erased.
        """
        standing = [[(path, c) for path, c in standing_in(_part(entry)) if c in self._kept] for entry in entries]
        there = {c for places in standing for _, c in places}
        standing[0].extend((path, c) for path, c in self._places if c in self._kept and c not in there)
        return [tuple(Disclosure(path, *self._kept[c]) for path, c in places) for places in standing]

    def _named(self, value: Any) -> Any:
        clear = value in (MASKED, self._client) if isinstance(value, str) else value is None
        if clear or self._is_ours(value):
            return value
        return self._value(value) if len(self._kept) < MAX_PLACES else MASKED

    def _value(self, value: Any) -> dict[str, str]:
        return as_value(self._keep(value))

    def _keep(self, value: Any) -> str:
        salt, written = os.urandom(SALT_BYTES), canonical(value)
        commitment = commit(salt, written)
        self._kept[commitment] = salt, written
        return commitment

    def _is_ours(self, value: Any) -> bool:
        if isinstance(value, dict) and value.keys() == {MEMBER}:
            value = value[MEMBER]
        return isinstance(value, str) and value in self._kept

    def _limit(self, limit: dict[str, Any]) -> dict[str, Any]:
        name = "authorization_details"
        return {**limit, name: self._value(limit[name])} if name in limit else limit

    def _is_known(self, text: str) -> bool:
        return any(text in texts for texts in self._known)

    def _mentioned(self, written: bytes) -> list[str]:
        """Which personal texts stand somewhere in this JSON, as far as case does not matter."""
        text = written.decode().casefold()
        wanted = [(one, canonical(one).decode()[1:-1]) for one in self._texts]
        if len(wanted) > _FEW:  # a hostile request may have very many
            parts = {text[at : at + MIN_TEXT] for at in range(len(text))}
            wanted = [(one, as_written) for one, as_written in wanted if as_written[:MIN_TEXT] in parts]
        return [one for one, as_written in wanted if as_written in text]

    def _without(self, value: Any, found: Sequence[str]) -> Any:
        if isinstance(value, str):
            return self._text(value, found)
        if isinstance(value, int):
            return self._name(value) if value in self._numbers and not isinstance(value, bool) else value
        if isinstance(value, list):
            return [self._without(item, found) for item in value]
        if isinstance(value, dict) and not self._is_ours(value):
            return {self._text(name, found): self._without(item, found) for name, item in value.items()}
        return value

    def _text(self, text: str, found: Sequence[str]) -> str:
        folded = text.casefold()
        if not any(one in folded for one in found) or self._is_known(text):
            return text
        return self._name(text)

    def _name(self, text: str | int) -> str:
        if text not in self._names:
            self._names[text] = as_text(self._keep(text))
        return self._names[text]


def hide_repeats(
    entry: dict[str, Any], members: Iterable[str], decision: Mapping[str, Any], hidden: Sequence[Disclosure]
) -> tuple[dict[str, Any], tuple[Disclosure, ...]]:
    """A later entry about a decision, without what it repeats of the personal values in those `members`.

    `decision` is the decision's entry, revealed, and `hidden` what is kept for it. Where some of that is erased nobody
    can tell any more what repeats it: then only what the decision itself shows stays.
    """
    values: dict[str, Any] = {}
    for one in hidden:
        with suppress(ValueError):  # erased
            values[one.path] = orjson.loads(one.value)
    asked = [path for path in (one.path for one in hidden) if path.startswith("/request/")]
    leaves = {leaf for path in asked if path in values for leaf in _leaves(values[path]) if isinstance(leaf, str)}
    repeated = {leaf.casefold() for leaf in leaves if len(leaf) >= MIN_TEXT}
    shown = {text for name in ("request", "scopes", "granted_scopes", "limit") for text in _texts(decision.get(name))}
    shown -= {value for value in values.values() if isinstance(value, str)}
    unsure = any(path not in values for path in asked)
    kept: dict[str, Disclosure] = {}

    def hide(value: Any, path: str) -> Any:
        if isinstance(value, list):
            return [hide(item, f"{path}/{at}") for at, item in enumerate(value)]
        if value in shown or not (unsure or any(leaf in value.casefold() for leaf in repeated)):
            return value
        one = kept[path] = Disclosure(path, os.urandom(SALT_BYTES), canonical(value))
        return as_text(one.commitment)

    changed = {name: hide(entry[name], f"/{name}") for name in members if name in entry}
    return {**entry, **changed}, tuple(kept.values())


def _texts(value: Any) -> Iterator[str]:
    """Every string in it, the names of members too."""
    if isinstance(value, dict):
        yield from value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(item)
    if isinstance(value, str):
        yield value


def _part(entry: dict[str, Any]) -> dict[str, Any]:
    """The members that may have commitments; the rules are nearly all of an entry, and hardly ever have one."""
    hidden = any(rule["code"].startswith(MEMBER) for rule in entry.get("rules", ()))
    return {name: value for name, value in entry.items() if name in _LOOKED_THROUGH or (hidden and name == "rules")}


def _own_id(document: dict[str, Any]) -> str | None:
    """The client's id where the client is its own subject (client_credentials): no person, and shown as the client."""
    subject, client = document.get("subject", {}), document.get("client", {}).get("id")
    return client if client is not None and subject.get("type") == "client" and subject.get("id") == client else None


def _leaves(value: Any) -> Iterator[str | int]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, str) or (
        isinstance(value, int) and not isinstance(value, bool) and abs(value) >= MIN_NUMBER
    ):
        yield value
