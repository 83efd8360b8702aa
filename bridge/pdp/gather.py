"""Makes the input document: the request without its secrets, and what only the bridge knows."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from bridge.model.commitment import SALT_BYTES
from bridge.model.decision import Code
from bridge.model.dialect import Dialect
from bridge.model.mask import SecretMask
from bridge.model.personal import SALT
from bridge.model.times import rfc3339


@dataclass(frozen=True, slots=True)
class Call:
    """Who asks, and through which door. `issuer` comes from the caller's configuration, never from the body.

    `patience_s`: how long the caller waits at most (None: longer than any deadline of ours).
    """

    door: str
    caller: str
    issuer: str
    request_id: str | None = None
    patience_s: float | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """The AuthZEN request that a document is a part of: its id, and which of its items the document answers."""

    id: str
    items: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Bare:
    """A dialect whose answer is yes or no and nothing else; `token_lifetime_s`: how long its tokens live anyway."""

    token_lifetime_s: int | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """How a door's dialect bounds the answer; the native door's are the defaults.

    `scopes`: which scopes of the document are to be answered (None: all). `targets`: those of the batch that
    a limit's audience may name. `crit`: whether the caller honours critical claims. `gate_of`: the place in the batch
    of the document whose gate counts for this one (None: its own). `bare`: only yes or no can be said. `tokens`: what
    of the batch the document is about; those that share one are about the same. `gate_alone`: no scope is asked for
    there, so a gate's `granted_scope` goes out. `dialect`: what a reply about one token as a whole can say (None: all).
    `refused`: why nothing is granted whatever the policies say (None: it is up to them).
    """

    scopes: tuple[str, ...] | None = None
    targets: tuple[str, ...] | None = None
    crit: bool = True
    gate_of: int | None = None
    bare: Bare | None = None
    tokens: frozenset[tuple[str, ...]] = frozenset()
    gate_alone: bool = False
    dialect: Dialect | None = None
    refused: Code | None = None


NATIVE = Terms()


@dataclass(frozen=True, slots=True)
class Asking:
    """One issuance request from a door: `request` is the document as policies see it, less what the bridge adds."""

    request: Mapping[str, Any]
    call: Call
    terms: Terms = NATIVE
    batch: Batch | None = None

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes to answer."""
        return tuple(self.request["scopes"]) if self.terms.scopes is None else self.terms.scopes


def gather(
    request: Mapping[str, Any], call: Call, decision_id: str, now_ms: int, mask: SecretMask, *, salted: bool = False
) -> dict[str, Any]:
    """The `input` document of every policy that this request meets; `salted`: nobody can guess it by its digest."""
    document: dict[str, Any] = mask(request)
    document["id"] = decision_id
    document["time"] = rfc3339(now_ms)
    document["door"] = call.door
    document["caller"] = call.caller
    document["issuer"] = call.issuer
    if salted:
        document[SALT] = os.urandom(SALT_BYTES).hex()
    return document


def encode(document: Any) -> bytes:
    """JSON bytes; of an input document: the exact ones that the engine sees."""
    try:
        return orjson.dumps(document)
    except TypeError:  # an integer beyond 64 bits, which JSON and OPA know and orjson does not
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
