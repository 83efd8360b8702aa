"""What a decision hung on beside its input document, as its entry has it, so that it can be decided again."""

from collections.abc import Mapping, Sequence
from typing import Any

from bridge.model.decision import Code
from bridge.model.dialect import Dialect
from bridge.model.mask import MASKED
from bridge.model.source import Use
from bridge.model.times import parse_rfc3339
from bridge.pdp.gather import Bare, Terms
from bridge.pdp.question import Question

AS_ASKED = "audience"
"""In the place of `targets`: they are the document's own audience, as for a batch with one target."""


def terms_json(question: Question, denies: frozenset[Use], mask: Sequence[tuple[str, ...]] = ()) -> dict[str, Any]:
    """The member `terms`: only what is not as at the native door, without a ceiling and without a failed source.

    `denies`: what failed sources took away (None: the gate). `mask`: pointers into the request; where one hides its
    audience, targets are not shown here either, and the decision cannot be replayed.
    """
    terms, told = question.terms, dict[str, Any]()
    if question.max_token_lifetime_s is not None:
        told["max_token_lifetime"] = question.max_token_lifetime_s
    if terms.scopes is not None and list(terms.scopes) != question.document["scopes"]:
        told["scopes"] = list(terms.scopes)
    if terms.targets is not None:
        told["targets"] = _targets(list(terms.targets), question.document, mask)
    told |= _of_the_reply(terms)
    if question.within is not None:
        told["within"] = sorted(question.within)
    if denies:
        scopes = sorted(use for use in denies if use is not None)
        told["source_failed"] = {"gate": None in denies, "scopes": scopes}
    return told


def _of_the_reply(terms: Terms) -> dict[str, Any]:
    """What can be said to the caller, and whether anything but no."""
    told: dict[str, Any] = {}
    if not terms.crit:
        told["crit"] = False
    if terms.bare is not None:
        lives = terms.bare.token_lifetime_s
        told["bare"] = {} if lives is None else {"token_lifetime": lives}
    if terms.gate_alone:
        told["gate_alone"] = True
    if terms.dialect is not None:
        told["dialect"] = terms.dialect.document()
    if terms.refused is not None:
        told["refused"] = terms.refused.value
    return told


def _targets(targets: list[str], document: Mapping[str, Any], mask: Sequence[tuple[str, ...]]) -> list[str] | str:
    if targets == document.get("audience"):
        return AS_ASKED
    return MASKED if any(pointer[0] in ("audience", "*") for pointer in mask) else targets


def read_terms(told: Mapping[str, Any], document: Mapping[str, Any]) -> tuple[Question, frozenset[Use]]:
    """The question on `document` as it was asked then, and what failed sources took away; `terms_json` backwards.

    ValueError, KeyError, TypeError or AttributeError: no bridge has written that, or it is masked or erased.
    """
    at = parse_rfc3339(document["time"])
    if at is None:
        raise ValueError("the document's time is none")
    bare, failed = told.get("bare"), told.get("source_failed")
    targets = told.get("targets")
    terms = Terms(
        scopes=_texts(told["scopes"] if "scopes" in told else document["scopes"]),
        targets=None if targets is None else _texts(document["audience"] if targets == AS_ASKED else targets),
        crit=bool(told.get("crit", True)),
        bare=None if bare is None else Bare(_seconds(bare.get("token_lifetime"))),
        gate_alone=bool(told.get("gate_alone", False)),
        dialect=None if told.get("dialect") is None else Dialect.read(told["dialect"]),
        refused=None if told.get("refused") is None else Code(told["refused"]),
    )
    within = frozenset(_texts(told["within"])) if "within" in told else None
    denies: frozenset[Use] = frozenset()
    if failed is not None:
        denies = frozenset([*_texts(failed["scopes"]), *([None] if failed["gate"] else [])])
    return Question(document, at, _seconds(told.get("max_token_lifetime")), terms, within), denies


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError("not a list of texts")
    return tuple(value)


def _seconds(value: Any) -> int | None:
    if value is not None and type(value) is not int:
        raise ValueError("not a number of seconds")
    return value
