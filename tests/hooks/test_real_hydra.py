"""Ory Hydra, unmodified, mints what the bridge allows and nothing else: every grant, over real sockets."""

import base64
import contextlib
import json
import signal
import threading
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from examples.hydra_login_consent.__main__ import served
from tests.hooks.real_hydra import (
    JWT_BEARER,
    Authorization,
    Hydra,
    Tokens,
    claims_of,
    documented,
    free_ports,
    running_hydra,
)
from tests.support.bridge import RunningBridge, caller, running_bridge, token_of
from tests.support.policies import write_policies

API, PAY = "https://api.example", "https://pay.example"
STRONG = "urn:example:acr:code"
POLICIES = {
    "issuance.gate": """
allow contains {"code": "open"}
deny contains {"code": "client_blocked"} if input.client.id == "blocked"
deny contains {"code": "asked_for_less"} if input.context.payload.scope == ["offline"]
deny contains {"code": "scopes_unknown"} if count(input.scopes) == 0
""",
    "issuance.scope.openid": "allow := true",
    "issuance.scope.offline": "allow := true",
    "issuance.scope.read": "allow := true",
    "issuance.scope.never": 'deny contains {"code": "nobody"}',
    "issuance.scope.capped": """
allow := true
claims := {"max_eur": 500, "region": {"eu": [1, true, "x", 0.5]}} if input.grant_type != "refresh_token"
crit contains "max_eur" if input.grant_type != "refresh_token"
""",
    "issuance.scope.golden": 'allow := true\nclaims := {"tier": "gold"}',
    "issuance.scope.agreed": 'allow := true\nrequire contains "consent"',
    "issuance.scope.strong": f'allow := true\nrequire contains {{"acr_values": ["{STRONG}"]}}',
    "issuance.scope.minute": 'allow := true\nlimit := {"token_lifetime": 60}',
    "issuance.scope.hour": 'allow := true\nlimit := {"token_lifetime": 3600}',
    "issuance.scope.here": f'allow := true\nlimit := {{"audience": ["{API}"]}}',
    "issuance.scope.agent": 'allow contains {"code": "acts"} if input.subject_token.act.sub == "agent"',
}
SCOPES = " ".join(name.removeprefix("issuance.scope.") for name in POLICIES if name != "issuance.gate")


@dataclass
class World:
    """Hydra, the application and the bridge; `key` signs assertions."""

    hydra: Hydra
    folder: Path
    sections: dict[str, Any]
    key: ec.EllipticCurvePrivateKey
    running: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    bridge: RunningBridge | None = None

    def start_bridge(self) -> RunningBridge:
        self.running.close()
        self.bridge = self.running.enter_context(running_bridge(self.folder, self.folder / "rego", **self.sections))
        return self.bridge

    def last(self) -> dict[str, Any]:
        """The newest decision of Hydra's."""
        assert self.bridge is not None
        return [entry for entry in self.bridge.entries() if entry["kind"] == "decision" and entry["door"] == "hydra"][
            -1
        ]

    def assertion(self, **claims: Any) -> str:
        now = int(time.time())
        whole = {"iss": "https://idp.example", "aud": [f"{self.hydra.url}/oauth2/token", API], "exp": now + 300}
        return signed(self.key, {**whole, "iat": now, "jti": str(time.monotonic_ns()), **claims})


def signed(key: ec.EllipticCurvePrivateKey, claims: dict[str, Any]) -> str:
    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    head = {"alg": "ES256", "kid": "of-the-test"}
    text = ".".join(part(json.dumps(one).encode()) for one in (head, claims))
    r, s = decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{text}.{part(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder, ports = tmp_path_factory.mktemp("hydra"), free_ports()
    write_policies(folder / "rego", POLICIES)
    sections = tomllib.loads(documented("toml", ports))
    sections["callers"].append(caller("pages", doors=["native"], issuer=sections["callers"][0]["issuer"]))
    key = ec.generate_private_key(ec.SECP256R1())
    with (
        running_hydra(folder, ports) as hydra,
        served(f"http://127.0.0.1:{ports.admin}", f"http://127.0.0.1:{ports.bridge}", token_of("pages"), ports.app),
    ):
        world = World(hydra, folder, sections, key)
        with world.running:
            world.start_bridge()
            hydra.client("batch", "client_credentials", scope=SCOPES, audience=[API, PAY])
            hydra.client("blocked", "client_credentials", scope=SCOPES)
            hydra.client("web", "authorization_code", "refresh_token", scope=SCOPES, audience=[API, PAY])
            hydra.client("agent", JWT_BEARER, scope=SCOPES, audience=[API])
            trust(hydra, key)
            yield world


def trust(hydra: Hydra, key: ec.EllipticCurvePrivateKey) -> None:
    numbers = key.public_key().public_numbers()
    x, y = (base64.urlsafe_b64encode(n.to_bytes(32, "big")).rstrip(b"=").decode() for n in (numbers.x, numbers.y))
    body = {
        "issuer": "https://idp.example",
        "allow_any_subject": True,
        "scope": SCOPES.split(),
        "expires_at": "2100-01-01T00:00:00Z",
        "jwk": {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "of-the-test", "x": x, "y": y},
    }
    hydra.admin.post("/admin/trust/grants/jwt-bearer/issuers", json=body).raise_for_status()


def denied(world: World, tokens: Tokens, code: str | None = None) -> None:
    """Hydra passes no reason on; it stands in the log."""
    assert (tokens.status, tokens.body["error"]) == (403, "access_denied"), tokens
    assert "access_token" not in tokens.body
    entry = world.last()
    assert (entry["outcome"], entry["caller"]) == ("deny", "hydra")
    if code is not None:
        assert entry["reply"]["code"] == code, entry


def batch(world: World, scope: str, client: str = "batch", **form: str) -> Tokens:
    return world.hydra.token(client, grant_type="client_credentials", scope=scope, **form)


def by_admin(
    world: World, asked: str, granted: str, audience: tuple[str, ...] = (), user: str = "carol", **grant: Any
) -> Authorization:
    """A login and consent application that knows nothing of the bridge."""
    body = {"grant_scope": granted.split(), "grant_access_token_audience": list(audience), **grant}
    wanted = {"audience": " ".join(audience)} if audience else {}
    flow = world.hydra.authorize("web", asked, pages=False, **wanted)
    return flow.by_admin(user, body, acr="urn:loa:2", amr=["pwd"])


def test_client_credentials(world: World) -> None:
    tokens = batch(world, "read hour", audience=API)
    assert (tokens.status, tokens.access["scp"], tokens.access["aud"]) == (200, ["read", "hour"], [API])
    assert tokens.access["ext"] == {}
    entry = world.last()
    assert entry["outcome"] == "allow"
    request = entry["request"]
    assert (request["client"], request["subject"]) == ({"id": "batch"}, {"type": "client", "id": "batch"})
    assert (request["grant_type"], request["audience"]) == ("client_credentials", [API])
    assert request["issuer"] == world.hydra.url
    assert 3590 <= entry["terms"]["dialect"]["lives"] <= 3600


def test_client_credentials_that_are_denied(world: World) -> None:
    denied(world, batch(world, "read never"), "inexpressible")
    denied(world, batch(world, "never"))
    denied(world, batch(world, "read", "blocked"), "client_blocked")
    denied(world, batch(world, ""), "scopes_unknown")
    denied(world, batch(world, "read minute"), "inexpressible")
    denied(world, batch(world, "here", audience=f"{API} {PAY}"), "inexpressible")
    denied(world, batch(world, "here"), "inexpressible")
    assert batch(world, "here", audience=API).status == 200


def test_a_lifetime_that_hydra_keeps_to_anyway_needs_no_words(world: World) -> None:
    life = {"client_credentials_grant_access_token_lifespan": "45s"}
    world.hydra.client("brief", "client_credentials", scope=SCOPES)
    denied(world, batch(world, "minute", "brief"), "inexpressible")
    world.hydra.admin.put("/admin/clients/brief/lifespans", json=life).raise_for_status()
    tokens = batch(world, "minute", "brief")
    assert tokens.status == 200
    assert tokens.body["expires_in"] <= 45


def test_client_credentials_with_claims(world: World) -> None:
    access = batch(world, "read capped").access
    assert access["ext"]["max_eur"] == 500
    assert access["ext"]["region"] == {"eu": [1, True, "x", 0.5]}
    assert access["ext"]["issuance_bridge"] == {"claims": ["max_eur", "region"], "decision_id": world.last()["id"]}
    assert access["sub"] == "batch"


def test_a_code_whose_consent_is_narrower_than_what_was_asked_for(world: World) -> None:
    """The hook is shown `never` alone among what was requested; what was granted is looked up."""
    session = {"access_token": {"tenant": "t1"}, "id_token": {"email": "a@example.test"}}
    flow = by_admin(world, "openid offline read never", "openid offline read", (API,), session=session)
    tokens = flow.tokens()
    assert tokens.status == 200, tokens
    assert (tokens.access["scp"], tokens.access["aud"]) == (["openid", "offline", "read"], [API])
    assert tokens.access["ext"] == {"tenant": "t1"}
    request = world.last()["request"]
    assert request["scopes"] == request["consented_scopes"] == ["openid", "offline", "read"]
    assert request["context"]["requested_scopes"] == ["openid", "offline", "read", "never"]
    assert request["context"]["ext"] == {"tenant": "t1"}
    assert (request["subject"], request["audience"]) == ({"type": "user", "id": "carol"}, [API])
    assert (request["authentication"]["acr"], request["authentication"]["amr"]) == ("urn:loa:2", ["pwd"])
    assert abs(request["authentication"]["auth_time"] - time.time()) < 30
    assert request["session"]["id"] and request["grant"]["id"]
    assert abs(request["grant"]["started"] - time.time()) < 30
    assert request["phase"] == "token"


def test_a_code_that_is_denied_is_gone(world: World) -> None:
    flow = by_admin(world, "openid read never", "openid read never")
    denied(world, flow.tokens(), "inexpressible")
    again = flow.tokens()
    assert (again.status, again.body["error"]) == (400, "invalid_grant")
    # An application that does not ask for a stronger sign-in gets no further.
    denied(world, by_admin(world, "read strong", "read strong").tokens(), "inexpressible")
    assert by_admin(world, "read agreed", "read agreed").tokens().status == 200


def test_an_hour_is_an_hour_although_hydra_rounds_it(world: World) -> None:
    for _ in range(6):
        assert by_admin(world, "read hour", "read hour").tokens().status == 200
        time.sleep(0.13)


def test_claims_of_a_code_are_merged_and_taken_out_again_at_the_refresh_when_they_do_not_apply(world: World) -> None:
    session = {"access_token": {"tenant": "t1"}, "id_token": {"email": "a@example.test"}}
    tokens = by_admin(world, "openid offline read capped", "openid offline read capped", session=session).tokens()
    ext = tokens.access["ext"]
    assert (ext["tenant"], ext["max_eur"]) == ("t1", 500)
    assert ext["issuance_bridge"]["decision_id"] == world.last()["id"]
    assert world.hydra.introspected(tokens.body["access_token"])["ext"] == ext
    id_token = claims_of(tokens.body["id_token"])
    assert id_token["email"] == "a@example.test" and id_token["sid"]
    assert "max_eur" not in id_token
    refreshed = world.hydra.token("web", grant_type="refresh_token", refresh_token=tokens.body["refresh_token"])
    assert refreshed.access["ext"] == {"tenant": "t1"}
    assert claims_of(refreshed.body["id_token"])["email"] == "a@example.test"
    request = world.last()["request"]
    assert request["grant_type"] == "refresh_token"
    assert request["grant"]["scopes"] == request["scopes"] == ["openid", "offline", "read", "capped"]
    again = world.hydra.token("web", grant_type="refresh_token", refresh_token=refreshed.body["refresh_token"])
    assert again.access["ext"] == {"tenant": "t1"}


def test_claims_that_still_apply_stay_and_name_the_new_decision(world: World) -> None:
    tokens = by_admin(world, "offline golden capped", "offline golden capped").tokens()
    assert tokens.access["ext"]["issuance_bridge"]["claims"] == ["max_eur", "region", "tier"]
    refreshed = world.hydra.token("web", grant_type="refresh_token", refresh_token=tokens.body["refresh_token"])
    marker = {"claims": ["tier"], "decision_id": world.last()["id"]}
    assert refreshed.access["ext"] == {"tier": "gold", "issuance_bridge": marker}


def test_a_refresh_that_is_denied_may_be_tried_again(world: World) -> None:
    tokens = by_admin(world, "offline read", "offline read").tokens()
    refresh = {"grant_type": "refresh_token", "refresh_token": tokens.body["refresh_token"]}
    # Hydra passes over the narrower scope of a refresh: the token would have all of them.
    denied(world, world.hydra.token("web", **refresh, scope="offline"), "asked_for_less")
    assert world.last()["request"]["scopes"] == ["offline", "read"]
    assert world.hydra.token("web", **refresh).status == 200


def test_jwt_bearer(world: World) -> None:
    assertion = world.assertion(sub="alice", act={"sub": "agent"})
    tokens = world.hydra.token("agent", grant_type=JWT_BEARER, assertion=assertion, scope="read agent")
    assert tokens.status == 200, tokens
    assert tokens.access["sub"] == "alice"
    request = world.last()["request"]
    assert request["grant_type"] == "jwt_bearer"
    assert request["subject"] == {"type": "user", "id": "alice"}
    assert request["audience"] == [API]
    assert request["subject_token"]["act"] == {"sub": "agent"}
    capped = world.hydra.token("agent", grant_type=JWT_BEARER, assertion=world.assertion(sub="alice"), scope="capped")
    assert capped.access["ext"]["max_eur"] == 500
    other = world.assertion(sub="alice", act={"sub": "somebody"})
    denied(world, world.hydra.token("agent", grant_type=JWT_BEARER, assertion=other, scope="read agent"))
    # The bridge logs no assertion, and keeps none.
    assert world.bridge is not None
    kept = b"".join(file.read_bytes() for file in world.bridge.evidence.rglob("*") if file.is_file())
    for secret in (assertion, assertion.split(".")[1], assertion.split(".")[2]):
        assert secret not in world.bridge.log_text()
        assert secret.encode() not in kept


def test_the_pages_narrow_ask_and_step_up(world: World) -> None:
    """The application asks the bridge before there is a code, so what the hook cannot say is done there."""
    flow = world.hydra.authorize("web", "openid offline read never agreed strong minute", audience=API)
    assert "wants to know who you are" in flow.at.text
    flow.submit(do="accept", user="alice", password="wrong")
    assert "That was not right" in flow.at.text
    flow.submit(do="accept", user="alice", password="wonderland")
    assert "This needs your code, too" in flow.at.text
    flow.submit(do="accept", user="alice", password="wonderland", code="123456")
    assert 'value="agreed"' in flow.at.text and 'value="never"' not in flow.at.text
    flow.submit(do="accept", scope=["agreed", "never"], remember="1")
    tokens = flow.tokens()
    # A life of a minute is no matter of the pages, and cannot be said by the hook.
    denied(world, tokens, "inexpressible")
    assert world.last()["request"]["scopes"] == ["openid", "offline", "read", "agreed", "strong", "minute"]
    flow = world.hydra.authorize("web", "openid offline read never agreed strong", audience=API)
    flow.submit(do="accept", user="alice", password="wonderland", code="123456").submit(do="accept", scope="agreed")
    tokens = flow.tokens()
    assert tokens.status == 200, tokens
    assert tokens.access["scp"] == ["openid", "offline", "read", "agreed", "strong"]
    request = world.last()["request"]
    assert request["consented_scopes"] == ["agreed"]
    assert request["authentication"]["acr"] == STRONG
    asked = [e for e in world.bridge.entries() if e["kind"] == "decision" and e["door"] == "native"]  # type: ignore[union-attr]
    assert {entry["request"]["phase"] for entry in asked} == {"authorization"}
    refreshed = world.hydra.token("web", grant_type="refresh_token", refresh_token=tokens.body["refresh_token"])
    assert refreshed.status == 200
    assert world.last()["request"]["consented_scopes"] == ["agreed"]


def test_a_consent_that_hydra_remembers_is_not_listed_and_still_known(world: World) -> None:
    world.hydra.client("again", "authorization_code", scope=SCOPES)
    for shown in (True, False):
        flow = world.hydra.authorize("again", "openid read agreed")
        flow.submit(do="accept", user="bob", password="builder")
        assert ("May it?" in flow.at.text) == shown
        if shown:
            flow.submit(do="accept", scope="agreed", remember="1")
        tokens = flow.tokens()
        assert (tokens.status, tokens.access["scp"]) == (200, ["openid", "read", "agreed"]), tokens
        assert world.last()["request"]["consented_scopes"] == ["agreed"]  # the others needed none, and have none


def test_a_remembered_consent_of_an_application_that_tells_nothing_is_not_shown(world: World) -> None:
    for remembered in (False, True):
        tokens = by_admin(world, "read", "read", user="dave", remember=True).tokens()
        if remembered:
            denied(world, tokens, "not_shown")
        else:
            assert tokens.status == 200


def test_the_pages_say_no(world: World) -> None:
    assert world.hydra.authorize("web", "read").submit(do="reject").parameters["error"] == "access_denied"
    nothing = world.hydra.authorize("web", "never").submit(do="accept", user="bob", password="builder")
    assert nothing.parameters["error"] == "access_denied"
    unsaid = world.hydra.authorize("web", "agreed").submit(do="accept", user="bob", password="builder")
    assert unsaid.submit(do="reject").parameters["error"] == "access_denied"
    unticked = world.hydra.authorize("web", "agreed").submit(do="accept", user="bob", password="builder")
    assert unticked.submit(do="accept").parameters["error"] == "access_denied"


def every_grant(world: World) -> list[Any]:
    """What would be allowed, one for each grant, ready to be sent."""
    code = by_admin(world, "offline read", "offline read")
    held = by_admin(world, "offline read", "offline read").tokens().body["refresh_token"]
    assertion = world.assertion(sub="alice")
    return [
        lambda: batch(world, "read"),
        code.tokens,
        lambda: world.hydra.token("web", grant_type="refresh_token", refresh_token=held),
        lambda: world.hydra.token("agent", grant_type=JWT_BEARER, assertion=assertion, scope="read"),
    ]


def all_at_once(asks: list[Any]) -> list[Tokens]:
    with ThreadPoolExecutor(len(asks)) as pool:
        return [one.result(30) for one in [pool.submit(ask) for ask in asks]]


def test_no_token_while_opa_hangs_or_is_killed(world: World) -> None:
    bridge = world.bridge
    assert bridge is not None
    asks = every_grant(world)
    (opa,) = [child for child in bridge.family() if child.name() == "opa"]
    opa.suspend()
    try:
        for tokens in all_at_once(asks):
            assert (tokens.status, tokens.body["error"]) == (403, "access_denied")
        codes = [e["reply"]["code"] for e in bridge.entries() if e["kind"] == "decision"][-4:]
        assert set(codes) <= {"deadline", "engine_unavailable"}
    finally:
        with contextlib.suppress(psutil.Error):
            opa.kill()
    # A denied refresh token is not used up.
    deadline = time.monotonic() + 20
    while asks[2]().status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_no_token_when_the_bridge_is_killed_in_the_middle(world: World) -> None:
    bridge = world.bridge
    assert bridge is not None
    asks = every_grant(world)
    flow = world.hydra.authorize("web", "read").submit(do="accept", user="bob", password="builder")
    before = len([e for e in bridge.entries() if e["kind"] == "decision"])
    bridge.process.send_signal(signal.SIGSTOP)
    killer = threading.Timer(0.3, bridge.process.kill)
    killer.start()
    asked = world.hydra.authorize("web", "read")
    for tokens in all_at_once(asks):
        assert (tokens.status, tokens.body["error"]) == (500, "server_error"), tokens
    assert flow.parameters["code"]
    assert asked.submit(do="accept", user="bob", password="builder").parameters["error"] == "temporarily_unavailable"
    killer.join()
    with contextlib.suppress(AssertionError):  # its OPA may outlive it for a moment
        world.running.close()
    bridge = world.start_bridge()
    assert len([e for e in bridge.entries() if e["kind"] == "decision"]) == before
    assert asks[2]().status == 200


def test_every_decision_is_decided_again_as_it_was(world: World) -> None:
    """What a dialect could not say, and what was not shown, stands in the entry's terms."""
    assert world.bridge is not None
    found = [e for e in world.bridge.entries() if e["kind"] == "decision" and e["door"] == "hydra"]
    assert {"inexpressible", "not_shown"} <= {entry["reply"]["code"] for entry in found}
    replayed = world.bridge.cli("log", "replay")
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
