"""AuthZEN batches of one gate and five scopes, and the same put to OPA's Data API as the bridge would put it."""

import json
from typing import Any

import orjson

from bench.policies import ISSUER
from bench.targets import CALLER
from bridge.doors.authzen.door import NAME
from bridge.doors.authzen.plan import plan
from bridge.model.authzen import Tuple, read_evaluations
from bridge.model.mask import SecretMask
from bridge.model.times import now_ms, uuid7
from bridge.pdp.gather import Call, encode, gather


def batch(body: bytes) -> bytes:
    """The native request `body` as a batch. Consent cannot be shown there, so the scope that wants it is denied."""
    request: dict[str, Any] = json.loads(body)
    gate = f"issue:access_token:{request['grant_type']}"
    context = {**request["context"], **request["authentication"], "cnf": request["cnf"]}
    return encode(
        {
            "subject": request["subject"],
            "resource": {"type": "audience", "id": request["audience"][0]},
            "context": {"client_id": request["client"]["id"], **context},
            "evaluations": [{"action": {"name": name}} for name in (gate, *request["scopes"])],
        }
    )


def question(body: bytes) -> bytes:
    """The query that the bridge makes of a batch."""
    asked = read_evaluations(orjson.loads(body), 200)
    tuples = {number: item for number, item in enumerate(asked.items) if isinstance(item, Tuple)}
    at = now_ms()
    (asking,) = plan(tuples, Call(NAME, CALLER, ISSUER), uuid7(at), ()).askings
    document = encode(gather(asking.request, asking.call, uuid7(at), at, SecretMask()))
    return b'{"input":{"items":[{"id":"0","doc":%b,"gate":true,"scopes":%b}]}}' % (document, encode(asking.scopes))
