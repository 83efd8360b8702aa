"""A bridge over policies of the tests' own, the example token service that asks it, and what its replies must be."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from joserfc.jwk import ECKey

from examples.token_service.clients import CALLBACK, JWT_BEARER, PARTNER, Client, sample_store
from examples.token_service.local import ISSUER, Bridge, Via, running_bridge, running_token_service
from examples.token_service.oauth_client import OAuthClient, assertion

ORDERS, REPORTS = "https://orders.example", "https://reports.example"
PASSWORD, BANKID = "urn:test:acr:password", "urn:test:acr:bankid"

# One scope per file, so that each test sees one thing.
POLICIES = {
    "issuance.gate": """
allow := true
deny contains {"code": "client_blocked"} if input.client.id == "blocked"
deny contains {"code": "online_only"} if {
    input.token_type in {"refresh_token", "id_token"}
    "online_only" in input.grant.scopes
}
""",
    "issuance.scope.openid": """
allow := true
claims["name"] := input.subject.properties.name if input.token_type == "id_token"
""",
    "issuance.scope.online_only": "allow := true",
    'issuance.scope["orders:read"]': f"""
allow := true
limit := {{"token_lifetime": 120, "audience": ["{ORDERS}"]}} if input.token_type == "access_token"
""",
    'issuance.scope["orders:write"]': f"""
allow := true
require contains {{"acr_values": ["{BANKID}"], "max_age": 300}}
limit["token_lifetime"] := 60
""",
    "issuance.scope.plain": "allow := true",
    "issuance.scope.shared": 'allow := true\nrequire contains "consent"',
    "issuance.scope.never": 'deny contains {"code": "not_for_you", "title": "Nobody gets this"}',
    "issuance.scope.elsewhere": 'allow := true\nlimit := {"audience": ["https://elsewhere.example"]}',
    "issuance.scope.tenant": """
allow := true
claims := {"tenant": "acme", "region": {"eu": [1, true, "x"]}}
crit contains "tenant"
""",
    "issuance.scope.sealed": 'allow := true\nclaims := {"seal": "s"}\ncrit contains "seal"',
    "issuance.scope.forged": 'allow := true\nclaims := {"acr": "forged"}',
    "issuance.scope.pay": """
allow := true
limit := {"authorization_details": [d | some d in input.authorization_details; d.type == "payment"]}
""",
}


@dataclass(frozen=True)
class Service:
    """What runs."""

    bridge: Bridge
    url: str
    partner_key: ECKey

    def client(self, client_id: str, *, dpop: bool = False) -> OAuthClient:
        secret = None if client_id == "public" else f"{client_id}-secret"
        return OAuthClient(self.url, client_id, secret, dpop=dpop)

    def assertion(self, subject: str = "alice", **changes: object) -> str:
        return assertion(self.partner_key, PARTNER, subject, ISSUER, **changes)


def write_policies(folder: Path) -> Path:
    """The policies above as a folder of Rego files."""
    folder.mkdir()
    for number, (package, rules) in enumerate(POLICIES.items()):
        (folder / f"p{number}.rego").write_text(f"package {package}\n\n{rules}\n")
    return folder


@contextlib.contextmanager
def running_service(folder: Path, policies: Path | None = None, via: Via = "native") -> Iterator[Service]:
    """The bridge over `policies` (the ones above, when None) and the token service."""
    store, key, both = sample_store(), ECKey.generate_key("P-256"), (ORDERS, REPORTS)
    code = ("authorization_code", "refresh_token")
    for client in (
        Client("batch", ("client_credentials",), both, default_scope="plain", secret="batch-secret"),
        Client("blocked", ("client_credentials",), both, default_scope="plain", secret="blocked-secret"),
        Client("app", code, both, "openid", secret="app-secret", redirect_uris=(CALLBACK,)),
        Client("public", code, both, "openid", redirect_uris=(CALLBACK,)),
        Client("partner", (JWT_BEARER,), both, "plain", secret="partner-secret", assertion_issuers=(PARTNER,)),
    ):
        store.clients[client.client_id] = client
    store.trusted_issuers[PARTNER] = key
    with (
        running_bridge(folder, policies or write_policies(folder / "rego")) as bridge,
        running_token_service(store, bridge, via=via) as url,
    ):
        yield Service(bridge, url, key)


def issued(reply: httpx.Response) -> dict[str, Any]:
    assert reply.status_code == 200, reply.text
    assert reply.headers["Cache-Control"] == "no-store"
    body: dict[str, Any] = reply.json()
    return body


def refused(reply: httpx.Response, error: str, status: int = 400) -> dict[str, Any]:
    body: dict[str, Any] = reply.json()
    assert (reply.status_code, body["error"]) == (status, error), reply.text
    assert not body.keys() & {"access_token", "refresh_token", "id_token"}
    return body


def split_times(claims: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """The claims without those of time, and the life in seconds."""
    rest = dict(claims)
    issued_at, expires = rest.pop("iat"), rest.pop("exp")
    assert abs(time.time() - issued_at) < 30
    return rest, expires - issued_at
