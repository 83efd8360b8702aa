"""Refresh tokens, assertions and bound tokens of the example token service: real HTTP, policies and JWTs."""

import contextlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from examples.token_service.bridge_client import BridgeClient
from examples.token_service.clients import PARTNER
from examples.token_service.local import ISSUER
from examples.token_service.oauth_client import OAuthClient

from .token_service_setup import (
    BANKID,
    ORDERS,
    PASSWORD,
    REPORTS,
    Service,
    issued,
    refused,
    running_service,
    split_times,
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("token-service")) as running:
        yield running


@pytest.fixture
def app(service: Service) -> Iterator[OAuthClient]:
    with service.client("app") as client:
        client.consent("alice")
        client.sign_in("alice", PASSWORD, "pwd")
        yield client


class TestRefresh:
    def test_a_scope_denied_once_may_return(self, service: Service, app: OAuthClient) -> None:
        app.consent("alice", "shared")
        first = issued(app.code_flow("plain shared"))
        app.consent("alice")
        narrowed = issued(app.refresh(first["refresh_token"]))
        app.consent("alice", "shared")
        again = issued(app.refresh(first["refresh_token"]))
        tokens = [app.verified(body["access_token"]).claims for body in (first, narrowed, again)]
        assert [claims["scope"] for claims in tokens] == ["plain shared", "plain", "plain shared"]
        assert len({claims["jti"] for claims in tokens}) == 3
        assert all(claims["sub"] == "alice" and claims["auth_time"] == tokens[0]["auth_time"] for claims in tokens)
        requests = [service.bridge.log_entry(claims["jti"])["request"] for claims in tokens]
        assert [request["grant_type"] for request in requests] == ["authorization_code"] + ["refresh_token"] * 2
        assert {tuple(request["grant"]["scopes"]) for request in requests} == {("plain", "shared")}
        assert len({request["grant"]["id"] for request in requests}) == 1

    def test_fewer_on_request_and_never_beyond_the_grant(self, service: Service, app: OAuthClient) -> None:
        first = issued(app.code_flow("plain orders:read"))
        fewer = issued(app.refresh(first["refresh_token"], scope="plain"))
        request = service.bridge.log_entry(app.verified(fewer["access_token"]).claims["jti"])["request"]
        assert (fewer["scope"], request["scopes"]) == ("plain", ["plain"])
        assert request["grant"]["scopes"] == ["plain", "orders:read"]
        refused(app.refresh(first["refresh_token"], scope="plain tenant"), "invalid_scope")
        assert issued(app.refresh(first["refresh_token"]))["scope"] == "plain orders:read"

    def test_the_bridge_itself_grants_nothing_beyond_the_grant(self, service: Service) -> None:
        question = {
            "grant_type": "refresh_token",
            "client": {"id": "app"},
            "subject": {"type": "user", "id": "alice"},
            "scopes": ["plain", "tenant"],
            "grant": {"id": "g-1", "scopes": ["plain"]},
        }
        with contextlib.closing(BridgeClient(service.bridge.url, service.bridge.token)) as bridge:
            answer = bridge.decide(question, "r-1")
        assert answer.granted_scopes == ["plain"]
        assert [finding.code for finding in answer.scopes["tenant"].findings] == ["exceeds_grant"]

    def test_a_step_up_that_was_missing_needs_a_new_grant(self, app: OAuthClient) -> None:
        first = issued(app.code_flow("plain orders:write"))
        app.sign_in("alice", BANKID, "pin")
        assert issued(app.refresh(first["refresh_token"]))["scope"] == "plain"
        refused(app.refresh(first["refresh_token"], scope="orders:write"), "invalid_scope")

    def test_the_audience_stays_within_the_grant(self, app: OAuthClient) -> None:
        first = issued(app.code_flow("plain", resource=REPORTS))
        body = issued(app.refresh(first["refresh_token"]))
        assert app.verified(body["access_token"]).claims["aud"] == REPORTS
        refused(app.refresh(first["refresh_token"], resource=ORDERS), "invalid_target")

    def test_another_client_cannot_use_it(self, service: Service, app: OAuthClient) -> None:
        first = issued(app.code_flow("plain"))
        with service.client("public") as other:
            refused(other.refresh(first["refresh_token"]), "invalid_grant")
        refused(app.refresh("made-up"), "invalid_grant")


class TestJwtBearer:
    def test_every_claim_and_what_the_policies_saw(self, service: Service) -> None:
        with service.client("partner") as client:
            said = service.assertion()
            body = issued(client.assert_user(said, scope="orders:read never"))
            rest, life = split_times(client.verified(body["access_token"]).claims)
        entry = service.bridge.log_entry(rest["jti"])
        assert rest == {
            "iss": ISSUER,
            "sub": "alice",
            "client_id": "partner",
            "aud": ORDERS,
            "scope": "orders:read",
            "jti": entry["id"],
        }
        assert (life, "refresh_token" in body) == (120, False)
        assert (entry["request"]["grant_type"], entry["request"]["subject"]["type"]) == ("jwt_bearer", "user")
        assert entry["request"]["subject_token"]["iss"] == PARTNER
        assert said not in str(entry)

    def test_denied_and_conditional(self, service: Service) -> None:
        with service.client("partner") as client:
            refused(client.assert_user(service.assertion(), scope="never"), "invalid_scope")
            refused(client.assert_user(service.assertion(), scope="orders:write"), "invalid_grant")

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"iss": "https://evil.example"}, "unauthorized_client"),
            ({"aud": "https://other.example"}, "invalid_grant"),
            ({"exp": 1}, "invalid_grant"),
            ({"sub": "mallory"}, "invalid_grant"),
            ({"jti": None}, "invalid_grant"),
        ],
    )
    def test_assertions_that_do_not_hold(self, service: Service, changes: dict[str, Any], error: str) -> None:
        with service.client("partner") as client:
            refused(client.assert_user(service.assertion(**changes), scope="plain"), error)

    def test_an_assertion_is_good_once(self, service: Service) -> None:
        with service.client("partner") as client:
            said = service.assertion()
            issued(client.assert_user(said))
            refused(client.assert_user(said), "invalid_grant")


class TestBoundTokens:
    def test_the_key_is_in_token_and_question(self, service: Service) -> None:
        with service.client("batch", dpop=True) as client:
            body = issued(client.token("client_credentials"))
            claims = client.verified(body["access_token"]).claims
            assert client.dpop_key is not None
            expected = {"jkt": client.dpop_key.thumbprint()}
        assert (body["token_type"], claims["cnf"]) == ("DPoP", expected)
        assert service.bridge.log_entry(claims["jti"])["request"]["cnf"] == expected

    @pytest.mark.parametrize(
        "changes", [{"htu": "https://other.example/token"}, {"htm": "GET"}, {"iat": 1}, {"jti": ""}]
    )
    def test_proofs_that_do_not_hold(self, service: Service, changes: dict[str, Any]) -> None:
        with service.client("batch", dpop=True) as client:
            refused(_post(client, client.proof(**changes)), "invalid_dpop_proof")

    def test_a_proof_is_good_once(self, service: Service) -> None:
        with service.client("batch", dpop=True) as client:
            proof = client.proof()
            issued(_post(client, proof))
            refused(_post(client, proof), "invalid_dpop_proof")

    def test_a_public_clients_refresh_token_is_bound_or_not_issued(self, service: Service) -> None:
        with service.client("public") as loose, service.client("public", dpop=True) as bound:
            for client in (loose, bound):
                client.sign_in("alice", PASSWORD, "pwd")
            assert "refresh_token" not in issued(loose.code_flow("plain"))
            token = issued(bound.code_flow("plain"))["refresh_token"]
            refused(loose.refresh(token), "invalid_grant")
            assert issued(bound.refresh(token))["token_type"] == "DPoP"


def _post(client: OAuthClient, proof: str) -> httpx.Response:
    return client.post_token({"grant_type": "client_credentials"}, {"DPoP": proof})
