"""An Ory Hydra for tests: the program as it is, with the configuration of docs/hydra.md on free ports, over SQLite."""

import base64
import contextlib
import hashlib
import json
import re
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.docs.pages import DOCS, blocks
from tests.foreign.build import program
from tests.support.waiting import wait_until

START_S = 30
CALLBACK = "http://127.0.0.1:1/callback"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass(frozen=True)
class Ports:
    """Where all of them listen."""

    public: int
    admin: int
    app: int
    bridge: int


def free_ports() -> Ports:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(4)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return Ports(*(one.getsockname()[1] for one in sockets))


def documented(language: str, ports: Ports) -> str:
    """The configuration that the page shows, on these ports."""
    (text,) = (b.text for b in blocks(DOCS / "hydra.md") if b.language == language and b.marks.strip() == "hydra")
    for shown, ours in (("4444", ports.public), ("4445", ports.admin), ("4455", ports.app), ("8380", ports.bridge)):
        assert shown in text or language == "toml", shown
        text = re.sub(rf"\b{shown}\b", str(ours), text)
    return text


@dataclass(frozen=True)
class Tokens:
    """What the token endpoint answered."""

    status: int
    body: dict[str, Any]

    @property
    def access(self) -> dict[str, Any]:
        """The claims of the access token."""
        return claims_of(self.body["access_token"])


def claims_of(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


@dataclass(frozen=True)
class Hydra:
    """A running Hydra."""

    ports: Ports
    admin: httpx.Client
    public: httpx.Client
    log_file: Path
    browsers: contextlib.ExitStack

    def client(self, name: str, *grants: str, scope: str, **members: Any) -> None:
        """Registers a client; its secret is `NAME-secret`."""
        body = {
            "client_id": name,
            "client_secret": f"{name}-secret",
            "grant_types": list(grants),
            "response_types": ["code"],
            "redirect_uris": [CALLBACK],
            "scope": scope,
            "token_endpoint_auth_method": "client_secret_basic",
            **members,
        }
        self.admin.post("/admin/clients", json=body).raise_for_status()

    def token(self, name: str, **form: str) -> Tokens:
        reply = self.public.post("/oauth2/token", data=form, auth=(name, f"{name}-secret"))
        return Tokens(reply.status_code, reply.json())

    def introspected(self, token: str) -> dict[str, Any]:
        found: dict[str, Any] = self.admin.post("/admin/oauth2/introspect", data={"token": token}).json()
        return found

    def authorize(self, name: str, scope: str, *, pages: bool = True, **parameters: str) -> "Authorization":
        """The beginning of a code flow with PKCE, in a browser of its own; without `pages` it stops before each."""
        verifier = secrets.token_urlsafe(32)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "client_id": name,
            "response_type": "code",
            "scope": scope,
            "redirect_uri": CALLBACK,
            "state": "state-of-the-test",
            "nonce": "nonce-of-the-test",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **parameters,
        }
        browser = self.browsers.enter_context(httpx.Client(timeout=30, trust_env=False))
        stops = (CALLBACK,) if pages else (CALLBACK, f"http://127.0.0.1:{self.ports.app}/")
        begun = browser.get(f"{self.url}/oauth2/auth", params=query)
        return Authorization(self, name, verifier, browser, stops, begun)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports.public}"

    def log_text(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")


class Authorization:
    """A code flow on its way: `at` is where the browser stands."""

    def __init__(
        self,
        hydra: Hydra,
        client: str,
        verifier: str,
        browser: httpx.Client,
        stops: tuple[str, ...],
        at: httpx.Response,
    ) -> None:
        self._hydra, self._client, self._verifier, self._browser = hydra, client, verifier, browser
        self._stops = stops
        self.at = self._follow(at)

    def _follow(self, reply: httpx.Response) -> httpx.Response:
        while reply.is_redirect and not reply.headers["Location"].startswith(self._stops):
            reply = self._browser.get(reply.headers["Location"])
        return reply

    def submit(self, **form: str | list[str]) -> "Authorization":
        """Sends the form of the page that is shown."""
        hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', self.at.text))
        self.at = self._follow(self._browser.post(self.at.url.copy_with(query=None), data={**hidden, **form}))
        return self

    def by_admin(self, subject: str, grant: dict[str, Any], **login: Any) -> "Authorization":
        """Login and consent where there are no pages: by an application that knows nothing of the bridge."""
        for kind, body in (("login", {"subject": subject, **login}), ("consent", grant)):
            challenge = httpx.URL(self.at.headers["Location"]).params[f"{kind}_challenge"]
            accepted = self._hydra.admin.put(
                f"/admin/oauth2/auth/requests/{kind}/accept", params={f"{kind}_challenge": challenge}, json=body
            )
            assert accepted.status_code == 200, accepted.text
            self.at = self._follow(self._browser.get(accepted.json()["redirect_to"]))
        return self

    @property
    def parameters(self) -> dict[str, str]:
        """What the client was sent."""
        assert self.at.headers.get("Location", "").startswith(CALLBACK), (self.at.status_code, self.at.text[:2000])
        return dict(httpx.URL(self.at.headers["Location"]).params)

    def tokens(self) -> Tokens:
        """The exchange of the code."""
        return self._hydra.token(
            self._client,
            grant_type="authorization_code",
            code=self.parameters["code"],
            redirect_uri=CALLBACK,
            code_verifier=self._verifier,
        )


@contextlib.contextmanager
def running_hydra(folder: Path, ports: Ports) -> Iterator[Hydra]:
    """Ends it on the way out."""
    config, log_file = folder / "hydra.yml", folder / "hydra.log"
    own = {
        "dsn": f"sqlite://{folder}/hydra.sqlite?_fk=true",
        "secrets": {"system": ["of-the-tests-alone"], "cookie": ["of-the-tests-alone"]},
    }
    # JSON is YAML.
    lines = [f"{name}: {json.dumps(value)}" for name, value in own.items()]
    config.write_text("\n".join([*lines, documented("yaml", ports)]), encoding="utf-8")
    hydra = str(program("hydra"))
    with log_file.open("wb") as output:
        subprocess.run([hydra, "migrate", "sql", "-e", "-y", "-c", config], check=True, stdout=output, stderr=output)
        process = subprocess.Popen([hydra, "serve", "all", "--dev", "-c", config], stdout=output, stderr=output)
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{ports.admin}", timeout=30, trust_env=False) as admin,
        httpx.Client(base_url=f"http://127.0.0.1:{ports.public}", timeout=30, trust_env=False) as public,
    ):
        try:
            wait_until(lambda: _is_ready(admin, process, log_file), START_S)
            with contextlib.ExitStack() as browsers:
                yield Hydra(ports, admin, public, log_file, browsers)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _is_ready(admin: httpx.Client, process: "subprocess.Popen[bytes]", log_file: Path) -> bool:
    assert process.poll() is None, log_file.read_text(errors="replace")[-3000:]
    try:
        return admin.get("/health/ready").status_code == 200
    except httpx.TransportError:
        time.sleep(0.05)
        return False
