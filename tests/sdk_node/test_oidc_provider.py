"""A real oidc-provider mints what a real bridge allows, and nothing when it is not there."""

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.docs.pages import DOCS, blocks
from tests.sdk_node.build import PACKAGE
from tests.sdk_node.server import Provider, claims_of, running_provider
from tests.support.bridge import RunningBridge, caller, running_bridge, token_of
from tests.support.policies import POLICIES, write_policies

TARGET = "https://accounts.example"
POLICY = {
    **POLICIES,
    "issuance.scope.read": """
default lasting := 600
lasting := 90 if input.grant_type == "refresh_token"
allow contains {"code": "reader"}
limit := {"token_lifetime": lasting}
""",
    "issuance.scope.pay": 'allow := true\nrequire contains {"acr_values": ["urn:test:acr:high"]}',
}


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBridge]:
    folder = tmp_path_factory.mktemp("sdk")
    with running_bridge(folder, write_policies(folder / "rego", POLICY), callers=[caller("as")]) as running:
        yield running


@pytest.fixture(scope="module")
def provider(bridge: RunningBridge, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with running_provider(tmp_path_factory.mktemp("provider"), bridge.url, token_of("as")) as running:
        yield running


def decisions(bridge: RunningBridge) -> list[dict[str, Any]]:
    return [entry for entry in bridge.entries() if entry["kind"] == "decision"]


def test_client_credentials(provider: Provider, bridge: RunningBridge) -> None:
    status, body = provider.job("read write")
    assert (status, body["scope"], body["expires_in"]) == (200, "read write", 60)
    claims = claims_of(body["access_token"])
    assert (claims["sub"], claims["aud"], claims["scope"]) == ("job", TARGET, "read write")
    assert claims["exp"] - claims["iat"] == 60
    assert decisions(bridge)[-1]["outcome"] == "allow"


def test_narrowed(provider: Provider) -> None:
    status, body = provider.job("read never")
    assert (status, body["scope"], body["expires_in"]) == (200, "read", 600)
    assert claims_of(body["access_token"])["scope"] == "read"


def test_claims_and_critical_ones(provider: Provider) -> None:
    status, body = provider.job("sealed")
    assert (status, body["scope"], body["expires_in"]) == (200, "sealed", 3600)
    claims = claims_of(body["access_token"])
    assert (claims["tenant"], claims["region"]) == ("acme", {"eu": [1, True, "x", 0.5]})


def test_denied(provider: Provider) -> None:
    assert provider.job("read", client="blocked") == (
        400,
        {"error": "access_denied", "error_description": "the token may not be issued"},
    )
    assert provider.job("never")[1]["error"] == "invalid_scope"
    assert provider.job("pay")[1]["error"] == "invalid_scope"
    assert provider.job("elsewhere")[1]["error"] == "invalid_scope"
    reasons = [report["cause"]["reason"] for report in provider.reports()[-4:]]
    assert reasons[0] == "a gate is closed" and reasons[3] == "the resource has none of the scopes"


def test_the_default_scopes_are_asked_and_granted(provider: Provider) -> None:
    status, body = provider.job()
    assert (status, body["scope"], body["expires_in"]) == (200, "read", 600)


def test_a_code_and_its_refreshes(provider: Provider) -> None:
    status, body = provider.redeem(provider.code("openid read never"))
    assert (status, body["scope"], body["expires_in"]) == (200, "read", 600), body
    claims = claims_of(body["access_token"])
    assert (claims["sub"], claims["client_id"], claims["aud"]) == ("u-1", "shop", TARGET)
    status, body = provider.refresh(body["refresh_token"])
    assert (status, body["scope"], body["expires_in"]) == (200, "read", 90), body
    status, body = provider.refresh(body["refresh_token"], scope="read openid")
    assert (status, claims_of(body["access_token"])["scope"]) == (200, "read")


def test_a_code_that_waits_for_a_better_sign_in(provider: Provider) -> None:
    status, body = provider.redeem(provider.code("openid pay"))
    assert (status, body["error"]) == (400, "invalid_grant")
    assert "access_token" not in body and "high" not in json.dumps(body)
    assert provider.reports()[-1]["cause"]["stepUp"]["acrValues"] == ["urn:test:acr:high"]


def test_nothing_is_asked_at_the_authorization_endpoint(provider: Provider, bridge: RunningBridge) -> None:
    before = len(decisions(bridge))
    code = provider.code("openid read")
    assert len(decisions(bridge)) == before
    assert provider.redeem(code)[0] == 200
    assert len(decisions(bridge)) == before + 1, "one question for one token"


def test_the_key_of_a_dpop_proof_is_shown(provider: Provider, bridge: RunningBridge) -> None:
    proof, thumbprint = dpop(f"{provider.url}/token")
    reply = provider.http.post(
        "/token",
        data={"grant_type": "client_credentials", "scope": "read"},
        headers={"DPoP": proof},
        auth=("job", "example-secret"),
    )
    assert reply.status_code == 200, reply.text
    assert claims_of(reply.json()["access_token"])["cnf"] == {"jkt": thumbprint}
    assert bridge.input_of(decisions(bridge)[-1]["id"])["cnf"] == {"jkt": thumbprint}


def test_a_bridge_that_dies_in_the_middle(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "rego", POLICY)
    with (
        running_bridge(tmp_path / "bridge", policies, callers=[caller("as")]) as bridge,
        running_provider(tmp_path, bridge.url, token_of("as")) as provider,
    ):
        status, body = provider.redeem(provider.code("openid read"))
        code = provider.code("openid read")
        assert status == 200 and provider.job("read")[0] == 200
        bridge.process.kill()
        bridge.process.wait()
        text = "no decision could be made, try again later"
        nothing = 503, {"error": "temporarily_unavailable", "error_description": text}
        assert provider.job("read") == nothing
        assert provider.redeem(code) == nothing
        assert provider.refresh(body["refresh_token"]) == nothing


def test_a_caller_that_the_bridge_does_not_know(bridge: RunningBridge, tmp_path: Path) -> None:
    with running_provider(tmp_path, bridge.url, "somebody-else") as provider:
        assert provider.job("read")[0] == 500
        assert provider.reports()[-1]["event"] == "server_error"


def test_the_documented_configuration_is_the_one_that_was_tried() -> None:
    (documented,) = (block.text for block in blocks(DOCS / "sdks.md") if block.language == "js")
    assert documented == (PACKAGE / "example/configuration.js").read_text()


def dpop(url: str) -> tuple[str, str]:
    """A proof (RFC 9449) for a POST to `url` with a fresh key, and the key's thumbprint."""

    def encode(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    key = ec.generate_private_key(ec.SECP256R1())
    numbers = key.public_key().public_numbers()
    x, y = (encode(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
    jwk = {"crv": "P-256", "kty": "EC", "x": x, "y": y}
    head = {"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk}
    body = {"jti": "one", "htm": "POST", "htu": url, "iat": int(time.time())}
    signed = ".".join(encode(json.dumps(part).encode()) for part in (head, body))
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    signature = encode(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    thumbprint = hashlib.sha256(json.dumps(jwk, separators=(",", ":")).encode()).digest()
    return f"{signed}.{signature}", encode(thumbprint)
