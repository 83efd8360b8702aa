"""What a token endpoint for client_credentials (RFC 6749, section 4.4) does around the question, without any framework.

Read it with wsgi.py or asgi.py beside it: each reads a request, asks, and answers with what stands here.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote_plus
from uuid import uuid4

from joserfc import jwt
from joserfc.jwk import ECKey

from bridge.pep import EnforcerFault, Mint, NoDecision, Party, Refusal, Understood, Wish

ISSUER, TARGET = "https://as.example", "https://accounts.example"
LIFETIME_S = 600
MAX_BODY = 16 * 1024
UNDERSTOOD = Understood(claims=frozenset({"tenant"}))
"""What our resource servers heed, where a policy calls it critical."""


@dataclass(frozen=True, slots=True)
class Client:
    """A registered client; `default_scopes` are granted where it names none."""

    secret_sha256: str
    default_scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response of the token endpoint."""

    status: int
    body: Mapping[str, Any]
    headers: tuple[tuple[str, str], ...] = ()

    def encoded(self) -> tuple[list[tuple[str, str]], bytes]:
        """All headers, and the body."""
        content = json.dumps(self.body).encode()
        fixed = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
        return [*fixed, ("Content-Length", str(len(content))), *self.headers], content


def wish_of(method: str, authorization: str, body: bytes, clients: Mapping[str, Client]) -> Wish | Answer:
    """What the client may be asking for; an answer where it need not be asked about."""
    if method != "POST":
        return Answer(405, {"error": "invalid_request"}, (("Allow", "POST"),))
    client_id = _authenticated(authorization, clients)
    if client_id is None:
        return Answer(401, {"error": "invalid_client"}, (("WWW-Authenticate", 'Basic realm="token"'),))
    try:
        pairs = (
            parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=20) if len(body) <= MAX_BODY else []
        )
    except ValueError:
        pairs = []
    form = dict(pairs)
    if not form or len(form) != len(pairs):
        return Answer(400, {"error": "invalid_request"})
    if form.get("grant_type") != "client_credentials":
        return Answer(400, {"error": "unsupported_grant_type"})
    return Wish(
        subject=Party("client", client_id),
        client_id=client_id,
        grant_type="client_credentials",
        audience=(form.get("resource") or TARGET,),
        scopes=tuple(form.get("scope", "").split()),
        # Asked one by one where the client named none: a gate alone would leave their policies out.
        default_scopes=clients[client_id].default_scopes,
        lifetime=LIFETIME_S,
    )


def answer_to(wish: Wish, decided: Mint | Refusal, key: ECKey) -> Answer:
    """The token, exactly as it was decided; or the error, in words that no policy wrote."""
    if isinstance(decided, Refusal):
        return Answer(400, decided.told())
    lifetime, scope = decided.lifetime or LIFETIME_S, " ".join(decided.scopes)
    now = int(time.time())
    claims = {
        **decided.claims,
        "iss": ISSUER,
        "sub": wish.subject.id,
        "client_id": wish.client_id,
        "aud": list(decided.audience),
        "iat": now,
        "exp": now + lifetime,
        "jti": str(uuid4()),
        **({"scope": scope} if scope else {}),
    }
    token = jwt.encode({"alg": "ES256", "typ": "at+jwt"}, claims, key)
    body = {"access_token": token, "token_type": "Bearer", "expires_in": lifetime}
    return Answer(200, body | ({"scope": scope} if decided.state_scope else {}))


def fault_to(fault: EnforcerFault) -> Answer:
    """Nothing was decided, so nothing is minted. What went wrong is for the log alone."""
    error = fault.error if isinstance(fault, NoDecision) else "server_error"
    return Answer(503 if error == "temporarily_unavailable" else 500, {"error": error})


def _authenticated(authorization: str, clients: Mapping[str, Client]) -> str | None:
    """The client that shows its secret (RFC 6749, section 2.3.1), else None."""
    scheme, _, credentials = authorization.partition(" ")
    try:
        name, _, secret = base64.b64decode(credentials, validate=True).decode("ascii").partition(":")
    except ValueError:
        return None
    client_id = unquote_plus(name)
    client = clients.get(client_id)
    shown = hashlib.sha256(unquote_plus(secret).encode()).hexdigest()
    known = client is not None and hmac.compare_digest(shown, client.secret_sha256)
    return client_id if known and scheme.lower() == "basic" else None
