"""Registered clients, in the shape that Authlib asks for, and the ones that the sample policies know."""

# mypy: disallow-subclassing-any=False
# Authlib ships no types.

import secrets
from dataclasses import dataclass, replace

from authlib.oauth2.rfc6749 import ClientMixin

from examples.token_service.store import Store, User

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass(frozen=True)
class Client(ClientMixin):
    """An OAuth client. Without a `secret` it is a public one (RFC 6749, section 2.1)."""

    client_id: str
    grant_types: tuple[str, ...]
    default_audience: tuple[str, ...]
    default_scope: str = ""
    secret: str | None = None
    redirect_uris: tuple[str, ...] = ()
    assertion_issuers: tuple[str, ...] = ()

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> str | None:
        return self.redirect_uris[0] if len(self.redirect_uris) == 1 else None

    def get_allowed_scope(self, scope: str | None) -> str:
        # Which scopes the client may have is for the policies to say; a second list here would come to differ.
        return scope or self.default_scope

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri in self.redirect_uris

    def check_client_secret(self, client_secret: str) -> bool:
        return self.secret is not None and secrets.compare_digest(self.secret.encode(), client_secret.encode())

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == ("none" if self.secret is None else "client_secret_basic")

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code" and "authorization_code" in self.grant_types

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in self.grant_types


ACCOUNTS, PAYMENTS, ADMIN = "https://accounts.example", "https://payments.example", "https://admin.example"
CALLBACK = "https://shop.example/callback"
PARTNER = "https://idp.partner.example"


def sample_store() -> Store:
    """The clients of rego/data.json, and two users. Secrets are the client ids with `-secret`: this is an example."""
    store = Store()
    for client in (
        Client(
            "web-shop",
            ("authorization_code", "refresh_token"),
            (ACCOUNTS, PAYMENTS),
            default_scope="openid",
            redirect_uris=(CALLBACK,),
        ),
        Client(
            "order-service",
            (JWT_BEARER,),
            (ACCOUNTS, PAYMENTS),
            default_scope="accounts:read",
            assertion_issuers=(PARTNER,),
        ),
        Client(
            "nightly-batch",
            ("client_credentials",),
            (ACCOUNTS, ADMIN),
            default_scope="accounts:read",
        ),
    ):
        store.clients[client.client_id] = replace(client, secret=f"{client.client_id}-secret")
    for user in (
        User("alice", {"name": "Alice Example", "tenant": "acme"}),
        User("bob", {"name": "Bob Example", "roles": ["admin"]}),
    ):
        store.users[user.id] = user
    return store
