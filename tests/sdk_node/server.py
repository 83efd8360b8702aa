"""`sdk/node/example`, a real oidc-provider that asks through the package, as a process of its own."""

import base64
import contextlib
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.sdk_node.build import PACKAGE, node

SECRET = "example-secret"
VERIFIER = "v" * 43
REDIRECT = "https://shop.example/cb"
START_S = 20.0


@dataclass
class Provider:
    """Where it listens. Each reply of the token endpoint is (status, body)."""

    url: str
    output: Path
    http: httpx.Client = field(repr=False)

    def token(self, client: str, **form: str) -> tuple[int, dict[str, Any]]:
        reply = self.http.post("/token", data=form, auth=(client, SECRET))
        return reply.status_code, reply.json()

    def job(self, scope: str | None = None, client: str = "job", **form: str) -> tuple[int, dict[str, Any]]:
        named = {} if scope is None else {"scope": scope}
        return self.token(client, grant_type="client_credentials", **named, **form)

    def code(self, scope: str) -> str:
        """An authorization code; the user is signed in and consents without being asked."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
        query = {"client_id": "shop", "response_type": "code", "redirect_uri": REDIRECT, "scope": scope}
        pkce = {"code_challenge": challenge, "code_challenge_method": "S256"}
        with httpx.Client(base_url=self.url, trust_env=False, timeout=20) as browser:
            reply = browser.get("/auth", params={**query, **pkce})
            for _ in range(6):
                target = reply.headers["location"]
                if target.startswith(REDIRECT):
                    return parse_qs(urlsplit(target).query)["code"][0]
                reply = browser.get(target)
        raise AssertionError("no code")

    def redeem(self, code: str) -> tuple[int, dict[str, Any]]:
        form = {"grant_type": "authorization_code", "redirect_uri": REDIRECT, "code_verifier": VERIFIER}
        return self.token("shop", code=code, **form)

    def refresh(self, refresh_token: str, **form: str) -> tuple[int, dict[str, Any]]:
        return self.token("shop", grant_type="refresh_token", refresh_token=refresh_token, **form)

    def reports(self) -> list[dict[str, Any]]:
        """What it wrote for its operator about tokens that it refused."""
        return [line for line in _lines(self.output) if "event" in line]


def claims_of(access_token: str) -> dict[str, Any]:
    """The claims of a JWT, unverified: the server is ours."""
    payload = access_token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


@contextlib.contextmanager
def running_provider(folder: Path, pdp: str, token: str) -> Iterator[Provider]:
    """The example, listening; ended on the way out."""
    output = folder / "provider.log"
    environment = {**os.environ, "PDP_URL": pdp, "PDP_TOKEN": token, "PORT": "0"}
    with output.open("wb") as file:
        command = [node().node, str(PACKAGE / "example/server.js")]
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment, cwd=folder)
    try:
        url = _issuer(process, output)
        with httpx.Client(base_url=url, trust_env=False, timeout=20) as client:
            yield Provider(url, output, client)
    finally:
        process.kill()
        process.wait()


def _issuer(process: "subprocess.Popen[bytes]", output: Path) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        for line in _lines(output):
            if "issuer" in line:
                return str(line["issuer"])
        time.sleep(0.03)
    raise AssertionError(f"oidc-provider does not listen:\n{output.read_text()}")


def _lines(output: Path) -> list[dict[str, Any]]:
    # Its own warnings are no JSON; a line may be half written.
    found = []
    for line in output.read_text().splitlines():
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found
