"""Random questions, mostly denied, and policies with every shape of answer, for many recorded decisions at once."""

import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bridge.model.issuance import IssuanceRequest
from bridge.pdp.gather import Asking, Call
from tests.authzen.asking import EVALUATIONS, URN, batch, gate, item, party, user
from tests.support.bridge import LocalBridge, local_bridge
from tests.support.policies import write_policies

TARGETS = ("https://api.example", "https://pay.example", "https://other.example")
SCOPES = ("read", "write", "pay", "sealed", "tenant:a", "tenant:b", "waived", "lapsed", "never", "said", "nobody")
GRANTS = ("client_credentials", "authorization_code", "refresh_token", "device_code", "token_exchange")
AT_ONCE = 128

_WAIVER = "{kind: waiver, id: EX-17, approved_by: [ciso, cfo], expires: %s}"
_FINDING = "allow contains lib.finding(rego.metadata.chain()) if input.client.id != %s"
_SAID = """
says := object.get(object.get(input, "context", {}), "says", {})
allow := object.get(says, "allow", true)
deny := [{"code": code} | some code in says.deny]
require := says.require
limit := says.limit
claims := says.claims
crit := says.crit
"""
POLICIES = {
    "issuance.gate": """
import data.issuance.lib

# METADATA
# title: Registered
# custom:
#   code: registered
allow contains lib.finding(rego.metadata.chain()) if input.grant_type in lib.client.grant_types
# METADATA
# title: Retired
# custom:
#   code: retired
deny contains lib.finding(rego.metadata.chain()) if input.grant_type == "device_code"
limit := {"token_lifetime": 3600, "audience": ["https://api.example", "https://pay.example"]} if {
	input.client.id == "shop"
}
require contains {"amr": ["otp"]} if input.context.sensitive
""",
    "issuance.scope.read": """
# METADATA
# title: Anyone reads
# custom:
#   code: reader
allow contains {"code": "reader", "title": "Anyone reads"}
claims := {"tenant": "acme", "share": 0.5} if input.subject.type == "user"
""",
    "issuance.scope.write": """
allow contains {"code": "writer"} if input.subject.type in {"user", "client"}
deny contains {"code": "unbound", "title": "Not bound"} if not input.cnf.jkt
limit := {"token_lifetime": 60, "granted_scope": "write read"}
""",
    "issuance.scope.pay": """
allow contains {"code": "payer"}
require contains {"acr_values": ["urn:test:acr:high"], "max_age": 300}
limit := {"token_lifetime": 300, "audience": ["https://pay.example"]}
claims := {"tenant": "other"}
""",
    "issuance.scope.sealed": 'allow := true\nclaims := {"tenant": "acme"}\ncrit contains "tenant"',
    "issuance.scope.waived": f"""
import data.issuance.lib

# METADATA
# title: A waiver
# custom:
#   code: waived
#   exception: {_WAIVER % '"2099-12-31T00:00:00Z"'}
{_FINDING % '"web"'}
""",
    "issuance.scope.lapsed": f"""
import data.issuance.lib

# METADATA
# title: A waiver that has lapsed
# custom:
#   code: lapsed
#   exception: {_WAIVER % '"2020-12-31T00:00:00Z"'}
{_FINDING % '"web"'}
""",
    "issuance.scope.never": 'deny contains {"code": "not_for_you", "title": "Nobody gets this"}',
    "issuance.scope.said": _SAID,
    "issuance.scope.fails": "allow if to_number(input.client.id) > 0",
    'issuance.scope_prefix["tenant:"]': 'allow contains {"code": "tenant"} if input.scope == "tenant:a"',
    'authzen.resource["door"]': 'allow if input.subject.id in {"alice"}\ncontext := {"note": input.context.note}',
}
DATA = {
    "registry": {
        "clients": {
            issuer: {
                "shop": {"grant_types": list(GRANTS), "scopes": list(SCOPES)},
                "web": {"grant_types": ["authorization_code"], "scopes": ["read"]},
            }
            for issuer in ("https://as.example", "local")
        }
    }
}
_SAYS: tuple[dict[str, Any], ...] = (
    {},
    {"allow": []},
    {"allow": [{"code": "ok", "title": "Fine"}], "limit": {"token_lifetime": 0}},
    {"deny": ["no", "never"]},
    {"claims": {"tenant": True}},
    {"limit": {"granted_scope": "said read"}},
    {"limit": {"audience": ["https://nowhere.example"]}},
    {"require": ["consent"]},
    {"require": [{}]},
    {"limit": {"lifetime": 3}},
    {"claims": {"tenant": "acme"}, "crit": ["tenant"]},
)


def _scopes(chance: random.Random) -> list[str]:
    """A few; a package that fails now and then only, since it costs the whole chunk a second query."""
    return [*chance.sample(SCOPES, chance.randint(0, 4)), *(["fails"] if chance.random() < 0.005 else [])]


def native(chance: random.Random) -> dict[str, Any]:
    """The body of a request at the native door."""
    grant_type = chance.choice(GRANTS)
    body: dict[str, Any] = {
        "grant_type": grant_type,
        "client": {"id": chance.choice(["shop", "shop", "web", "stranger"])},
        "scopes": _scopes(chance),
        "context": {"says": chance.choice(_SAYS), **({"sensitive": True} if chance.random() < 0.1 else {})},
    }
    if grant_type != "client_credentials" or chance.random() < 0.2:
        body["subject"] = party(chance.choice(["user", "user", "workload"]), chance.choice(["alice", "bob", "carol"]))
    if grant_type == "refresh_token" and chance.random() < 0.8:
        body["grant"] = {"scopes": chance.sample(SCOPES, 6)}
    if chance.random() < 0.4:
        body["audience"] = chance.sample(TARGETS, chance.randint(1, 2))
    if chance.random() < 0.5:
        body["cnf"] = {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}
    if chance.random() < 0.3:
        body["authentication"] = {"acr": "urn:test:acr:high", "amr": ["otp"], "auth_time": 1_795_600_000}
        body["consented_scopes"] = list(body["scopes"])
    if chance.random() < 0.1:
        body["authorization_details"] = [{"type": "payment", "amount": 10.5}]
    return body


def authzen(chance: random.Random) -> dict[str, Any]:
    """A batch: subjects with a gate each, of several tokens, exchanges with two gates, and other tuples."""
    items: list[dict[str, Any]] = []
    for number in range(chance.randint(2, 20)):
        subject = party(chance.choice(["user", "client"]), f"{chance.choice(['alice', 'shop'])}{number}")
        exchange = chance.random() < 0.3
        opens = gate(grant_type="token_exchange" if exchange else chance.choice(GRANTS[:4]))
        client = chance.choice(["shop", "shop", "web", "stranger"])
        context = {"client_id": client, "says": chance.choice(_SAYS)}
        if chance.random() < 0.5:
            context["issuance"] = {"capabilities": [URN]}
        items.append(item(opens, subject, TARGETS[0], context=context))
        if exchange:
            items.append(item(opens, party("client", client), TARGETS[0], context=context))
        scopes = _scopes(chance)
        items.extend(item(scope, subject, chance.choice(TARGETS), context=context) for scope in scopes)
    if chance.random() < 0.3:
        door = {"type": chance.choice(["door", "door", "unmapped"]), "id": "d1"}
        asked = {"action": {"name": "open"}, "resource": door, "context": {"note": 1.5}}
        items.extend({"subject": user(name), **asked} for name in ("alice", "mallory"))
    return batch(*items[:200])


async def ask_native(made: LocalBridge, bodies: Iterable[dict[str, Any]]) -> None:
    """All of them in one query, as the native door would ask each."""
    call = Call("native", "as", "https://as.example")
    await made.bridge.decide([Asking(IssuanceRequest.model_validate(body).document(), call) for body in bodies])


async def ask_authzen(made: LocalBridge, body: dict[str, Any]) -> None:
    async with made.session.post(EVALUATIONS, json=body) as response:
        assert response.status == 200, await response.text()


@asynccontextmanager
async def patient_bridge(folder: Path, **sections: Any) -> AsyncIterator[LocalBridge]:
    """A bridge with those policies that waits long enough for a query of hundreds."""
    policies = folder / "rego"
    if not policies.exists():
        write_policies(policies, POLICIES, DATA)
    own = {"server": {"port": 0, "deadline_ms": 60_000}, "engine": {"deadline_ms": 50_000}}
    async with local_bridge(folder, policies, **{**own, **sections}) as made:
        yield made
