"""The four grants on Authlib, and the one `generate_token` that they share: no token comes from anywhere else."""

# mypy: disallow-subclassing-any=False
# Authlib ships no types.

import json
from typing import Any, ClassVar
from urllib.parse import urlsplit

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import InvalidGrantError, InvalidRequestError, UnauthorizedClientError, grants
from authlib.oauth2.rfc7523 import JWTBearerGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from flask import request as http
from joserfc.jwk import Key
from typing_extensions import override

from examples.token_service.clients import JWT_BEARER, Client
from examples.token_service.dpop import key_thumbprint
from examples.token_service.minting import Minter, Wish
from examples.token_service.refusals import Refusal
from examples.token_service.store import Code, Grant, RefreshToken, SignIn, Store, User


class BridgedServer(AuthorizationServer):
    """Authlib's server, with what the grants below need at hand."""

    def __init__(self, issuer: str, store: Store, minter: Minter) -> None:
        super().__init__()
        self.issuer, self.store, self.minter = issuer, store, minter

    def query_client(self, client_id: str) -> Client | None:
        return self.store.clients.get(client_id)

    def save_token(self, token: dict[str, Any], request: Any) -> None:
        """Nothing to do: access tokens carry everything, and refresh tokens are kept when they are made."""


class AsksTheBridge:
    """Mixin of every grant: Authlib calls `generate_token` when the request is good, and this asks the bridge."""

    server: BridgedServer
    request: Any

    def generate_token(
        self,
        *,
        user: User | None = None,
        scope: str | None = None,
        grant_type: str | None = None,
        expires_in: int | None = None,
        include_refresh_token: bool = True,
    ) -> dict[str, Any]:
        """The token response. Raises Refusal: without the bridge's yes there is no token."""
        client: Client = self.request.client
        held: Grant | None = self.held_grant()
        # What hangs on a grant got its default when the grant was made; a second one could go beyond it.
        scope = (scope or "") if held else client.get_allowed_scope(scope)
        wish = Wish(
            grant_type=_WIRE_NAMES[self.request.payload.grant_type],
            client=client,
            scopes=tuple(dict.fromkeys(scope.split())),
            audience=self.asked_audience(),
            user=user,
            grant=held,
            consented_scopes=self.server.store.consented(user.id, client.client_id) if user else (),
            authorization_details=self.asked_details(),
            assertion=getattr(self, "assertion", None),
            jkt=key_thumbprint(http.headers.getlist("DPoP"), http.method, http.base_url, self.server.store),
            nonce=self.request.authorization_code.nonce if self.request.authorization_code else None,
            refresh_token=include_refresh_token,
            id_token=self.request.authorization_code is not None,
        )
        self.check_key(wish.jkt)
        return self.server.minter.mint(wish)

    def held_grant(self) -> Grant | None:
        """What the code or the refresh token hangs on."""
        held: Code | RefreshToken | None = self.request.authorization_code or self.request.refresh_token
        return held.grant if held else None

    def asked_audience(self) -> tuple[str, ...]:
        """The `resource` parameters (RFC 8707); without one, the client's default."""
        return resources(self.request) or self.request.client.default_audience

    def asked_details(self) -> list[dict[str, Any]] | None:
        """The `authorization_details` parameter (RFC 9396)."""
        return details(self.request)

    def check_key(self, jkt: str | None) -> None:
        """Raises InvalidGrantError when a token bound to a key comes without it."""


class _FromGrant(AsksTheBridge):
    """What hangs on a grant stays within it (RFC 8707, section 2.2; RFC 9396, section 6)."""

    def held(self) -> Grant | RefreshToken:
        """The refresh token, which may reach less far than the grant that it hangs on; with a code, the grant."""
        held: Grant | RefreshToken = self.request.refresh_token or self.request.authorization_code.grant
        return held

    @override
    def asked_audience(self) -> tuple[str, ...]:
        audience = self.held().audience
        asked = resources(self.request) or audience
        if not set(asked) <= set(audience):
            raise Refusal("invalid_target", "resource goes beyond the grant")
        return asked

    @override
    def asked_details(self) -> list[dict[str, Any]] | None:
        if "authorization_details" in self.request.form:
            raise Refusal("invalid_authorization_details", "they are those of the grant and cannot change here")
        return self.held().authorization_details


class ClientCredentialsGrant(AsksTheBridge, grants.ClientCredentialsGrant):
    """RFC 6749, section 4.4."""


class AuthorizationCodeGrant(_FromGrant, grants.AuthorizationCodeGrant):
    """RFC 6749, section 4.1. The user of Authlib's authorization request is our SignIn."""

    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "none")

    def create_authorization_response(self, redirect_uri: str, grant_user: SignIn | None) -> Any:
        try:
            return super().create_authorization_response(redirect_uri, grant_user)
        except Refusal as refusal:
            refusal.redirect_uri = redirect_uri
            raise

    def save_authorization_code(self, code: str, request: Any) -> None:
        grant = Grant(
            client_id=request.client.client_id,
            sign_in=request.user,
            scopes=tuple(dict.fromkeys(request.scope.split())),
            audience=resources(request) or request.client.default_audience,
            authorization_details=details(request),
        )
        data = request.payload.data
        self.server.store.save_code(
            code,
            Code(
                grant=grant,
                redirect_uri=request.payload.redirect_uri,
                nonce=data.get("nonce"),
                code_challenge=data["code_challenge"],
                code_challenge_method=data["code_challenge_method"],
            ),
        )

    def query_authorization_code(self, code: str, client: Client) -> Code | None:
        # Spent when shown, not when honoured: two requests at once must not both get through.
        return self.server.store.spend_code(code, client.client_id)

    def delete_authorization_code(self, authorization_code: Code) -> None:
        """Nothing to do: it was spent when it was shown."""

    def authenticate_user(self, authorization_code: Code) -> User:
        return authorization_code.grant.sign_in.user


class RequireS256(CodeChallenge):
    """PKCE for every client, and never `plain` (RFC 9700, section 2.1.1)."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)

    def validate_code_challenge(self, grant: AuthorizationCodeGrant, redirect_uri: Any) -> None:
        data = grant.request.payload.data
        if not data.get("code_challenge") or data.get("code_challenge_method") != "S256":
            raise InvalidRequestError("a code_challenge with code_challenge_method=S256 is needed")
        super().validate_code_challenge(grant, redirect_uri)


class RefreshTokenGrant(_FromGrant, grants.RefreshTokenGrant):
    """RFC 6749, section 6. Authlib refuses scopes beyond those of the refresh token; which remain, the bridge says."""

    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "none")
    # Public clients' refresh tokens are bound to a key and confidential clients authenticate: either will do
    # instead of rotation (RFC 9700, section 4.14.2).
    INCLUDE_NEW_REFRESH_TOKEN = False

    def authenticate_refresh_token(self, refresh_token: str) -> RefreshToken | None:
        return self.server.store.refresh_token(refresh_token)

    def authenticate_user(self, refresh_token: RefreshToken) -> User:
        return refresh_token.grant.sign_in.user

    def revoke_old_credential(self, refresh_token: RefreshToken) -> None:
        """Nothing to do: the refresh token stays the same."""

    @override
    def check_key(self, jkt: str | None) -> None:
        bound = self.request.refresh_token.jkt
        if bound is not None and bound != jkt:
            raise InvalidGrantError("the refresh token is bound to another key")


class AssertionGrant(AsksTheBridge, JWTBearerGrant):
    """RFC 7523, section 2.1: the subject comes from an issuer that we trust. The client authenticates as ever."""

    CLAIMS_OPTIONS: ClassVar = {name: {"essential": True} for name in ("iss", "sub", "aud", "exp", "jti")}
    LEEWAY = 30

    assertion: dict[str, Any]

    def validate_token_request(self) -> None:
        self.request.client = self.authenticate_token_endpoint_client()
        super().validate_token_request()

    def process_assertion_claims(self, assertion: str) -> dict[str, Any]:
        claims: dict[str, Any] = super().process_assertion_claims(assertion)
        if not self.server.store.first_sight(claims["iss"], claims["jti"], claims["exp"] + self.LEEWAY):
            raise InvalidGrantError("the assertion was used before")
        self.assertion = claims
        return claims

    def resolve_issuer_client(self, issuer: str) -> Client:
        client: Client = self.request.client
        if issuer not in client.assertion_issuers:
            raise UnauthorizedClientError("the client may not use assertions of this issuer")
        self.issuer_key = self.server.store.trusted_issuers.get(issuer)
        if self.issuer_key is None:
            raise InvalidGrantError("the issuer of the assertion is not trusted here")
        return client

    def resolve_client_public_key(self, client: Client) -> Key | None:
        return self.issuer_key

    def get_audiences(self) -> list[str]:
        return [self.server.issuer]

    def authenticate_user(self, subject: str) -> User | None:
        return self.server.store.users.get(subject)

    def has_granted_permission(self, client: Client, user: User) -> bool:
        return True  # The bridge decides, scope by scope.


_WIRE_NAMES = {
    "client_credentials": "client_credentials",
    "authorization_code": "authorization_code",
    "refresh_token": "refresh_token",
    JWT_BEARER: "jwt_bearer",
}


def resources(request: Any) -> tuple[str, ...]:
    """The `resource` parameters, each an absolute URI without fragment (RFC 8707, section 2)."""
    found = tuple(dict.fromkeys(request.payload.datalist.get("resource", ())))
    for resource in found:
        parts = urlsplit(resource)
        if not parts.scheme or parts.fragment:
            raise Refusal("invalid_target", "resource must be an absolute URI without a fragment")
    return found


def details(request: Any) -> list[dict[str, Any]] | None:
    """The `authorization_details` parameter (RFC 9396, section 2), or None."""
    text = request.payload.data.get("authorization_details")
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list) or not found or not all(isinstance(d, dict) and "type" in d for d in found):
        raise Refusal(
            "invalid_authorization_details", "authorization_details must be a JSON array of objects with type"
        )
    return found
