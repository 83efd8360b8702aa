"""Hydra as it is, a bridge that decides for it, and relying parties that are told of logouts, all on loopback."""

import contextlib
import http.server
import threading
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bridge.audit.delegations import tree_of
from bridge.model.ended import Name, What
from tests.hooks.real_hydra import Hydra, Tokens, claims_of, documented, free_ports, running_hydra
from tests.lifecycle.admin_proxy import AdminProxy, admin_proxy
from tests.support.bridge import RunningBridge, running_bridge
from tests.support.policies import write_policies
from tests.support.waiting import wait_until

SCOPE = "openid offline read"
POLICIES = {
    "issuance.gate": 'allow contains {"code": "open"}',
    **{f"issuance.scope.{scope}": "allow := true" for scope in SCOPE.split()},
}


@dataclass
class RelyingParties:
    """Every client's, at `PATH/CLIENT`: when (time.monotonic) each was told what."""

    url: str
    told: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)

    def of(self, client: str) -> list[dict[str, Any]]:
        return [claims for _, path, claims in self.told if path == f"/{client}"]


@contextlib.contextmanager
def relying_parties() -> Iterator[RelyingParties]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            parties.told.append((time.monotonic(), self.path, claims_of(body["logout_token"][0])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing on the terminal."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        parties = RelyingParties(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield parties
        server.shutdown()


@dataclass
class World:
    """All of it. The bridge runs with `sections`; `admin` is how it reaches Hydra to end something there."""

    hydra: Hydra
    parties: RelyingParties
    admin: AdminProxy
    folder: Path
    sections: dict[str, Any]
    bridge: RunningBridge = field(init=False)
    running: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def start(self, **sections: Any) -> RunningBridge:
        """Also anew, with other `sections` than before."""
        self.running.close()
        self.sections |= sections
        self.bridge = self.running.enter_context(running_bridge(self.folder, self.folder / "rego", **self.sections))
        return self.bridge

    @property
    def issuer(self) -> str:
        return self.hydra.url

    def name(self, what: What, *ids: str) -> Name:
        return Name(what, self.issuer, ids)

    def tree(self, name: Name) -> dict[str, Any]:
        return tree_of(self.bridge.evidence, name, None)

    def client(self, *names: str) -> None:
        for name in names:
            told = {"backchannel_logout_uri": f"{self.parties.url}/{name}"}
            self.hydra.client(name, "authorization_code", "refresh_token", scope=SCOPE, **told)

    def delegate(self, client: str, user: str, *, remember: bool = True) -> Tokens:
        """What `user` lets `client` do, by a login of its own."""
        grant = {"grant_scope": SCOPE.split()}
        flow = self.hydra.authorize(client, SCOPE, pages=False).by_admin(user, grant, remember=remember)
        tokens = flow.tokens()
        assert tokens.status == 200, tokens
        return tokens

    def lives(self, client: str, tokens: Tokens) -> tuple[bool, bool]:
        """Whether the access token is active by introspection, and whether the refresh token can be used."""
        active = self.hydra.introspected(tokens.body["access_token"])["active"]
        reply = self.hydra.token(client, grant_type="refresh_token", refresh_token=tokens.body["refresh_token"])
        if reply.status == 200:
            tokens.body.update(reply.body)
        return active, reply.status == 200


def session_of(tokens: Tokens) -> str:
    return str(claims_of(tokens.body["id_token"])["sid"])


@contextlib.contextmanager
def real_world(folder: Path) -> Iterator[World]:
    """What ends at the bridge is ended at Hydra, and the clients `one` and `two` are told by the bridge.

    No list of clients is compared.
    """
    ports = free_ports()
    write_policies(folder / "rego", POLICIES)
    sections = tomllib.loads(documented("toml", ports))
    with (
        running_hydra(folder, ports) as hydra,
        relying_parties() as parties,
        admin_proxy(f"http://127.0.0.1:{ports.admin}") as admin,
    ):
        sections["servers"] = [{"issuer": hydra.url, "kind": "hydra", "admin_url": admin.url, "list_clients_s": 0}]
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / "logout.pem").touch(0o600)
        (folder / "logout.pem").write_bytes(pem)
        sections["logout"] = {"signing_key": str(folder / "logout.pem")}
        sections["relying_parties"] = [
            {"issuer": hydra.url, "client_id": name, "backchannel_logout_uri": f"{parties.url}/{name}"}
            for name in ("one", "two")
        ]
        world = World(hydra, parties, admin, folder, sections)
        with world.running:
            world.start()
            wait_until(lambda: _has_keys(hydra), 60)
            yield world


def _has_keys(hydra: Hydra) -> bool:
    """Hydra makes its keys when they are wanted first: longer than it lets a token request take on a busy machine."""
    with contextlib.suppress(httpx.TransportError):
        return hydra.public.get("/.well-known/jwks.json").status_code == 200
    return False
