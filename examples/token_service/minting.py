"""One token request in, the token response out. Each kind of token is a question of its own to the bridge."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from examples.token_service.bridge_client import BridgeClient, BridgeFailure
from examples.token_service.clients import Client
from examples.token_service.keys import SigningKey
from examples.token_service.obey import Asked, Denied, Terms, obey
from examples.token_service.refusals import unavailable
from examples.token_service.store import Grant, RefreshToken, SignIn, Store, User

log = logging.getLogger("token_service")

ACCESS_S, ID_S, REFRESH_S = 3600, 600, 14 * 24 * 3600
ID_TOKEN_SCOPES = ("openid", "profile")
"""The scopes that shape an ID token; the others stand in the access token only."""


@dataclass(frozen=True)
class Wish:
    """All that the server knows about one token request. `user` is None where the client acts for itself."""

    grant_type: str
    client: Client
    scopes: tuple[str, ...]
    audience: tuple[str, ...]
    user: User | None = None
    grant: Grant | None = None
    consented_scopes: tuple[str, ...] = ()
    authorization_details: list[dict[str, Any]] | None = None
    assertion: dict[str, Any] | None = None
    jkt: str | None = None
    nonce: str | None = None
    refresh_token: bool = False
    id_token: bool = False
    request_id: str = field(default_factory=lambda: str(uuid4()))

    @property
    def sign_in(self) -> SignIn | None:
        return self.grant.sign_in if self.grant else None

    def question(self, token_type: str, asked: Asked) -> dict[str, Any]:
        """The body of `POST /v1/issuance/decisions` for one kind of token."""
        question: dict[str, Any] = {
            "grant_type": self.grant_type,
            "token_type": token_type,
            "client": {"id": self.client.client_id},
            "scopes": list(asked.scopes),
            "audience": list(asked.audience),
            "consented_scopes": list(self.consented_scopes),
        }
        if self.user:
            question["subject"] = {"type": "user", "id": self.user.id, "properties": dict(self.user.properties)}
        if self.grant:
            question["grant"] = {
                "id": self.grant.id,
                "scopes": list(self.grant.scopes),
                "audience": list(self.grant.audience),
                "started": self.grant.started,
            }
        if self.sign_in:
            question["session"] = {"id": self.sign_in.session_id}
            question["authentication"] = {
                "acr": self.sign_in.acr,
                "amr": list(self.sign_in.amr),
                "auth_time": self.sign_in.auth_time,
            }
        if asked.authorization_details is not None:
            question["authorization_details"] = asked.authorization_details
        if self.assertion:
            question["subject_token"] = self.assertion
        if self.jkt:
            question["cnf"] = {"jkt": self.jkt}
        return question


Ask = Callable[[Wish, str, Asked], Terms]
"""The terms of one kind of token. Raises Denied or BridgeFailure."""


class Minter:
    """Mints what the bridge grants. `ask` asks it another way than by its native door (see authzen.py)."""

    def __init__(
        self, issuer: str, key: SigningKey, bridge: BridgeClient, store: Store, ask: Ask | None = None
    ) -> None:
        self._issuer, self._key, self._bridge, self._store = issuer, key, bridge, store
        self._ask: Ask = ask or self._native

    def mint(self, wish: Wish) -> dict[str, Any]:
        """The token response (RFC 6749, section 5.1). Raises Refusal when there is no access token.

        Refresh and ID tokens are extras: what the bridge denies, or cannot decide, is left out.
        """
        asked = Asked(wish.scopes, wish.audience, wish.authorization_details, ACCESS_S)
        try:
            terms = self._ask(wish, "access_token", asked)
            response = self._access_token(wish, terms)
        except Denied as denied:
            level = logging.ERROR if denied.told.status_code >= 500 else logging.INFO
            log.log(level, "%s: %s", wish.client.client_id, denied)
            raise denied.told from None
        except BridgeFailure as failure:
            log.error("no access token for %s: %s", wish.client.client_id, failure)
            raise unavailable() from None
        if wish.refresh_token:
            self._beside(response, "refresh_token", wish, replace(asked, lifetime=REFRESH_S))
        if wish.id_token and "openid" in terms.scopes:
            scopes = tuple(scope for scope in ID_TOKEN_SCOPES if scope in terms.scopes)
            self._beside(response, "id_token", wish, Asked(scopes, (wish.client.client_id,), None, ID_S))
        return response

    def _native(self, wish: Wish, token_type: str, asked: Asked) -> Terms:
        return obey(self._bridge.decide(wish.question(token_type, asked), wish.request_id), asked)

    def _beside(self, response: dict[str, Any], token_type: str, wish: Wish, asked: Asked) -> None:
        make = {"refresh_token": self._refresh_token, "id_token": self._id_token}[token_type]
        try:
            response[token_type] = make(wish, self._ask(wish, token_type, asked))
        except (Denied, BridgeFailure) as reason:
            log.warning("no %s for %s: %s", token_type, wish.client.client_id, reason)

    def _access_token(self, wish: Wish, terms: Terms) -> dict[str, Any]:
        own: dict[str, Any] = {"client_id": wish.client.client_id}
        if terms.scopes:
            own["scope"] = " ".join(terms.scopes)
        if terms.authorization_details is not None:
            own["authorization_details"] = terms.authorization_details
        if wish.jkt:
            own["cnf"] = {"jkt": wish.jkt}
        response: dict[str, Any] = {
            "access_token": self._signed("at+jwt", wish, terms, {**own, **_how_signed_in(wish)}),
            "token_type": "DPoP" if wish.jkt else "Bearer",
            "expires_in": terms.lifetime,
            # Needed where it differs from what was asked for (RFC 6749, section 5.1), and welcome where not.
            "scope": " ".join(terms.scopes),
        }
        if terms.authorization_details is not None:
            response["authorization_details"] = terms.authorization_details
        return response

    def _id_token(self, wish: Wish, terms: Terms) -> str:
        own = {"nonce": wish.nonce} if wish.nonce else {}
        return self._signed("JWT", wish, terms, {**own, **_how_signed_in(wish)})

    def _refresh_token(self, wish: Wish, terms: Terms) -> str:
        if wish.grant is None:
            raise BridgeFailure("a refresh token needs a grant to hang on")
        public = wish.client.secret is None
        if public and wish.jkt is None:
            raise BridgeFailure("a public client's refresh token must be bound to a key (RFC 9700, section 2.2.2)")
        terms.still_valid()
        token = RefreshToken(
            grant=wish.grant,
            scopes=terms.scopes,
            audience=terms.audience,
            authorization_details=terms.authorization_details,
            claims=terms.claims,
            jkt=wish.jkt if public else None,
            expires=int(time.time()) + terms.lifetime,
        )
        value = self._store.save_refresh_token(token)
        self._report(terms, token.expires)
        return value

    def _signed(self, typ: str, wish: Wish, terms: Terms, own: dict[str, Any]) -> str:
        now = int(time.time())
        own |= {
            "iss": self._issuer,
            "sub": wish.user.id if wish.user else wish.client.client_id,
            "aud": terms.audience[0] if len(terms.audience) == 1 else list(terms.audience),
            "iat": now,
            "exp": now + terms.lifetime,
            # One decision, one token: the token leads to its log entry.
            "jti": terms.decision_id,
        }
        if taken := sorted(own.keys() & terms.claims.keys()):
            raise BridgeFailure(f"the decision {terms.decision_id} sets claims that are this server's own: {taken}")
        terms.still_valid()
        token = self._key.sign(typ, {**terms.claims, **own})
        self._report(terms, own["exp"])
        return token

    def _report(self, terms: Terms, exp: int) -> None:
        if terms.reportable:
            self._bridge.report(terms.decision_id, terms.decision_id, exp, terms.scopes, terms.audience)


def _how_signed_in(wish: Wish) -> dict[str, Any]:
    if wish.sign_in is None:
        return {}
    return {"acr": wish.sign_in.acr, "amr": list(wish.sign_in.amr), "auth_time": wish.sign_in.auth_time}
