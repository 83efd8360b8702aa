"""An OAuth client as an app has it (PKCE, DPoP), and the browser's part of the sign-in: for the demo and for tests."""

import base64
import hashlib
import secrets
import time
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from examples.token_service.clients import CALLBACK, JWT_BEARER


class OAuthClient:
    """The client `client_id` of the token service at `url`. With `dpop` it proves a key of its own (RFC 9449)."""

    def __init__(self, url: str, client_id: str, secret: str | None = None, *, dpop: bool = False) -> None:
        self.client_id, self._secret, self._url = client_id, secret, url
        self.dpop_key = ECKey.generate_key("P-256") if dpop else None
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def sign_in(self, user: str, acr: str, *amr: str, auth_time: int | None = None) -> None:
        """What the sign-in page of a real server would do."""
        form: dict[str, Any] = {"user": user, "acr": acr, "amr": list(amr)}
        if auth_time is not None:
            form["auth_time"] = auth_time
        self._http.post("/test/sign-in", data=form).raise_for_status()

    def consent(self, user: str, *scopes: str) -> None:
        """What the consent page of a real server would do; replaces what was consented to before."""
        form = {"user": user, "client_id": self.client_id, "scope": " ".join(scopes)}
        self._http.post("/test/consent", data=form).raise_for_status()

    def authorize(self, scope: str, **parameters: Any) -> tuple[dict[str, str], str]:
        """The parameters of the redirect back, and the code verifier to redeem the code with."""
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": CALLBACK,
            "scope": scope,
            "state": "xyz",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **parameters,
        }
        reply = self._http.get("/authorize", params=query)
        if reply.status_code != 302:
            raise RuntimeError(f"{reply.status_code}: {reply.text}")
        back = parse_qs(urlsplit(reply.headers["Location"]).query)
        return {name: values[0] for name, values in back.items()}, verifier

    def code_flow(self, scope: str, **parameters: Any) -> httpx.Response:
        """Authorization code with PKCE, from the authorization request to the token response."""
        back, verifier = self.authorize(scope, **parameters)
        return self.redeem(back["code"], verifier)

    def redeem(self, code: str, verifier: str, **form: Any) -> httpx.Response:
        redirect = {"redirect_uri": CALLBACK, "code_verifier": verifier}
        return self.token("authorization_code", code=code, **redirect, **form)

    def refresh(self, refresh_token: str, **form: Any) -> httpx.Response:
        return self.token("refresh_token", refresh_token=refresh_token, **form)

    def assert_user(self, assertion: str, **form: Any) -> httpx.Response:
        return self.token(JWT_BEARER, assertion=assertion, **form)

    def token(self, grant_type: str, **form: Any) -> httpx.Response:
        """The reply of the token endpoint."""
        headers = {"DPoP": self.proof()} if self.dpop_key else {}
        return self.post_token({"grant_type": grant_type, **form}, headers)

    def post_token(self, form: dict[str, Any], headers: dict[str, str]) -> httpx.Response:
        """A token request with headers of the caller's choice; the client authenticates as registered."""
        if self._secret is None:
            return self._http.post("/token", data={**form, "client_id": self.client_id}, headers=headers)
        return self._http.post("/token", data=form, headers=headers, auth=(self.client_id, self._secret))

    def proof(self, **changes: Any) -> str:
        """A DPoP proof for the token endpoint (RFC 9449, section 4.2)."""
        if self.dpop_key is None:
            raise ValueError("this client has no DPoP key")
        header = {"alg": "ES256", "typ": "dpop+jwt", "jwk": self.dpop_key.as_dict(private=False)}
        claims = {"jti": secrets.token_urlsafe(16), "htm": "POST", "htu": f"{self._url}/token", "iat": int(time.time())}
        return jwt.encode(header, {**claims, **changes}, self.dpop_key, algorithms=["ES256"])

    def verified(self, token: str) -> jwt.Token:
        """The header and claims of a token of the service, its signature checked against the published keys."""
        keys = KeySet.import_key_set(self._http.get("/jwks").raise_for_status().json())
        return jwt.decode(token, keys, algorithms=["ES256"])


def assertion(key: ECKey, issuer: str, subject: str, audience: str, **changes: Any) -> str:
    """What a trusted issuer says of a subject (RFC 7523, section 3)."""
    now = int(time.time())
    claims = {"iss": issuer, "sub": subject, "aud": audience, "iat": now, "exp": now + 60, "jti": secrets.token_hex(8)}
    return jwt.encode({"alg": "ES256"}, {**claims, **changes}, key, algorithms=["ES256"])
