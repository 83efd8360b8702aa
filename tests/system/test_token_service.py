"""The example token service obeys the bridge: real HTTP, real policies, real JWTs, checked claim by claim."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

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
def batch(service: Service) -> Iterator[OAuthClient]:
    with service.client("batch") as client:
        yield client


@pytest.fixture
def app(service: Service) -> Iterator[OAuthClient]:
    with service.client("app") as client:
        client.consent("alice")
        client.sign_in("alice", PASSWORD, "pwd")
        yield client


class TestClientCredentials:
    def test_every_claim_of_an_allowed_token(self, service: Service, batch: OAuthClient) -> None:
        body = issued(batch.token("client_credentials", scope="plain"))
        assert body.keys() == {"access_token", "token_type", "expires_in", "scope"}
        assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 3600, "plain")
        token = batch.verified(body["access_token"])
        assert token.header["typ"] == "at+jwt"
        rest, life = split_times(token.claims)
        entry = service.bridge.log_entry(rest["jti"])
        assert (entry["outcome"], entry["granted_scopes"], life) == ("allow", ["plain"], 3600)
        assert rest == {
            "iss": ISSUER,
            "sub": "batch",
            "client_id": "batch",
            "aud": [ORDERS, REPORTS],
            "scope": "plain",
            "jti": entry["id"],
        }

    def test_fewer_scopes_a_shorter_life_and_a_smaller_audience(self, batch: OAuthClient) -> None:
        body = issued(batch.token("client_credentials", scope="orders:read never plain unheard-of"))
        claims, life = split_times(batch.verified(body["access_token"]).claims)
        assert (body["scope"], body["expires_in"]) == ("orders:read plain", 120)
        assert (claims["scope"], claims["aud"], life) == ("orders:read plain", ORDERS, 120)

    def test_the_servers_defaults_are_asked_for(self, service: Service, batch: OAuthClient) -> None:
        body = issued(batch.token("client_credentials"))
        entry = service.bridge.log_entry(batch.verified(body["access_token"]).claims["jti"])
        assert (entry["request"]["scopes"], entry["request"]["audience"]) == (["plain"], [ORDERS, REPORTS])
        assert body["scope"] == "plain"

    def test_a_resource_narrows_and_an_empty_audience_is_no_token(self, batch: OAuthClient) -> None:
        body = issued(batch.token("client_credentials", scope="plain", resource=REPORTS))
        assert batch.verified(body["access_token"]).claims["aud"] == REPORTS
        refused(batch.token("client_credentials", scope="orders:read", resource=REPORTS), "invalid_target")
        refused(batch.token("client_credentials", scope="elsewhere"), "invalid_target")
        refused(batch.token("client_credentials", scope="plain", resource="not a uri"), "invalid_target")

    def test_denied_names_rule_and_entry(self, service: Service, batch: OAuthClient) -> None:
        body = refused(batch.token("client_credentials", scope="never"), "invalid_scope")
        entry = service.bridge.log_entry(body["decision_id"])
        assert (entry["outcome"], entry["granted_scopes"]) == ("deny", [])
        assert "never: not_for_you" in body["error_description"]
        assert body["decision_id"] in body["error_description"]

    def test_denied_by_the_gate(self, service: Service) -> None:
        with service.client("blocked") as client:
            body = refused(client.token("client_credentials"), "unauthorized_client")
        assert "client_blocked" in body["error_description"]

    def test_claims_are_added_and_critical_ones_understood(self, batch: OAuthClient) -> None:
        body = issued(batch.token("client_credentials", scope="tenant plain"))
        claims = batch.verified(body["access_token"]).claims
        assert (claims["tenant"], claims["region"]) == ("acme", {"eu": [1, True, "x"]})

    def test_an_unknown_critical_claim_is_no_token_at_all(self, batch: OAuthClient) -> None:
        refused(batch.token("client_credentials", scope="sealed plain"), "temporarily_unavailable", 503)

    def test_authorization_details_are_what_was_returned(self, batch: OAuthClient) -> None:
        asked = '[{"type":"payment","amount":1},{"type":"other"}]'
        body = issued(batch.token("client_credentials", scope="pay", authorization_details=asked))
        expected = [{"type": "payment", "amount": 1}]
        assert body["authorization_details"] == expected
        assert batch.verified(body["access_token"]).claims["authorization_details"] == expected
        for text, why in ((asked, "plain"), ('[{"type":"other"}]', "pay"), ("{", "pay")):
            reply = batch.token("client_credentials", scope=why, authorization_details=text)
            refused(reply, "invalid_authorization_details")


class TestReports:
    def test_every_token_is_reported_as_it_was_minted(self, service: Service, app: OAuthClient) -> None:
        body = issued(app.code_flow("openid plain"))
        tokens = {kind: app.verified(body[kind]).claims for kind in ("access_token", "id_token")}
        for kind, scopes in (("access_token", ["openid", "plain"]), ("id_token", ["openid"])):
            claims = tokens[kind]
            report = service.bridge.report_entry(claims["jti"])
            audience = [claims["aud"]] if isinstance(claims["aud"], str) else claims["aud"]
            assert (report["scopes"], report["audience"], report["exp"]) == (scopes, audience, claims["exp"])
            assert (report["caller"], report["violations"]) == ("token-service", [])

    def test_a_narrowed_token_is_reported_narrowed(self, service: Service, batch: OAuthClient) -> None:
        claims = batch.verified(issued(batch.token("client_credentials", scope="orders:read never"))["access_token"])
        report = service.bridge.report_entry(claims.claims["jti"])
        assert (report["scopes"], report["audience"], report["violations"]) == (["orders:read"], [ORDERS], [])


class TestAuthorizationCode:
    def test_three_tokens_from_three_decisions(self, service: Service, app: OAuthClient) -> None:
        body = issued(app.code_flow("openid plain", nonce="n-1"))
        assert body.keys() == {"access_token", "token_type", "expires_in", "scope", "refresh_token", "id_token"}
        access, _ = split_times(app.verified(body["access_token"]).claims)
        identity, life = split_times(app.verified(body["id_token"]).claims)
        assert app.verified(body["id_token"]).header["typ"] == "JWT"
        signed_in = {"acr": PASSWORD, "amr": ["pwd"], "auth_time": access["auth_time"]}
        assert abs(time.time() - access["auth_time"]) < 30
        common = {"iss": ISSUER, "sub": "alice", **signed_in}
        assert access == {
            **common,
            "client_id": "app",
            "aud": [ORDERS, REPORTS],
            "scope": "openid plain",
            "jti": access["jti"],
        }
        assert (identity, life) == (
            {**common, "aud": "app", "nonce": "n-1", "name": "Alice Example", "jti": identity["jti"]},
            600,
        )
        entries = [service.bridge.log_entry(claims["jti"])["request"] for claims in (access, identity)]
        assert [entry["token_type"] for entry in entries] == ["access_token", "id_token"]
        assert entries[0]["authentication"] == signed_in
        assert (entries[1]["scopes"], entries[1]["audience"]) == (["openid"], ["app"])

    def test_denied_refresh_and_id_tokens_are_left_out(self, app: OAuthClient) -> None:
        body = issued(app.code_flow("openid online_only"))
        assert body["scope"] == "openid online_only"
        assert not body.keys() & {"refresh_token", "id_token"}

    def test_no_openid_no_id_token(self, app: OAuthClient) -> None:
        body = issued(app.code_flow("plain"))
        assert "refresh_token" in body
        assert "id_token" not in body

    def test_step_up(self, app: OAuthClient) -> None:
        body = refused(app.code_flow("orders:write"), "invalid_grant")
        assert (body["acr_values"], body["max_age"]) == (BANKID, 300)
        waits = issued(app.code_flow("plain orders:write"))
        assert app.verified(waits["access_token"]).claims["scope"] == waits["scope"] == "plain"

        app.sign_in("alice", BANKID, "pin", auth_time=int(time.time()) - 600)
        refused(app.code_flow("orders:write"), "invalid_grant")
        app.sign_in("alice", BANKID, "pin")
        claims, life = split_times(app.verified(issued(app.code_flow("orders:write"))["access_token"]).claims)
        assert (claims["scope"], claims["acr"], life) == ("orders:write", BANKID, 60)

    def test_consent(self, app: OAuthClient) -> None:
        assert refused(app.code_flow("shared"), "invalid_grant")["prompt"] == "consent"
        app.consent("alice", "shared")
        assert issued(app.code_flow("shared"))["scope"] == "shared"

    def test_a_claim_never_replaces_the_servers_own(self, app: OAuthClient) -> None:
        refused(app.code_flow("forged"), "temporarily_unavailable", 503)

    def test_pkce(self, app: OAuthClient) -> None:
        back, _ = app.authorize("plain", code_challenge_method="plain")
        assert (back["error"], back["state"]) == ("invalid_request", "xyz")
        back, verifier = app.authorize("plain")
        refused(app.redeem(back["code"], "x" * 64), "invalid_grant")
        refused(app.redeem(back["code"], verifier), "invalid_grant")

    def test_a_code_shown_twice_takes_the_refresh_token_along(self, app: OAuthClient) -> None:
        back, verifier = app.authorize("plain")
        body = issued(app.redeem(back["code"], verifier))
        refused(app.redeem(back["code"], verifier), "invalid_grant")
        refused(app.refresh(body["refresh_token"]), "invalid_grant")

    def test_a_bad_resource_goes_back_to_the_client(self, app: OAuthClient) -> None:
        back, _ = app.authorize("plain", resource="https://orders.example#part")
        assert (back["error"], back["state"]) == ("invalid_target", "xyz")

    def test_nobody_signed_in(self, service: Service) -> None:
        with service.client("app") as client:
            back, _ = client.authorize("plain")
        assert back == {"error": "login_required", "state": "xyz"}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("samples"), Path(__file__).parents[2] / "rego") as running:
        yield running


def test_sample_policies_step_up(samples: Service) -> None:
    with samples.client("web-shop", dpop=True) as shop:
        shop.sign_in("alice", "urn:bank:acr:password", "pwd")
        body = refused(shop.code_flow("payments:write"), "invalid_grant")
        assert (body["acr_values"], body["max_age"]) == ("urn:bank:acr:bankid", 300)
        shop.sign_in("alice", "urn:bank:acr:bankid", "pin")
        paying = issued(shop.code_flow("payments:write tenant:acme:read"))
        claims, life = split_times(shop.verified(paying["access_token"]).claims)
        assert (claims["scope"], claims["tenant"], life) == ("payments:write tenant:acme:read", "acme", 300)


def test_sample_policies_all_scopes_at_once(samples: Service) -> None:
    with samples.client("web-shop", dpop=True) as shop:
        shop.sign_in("alice", "urn:bank:acr:password", "pwd")
        shop.consent("alice", "profile")
        body = issued(shop.code_flow("openid profile accounts:read payments:write admin:users tenant:acme:read"))
        assert body["scope"] == "openid profile accounts:read tenant:acme:read"
        access, identity = (shop.verified(body[kind]).claims for kind in ("access_token", "id_token"))
        assert (access["aud"], access["tenant"]) == ("https://accounts.example", "acme")
        assert (identity["aud"], identity["name"]) == ("web-shop", "Alice Example")
        assert issued(shop.refresh(body["refresh_token"]))["scope"] == body["scope"]
        entries = [samples.bridge.log_entry(claims["jti"]) for claims in (access, identity)]
        assert entries[0]["request_id"] == entries[1]["request_id"]
