"""The HTTP face: authorization, token and key endpoints, and two test doors in place of sign-in and consent pages."""

import logging
import time
from typing import Any

from authlib.oauth2 import OAuth2Error
from flask import Flask, Response, jsonify, request

from examples.token_service import grants
from examples.token_service.bridge_client import BridgeClient
from examples.token_service.keys import SigningKey
from examples.token_service.minting import Ask, Minter
from examples.token_service.refusals import Refusal
from examples.token_service.store import Store

log = logging.getLogger("token_service")


def create_app(issuer: str, store: Store, bridge: BridgeClient, ask: Ask | None = None) -> Flask:
    """The authorization server `issuer`. Its test doors sign anybody in: it must not be reachable from outside.

    `ask`: how the bridge is asked; None: by its native door.
    """
    app = Flask("token_service")
    app.config["MAX_CONTENT_LENGTH"] = 64 * 1024
    key = SigningKey()
    server = grants.BridgedServer(issuer, store, Minter(issuer, key, bridge, store, ask))
    server.init_app(app)
    server.register_grant(grants.ClientCredentialsGrant)
    server.register_grant(grants.AuthorizationCodeGrant, [grants.RequireS256()])
    server.register_grant(grants.RefreshTokenGrant)
    server.register_grant(grants.AssertionGrant)

    @app.post("/token")
    def token() -> Any:
        return server.create_token_response()

    @app.get("/authorize")
    def authorize() -> Any:
        sign_in = store.signed_in(request.cookies.get("sid"))
        oauth_request = server.create_oauth2_request(None)
        try:
            grant = server.get_consent_grant(end_user=sign_in)
            if sign_in is None:
                state = oauth_request.payload.state
                raise OAuth2Error(error="login_required", redirect_uri=grant.redirect_uri, state=state)
        except OAuth2Error as error:
            return server.handle_error_response(oauth_request, error)
        return server.create_authorization_response(grant_user=sign_in, grant=grant)

    @app.get("/jwks")
    def jwks() -> Response:
        return jsonify(key.jwks())

    @app.errorhandler(Exception)
    def fault(error: Exception) -> Any:
        if isinstance(error, OAuth2Error):
            return server.handle_error_response(None, error)
        status = getattr(error, "code", None)
        if isinstance(status, int) and status < 500:
            return server.handle_error_response(None, Refusal("invalid_request", "not understood", status))
        log.error("unexpected fault", exc_info=error)
        return server.handle_error_response(None, Refusal("server_error", "an unexpected fault", 500))

    _test_doors(app, store)
    return app


def _test_doors(app: Flask, store: Store) -> None:
    @app.post("/test/sign-in")
    def sign_in() -> Response:
        user = store.users[request.form["user"]]
        at = int(request.form.get("auth_time", time.time()))
        cookie = store.sign_in(user, request.form["acr"], tuple(request.form.getlist("amr")), at)
        response = Response(status=204)
        response.set_cookie("sid", cookie, httponly=True, samesite="Lax")
        return response

    @app.post("/test/consent")
    def consent() -> Response:
        form = request.form
        store.consents[form["user"], form["client_id"]] = tuple(form["scope"].split())
        return Response(status=204)
