"""Makes the input document: the request without its secrets, and what only the bridge knows."""

import json
import os
from dataclasses import dataclass
from typing import Any

import orjson

from bridge.model.commitment import SALT_BYTES
from bridge.model.issuance import IssuanceRequest
from bridge.model.mask import SecretMask
from bridge.model.personal import SALT
from bridge.model.times import rfc3339


@dataclass(frozen=True, slots=True)
class Asking:
    """One issuance request from a door. `issuer` comes from the caller's configuration, never from the body."""

    request: IssuanceRequest
    door: str
    caller: str
    issuer: str
    request_id: str | None = None


def gather(asking: Asking, decision_id: str, now_ms: int, mask: SecretMask, *, salted: bool = False) -> dict[str, Any]:
    """The `input` document of every policy that this request meets; `salted`: nobody can guess it by its digest."""
    document: dict[str, Any] = mask(asking.request.document())
    document["id"] = decision_id
    document["time"] = rfc3339(now_ms)
    document["door"] = asking.door
    document["caller"] = asking.caller
    document["issuer"] = asking.issuer
    if salted:
        document[SALT] = os.urandom(SALT_BYTES).hex()
    return document


def encode(document: Any) -> bytes:
    """JSON bytes; of an input document: the exact ones that the engine sees."""
    try:
        return orjson.dumps(document)
    except TypeError:  # an integer beyond 64 bits, which JSON and OPA know and orjson does not
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
