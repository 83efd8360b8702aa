"""The second mode of the example token service: the same server, asking by AuthZEN."""

from collections.abc import Iterator

import pytest

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
    with running_service(tmp_path_factory.mktemp("authzen"), via="authzen") as running:
        yield running


def test_client_credentials(service: Service) -> None:
    with service.client("batch") as batch:
        body = issued(batch.token("client_credentials", scope="orders:read never plain unheard-of"))
        claims, life = split_times(batch.verified(body["access_token"]).claims)
        assert (body["scope"], claims["aud"], life) == ("orders:read plain", ORDERS, 120)
        assert service.bridge.log_entry(claims["jti"])["door"] == "authzen"
        refused(batch.token("client_credentials", scope="never"), "invalid_scope")
        # No audience left is a denial of the item: AuthZEN has no word for why.
        refused(batch.token("client_credentials", scope="elsewhere"), "invalid_scope")
        refused(batch.token("client_credentials", scope="issue:x"), "invalid_scope")
        refused(batch.token("client_credentials", scope="sealed plain"), "unauthorized_client")
    with service.client("blocked") as blocked:
        body = refused(blocked.token("client_credentials"), "unauthorized_client")
        assert "client_blocked" not in str(body)


def test_code_refresh_and_step_up(service: Service) -> None:
    with service.client("app") as app:
        app.sign_in("alice", PASSWORD, "pwd")
        body = issued(app.code_flow("openid plain"))
        assert body.keys() >= {"access_token", "refresh_token", "id_token"}
        assert issued(app.refresh(body["refresh_token"]))["scope"] == "openid plain"
        told = refused(app.code_flow("orders:write"), "invalid_grant")
        assert (told["acr_values"], told["max_age"]) == (BANKID, 300)
        app.sign_in("alice", BANKID, "pin")
        assert issued(app.code_flow("orders:write"))["expires_in"] == 60


def test_details_and_claims(service: Service) -> None:
    with service.client("batch") as batch:
        asked = '[{"type":"payment","amount":1},{"type":"other"}]'
        body = issued(batch.token("client_credentials", scope="pay tenant", authorization_details=asked))
        assert body["authorization_details"] == [{"type": "payment", "amount": 1}]
        assert batch.verified(body["access_token"]).claims["tenant"] == "acme"
        reply = batch.token("client_credentials", scope="plain", authorization_details=asked)
        assert reply.status_code == 400
        assert reply.json()["error"] in {"invalid_authorization_details", "unauthorized_client"}


def test_a_token_for_one_target_is_reported(service: Service) -> None:
    with service.client("batch") as batch:
        body = issued(batch.token("client_credentials", scope="plain", resource=REPORTS))
        claims = batch.verified(body["access_token"]).claims
    report = service.bridge.report_entry(claims["jti"])
    assert (report["scopes"], report["audience"], report["violations"]) == (["plain"], [REPORTS], [])


def test_an_assertion(service: Service) -> None:
    with service.client("partner") as partner:
        body = issued(partner.assert_user(service.assertion(), scope="plain"))
        assert partner.verified(body["access_token"]).claims["sub"] == "alice"
