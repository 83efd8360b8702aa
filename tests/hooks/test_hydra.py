"""Ory Hydra's bodies, as they were captured from 2.3.0, and what they are answered with; hostile ones, too."""

import asyncio
import base64
import contextlib
import copy
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import pytest_asyncio
from aiohttp import web

from bridge.config.hooks import HydraSection
from bridge.doors.hooks.door import HookDoor
from bridge.doors.hooks.hydra import HydraHook
from bridge.doors.hooks.hydra_body import MARKER
from bridge.doors.hooks.hydra_consents import Consents
from bridge.errors import ConfigFault, EngineUnavailable, EvidenceUnavailable
from bridge.hydra.admin import CONSENTS, MAX_ANSWER_BYTES
from tests.hooks.recorded import RECORDED, captured
from tests.support.bridge import LocalBridge, local_bridge
from tests.support.policies import POLICIES, write_policies

BODIES = Path(__file__).parent / "bodies/hydra"
KEY = "a-key-of-hydra"
pytestmark = pytest.mark.asyncio(loop_scope="module")
API = "https://api.example"
RULES = {
    **POLICIES,
    "issuance.scope.openid": "allow := true",
    "issuance.scope.offline": "allow := true",
    "issuance.scope.tagged": """
allow := true
claims := {"tag": 1, "deep": {"a": [1, true, null]}} if not input.context.payload.scope
claims := {"other": "x"} if input.context.payload.scope == ["other"]
""",
    "issuance.scope.ours": f'allow := true\nclaims := {{"{MARKER}": 1}}',
    "issuance.scope.own": 'allow := true\nclaims := {"scp": "x"}',
    "issuance.scope.here": f'allow := true\nlimit := {{"audience": ["{API}"]}}',
    "issuance.scope.hour": 'allow := true\nlimit := {"token_lifetime": 3600}',
    "issuance.scope.agreed": 'allow := true\nrequire contains "consent"',
    "issuance.scope.agent": 'allow := true if input.subject_token.act.sub == "agent"',
}


def asked(name: str, *scopes: str, **request: Any) -> dict[str, Any]:
    """The body of `name`, for these scopes."""
    body = captured(name)
    part = body["requester" if name == "refresh_hook" else "request"]
    part["granted_scopes"] = list(scopes)
    part.update(request)
    return body


@dataclass
class Admin:
    """The admin API: a list of consents, and what was asked for. `answer` takes its place."""

    consents: list[Any] = field(default_factory=lambda: json.loads(RECORDED["consents"]))
    seen: list[web.Request] = field(default_factory=list)
    answer: Callable[[], Any] | None = None

    async def get(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        if self.answer is not None:
            found = self.answer()
            return await found if asyncio.iscoroutine(found) else found  # type: ignore[no-any-return]
        return web.json_response(self.consents)


@dataclass(frozen=True)
class Hooked:
    bridge: LocalBridge
    admin: Admin
    before: int = 0

    async def ask(self, body: Any, path: str = "/hooks/hydra") -> tuple[int, Any]:
        headers = {"X-Bridge-Key": KEY, "Content-Type": "application/json; charset=UTF-8"}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.bridge.session.post(path, data=data, headers=headers) as response:
            raw = await response.read()
            return response.status, json.loads(raw) if raw else None

    def last(self) -> dict[str, Any]:
        return self.decisions()[-1]

    def decisions(self) -> list[dict[str, Any]]:
        return [entry for entry in self.bridge.entries() if entry["kind"] == "decision"][self.before :]


@contextlib.asynccontextmanager
async def hooked(folder: Path, **settings: Any) -> AsyncIterator[Hooked]:
    admin = Admin()
    app = web.Application()
    app.router.add_get(CONSENTS, admin.get)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    section = {"admin_url": f"http://127.0.0.1:{port}", "admin_timeout_ms": 300, **settings}
    known = hashlib.sha256(KEY.encode()).hexdigest()
    callers = [
        {
            "name": "hydra",
            "roles": ["token_service"],
            "doors": ["hydra"],
            "issuer": "https://as.example",
            "header": "X-Bridge-Key",
            "token_sha256": known,
        }
    ]
    policies = write_policies(folder / "rego", RULES)
    try:
        async with local_bridge(folder, policies, callers=callers, hooks={"hydra": section}) as bridge:
            yield Hooked(bridge, admin)
    finally:
        await runner.cleanup()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hooked]:
    async with hooked(tmp_path_factory.mktemp("hydra")) as running:
        yield running


@pytest.fixture
def hydra(shared: Hooked) -> Hooked:
    """The shared one as if it were new."""
    (door,) = [d for d in shared.bridge.bridge._doors if isinstance(d, HookDoor) and isinstance(d._hook, HydraHook)]
    door._hook._consents._kept.clear()  # type: ignore[attr-defined]
    shared.admin.__init__()  # type: ignore[misc]
    return replace(shared, before=len(shared.decisions()) + shared.before)


async def test_every_captured_body_is_understood(hydra: Hooked) -> None:
    expected: dict[str, tuple[str, dict[str, Any]]] = {
        "client_credentials": ("client", {"scopes": ["read"], "audience": [API]}),
        "client_credentials_without_scope": ("client", {"scopes": []}),
        "authorization_code": (
            "user",
            {"scopes": ["openid", "offline", "read"], "consented_scopes": ["openid", "offline", "read"]},
        ),
        "refresh_token": ("user", {"scopes": ["openid", "offline", "read"], "audience": [API]}),
        "jwt_bearer": ("user", {"scopes": ["read"], "audience": [API]}),
        "refresh_hook": ("user", {"scopes": ["openid", "offline", "read"], "audience": [API]}),
    }
    for name, (subject, members) in expected.items():
        path = "/hooks/hydra/refresh" if name == "refresh_hook" else "/hooks/hydra"
        assert await hydra.ask(captured(name), path) == (204, None), name
        request = hydra.last()["request"]
        assert request["subject"]["type"] == subject
        assert {key: request[key] for key in members} == members, name
        assert ("audience" in request) == (name != "client_credentials_without_scope")
        assert request["issuer"] == "https://as.example"
        if subject == "user" and name != "jwt_bearer":
            assert request["authentication"]["acr"] == "urn:loa:2"
            assert request["authentication"]["amr"] == ["pwd"]
            assert isinstance(request["authentication"]["auth_time"], int)
            assert isinstance(request["grant"]["started"], int)
            assert request["grant"]["scopes"] == members["scopes"]
        else:
            assert not request.keys() & {"authentication", "session", "grant", "consented_scopes"}


async def test_plain_no_and_plain_yes(hydra: Hooked) -> None:
    assert await hydra.ask(asked("client_credentials", "read", "hour")) == (204, None)
    for scopes in (["read", "never"], ["read", "unheard"], ["read", "write"], ["ours"], ["read", "agreed"]):
        status, body = await hydra.ask(asked("client_credentials", *scopes))
        entry = hydra.last()
        assert (status, body) == (403, {"decision_id": entry["id"]}), scopes
        assert entry["reply"]["code"] == "inexpressible", scopes


async def test_limits_fit_only_where_the_body_shows_that_they_do(hydra: Hooked) -> None:
    body = asked("client_credentials", "hour")
    assert (await hydra.ask(body))[0] == 204
    times = body["session"]["id_token"]["expires_at"]
    rounded, later = (datetime.now(UTC) + timedelta(seconds=s) for s in (3600.9, 3602))
    times["access_token"] = f"{rounded:%Y-%m-%dT%H:%M:%S.%fZ}"
    assert (await hydra.ask(body))[0] == 204
    for until in (
        f"{later:%Y-%m-%dT%H:%M:%S.%fZ}",
        "0001-01-01T00:00:00Z",
        "2020-01-01T00:00:00Z",
        "soon",
        7,
        None,
        "",
    ):
        times["access_token"] = until
        assert (await hydra.ask(body))[0] == 403, until
    del times["access_token"]
    assert (await hydra.ask(body))[0] == 403
    body["session"]["id_token"]["expires_at"] = None
    assert (await hydra.ask(body))[0] == 403
    for audience, status in (([API], 204), ([API, "https://other"], 403), ([], 403), (None, 403)):
        assert (await hydra.ask(asked("client_credentials", "here", granted_audience=audience)))[0] == status, audience


async def test_claims_replace_what_is_ours_and_nothing_else(hydra: Hooked) -> None:
    body = asked("refresh_token", "openid", "offline", "tagged")
    del body["request"]["payload"]["scope"]
    body["session"]["extra"] = {"tenant": "t1", "big": 2**70, "float": 0.1, "deep": "of the consent"}
    status, told = await hydra.ask(body)
    assert status == 200
    session = told["session"]
    marker = {"claims": ["deep", "tag"], "decision_id": hydra.last()["id"]}
    claims = {"tag": 1, "deep": {"a": [1, True, None]}}
    assert session["access_token"] == {"tenant": "t1", "big": 2**70, "float": 0.1, **claims, MARKER: marker}
    assert session["id_token"] == body["session"]["id_token"]["id_token_claims"]["ext"]
    # What Hydra sends next time is what it was told; a retry is answered with the same, but for the decision's id.
    body["session"]["extra"] = session["access_token"]
    status, again = await hydra.ask(body)
    assert (status, again["session"]["access_token"][MARKER]["decision_id"]) == (200, hydra.last()["id"])
    assert again["session"]["access_token"] == {
        **session["access_token"],
        MARKER: again["session"]["access_token"][MARKER],
    }
    # Another claim now: the former ones go.
    body["request"]["payload"]["scope"] = ["other"]
    status, told = await hydra.ask(body)
    assert told["session"]["access_token"].keys() == {"tenant", "big", "float", "other", MARKER}
    assert told["session"]["access_token"][MARKER]["claims"] == ["other"]
    # None at all: the last one goes, too, which a 204 would leave; and then there is nothing more to say.
    body["session"]["extra"] = told["session"]["access_token"]
    body["request"]["payload"]["scope"] = ["none"]
    status, told = await hydra.ask(body)
    assert (status, told["session"]["access_token"].keys()) == (200, {"tenant", "big", "float"})
    body["session"]["extra"] = told["session"]["access_token"]
    assert await hydra.ask(body) == (204, None)


async def test_claims_go_only_where_they_are_carried(hydra: Hooked) -> None:
    body = asked("client_credentials", "tagged")
    del body["request"]["payload"]["scope"]
    session = body["session"]
    for mirrored, allowed, status in (
        (True, [], 200),
        (True, None, 200),
        (False, ["tag", "deep"], 200),
        (False, ["tag"], 403),
        (False, [], 403),
        (False, None, 403),
        (False, ["tag", "deep", "scp"], 200),
    ):
        session["mirror_top_level_claims"], session["allowed_top_level_claims"] = mirrored, allowed
        assert (await hydra.ask(body))[0] == status, (mirrored, allowed)
    # On the top level Hydra's own wins.
    body["request"]["granted_scopes"], session["allowed_top_level_claims"] = ["own"], ["scp"]
    assert (await hydra.ask(body))[0] == 403
    body["request"]["granted_scopes"] = ["tagged"]
    session |= {"mirror_top_level_claims": True, "extra": None}
    session["id_token"]["id_token_claims"]["ext"] = None
    status, told = await hydra.ask(body)
    assert (status, told["session"]["id_token"]) == (200, {})


async def test_a_consent_is_looked_up_once_for_its_subject_client_and_challenge(hydra: Hooked) -> None:
    body = captured("authorization_code")
    for _ in range(3):
        assert (await hydra.ask(body))[0] == 204
    (seen,) = hydra.admin.seen
    sid = body["session"]["id_token"]["id_token_claims"]["ext"]["sid"]
    assert dict(parse_qsl(seen.query_string)) == {"subject": "alice", "page_size": "50", "login_session_id": sid}
    assert "Authorization" not in seen.headers
    for change in (
        lambda b: b["session"].update(consent_challenge="another"),
        lambda b: b["session"]["id_token"].update(subject="mallory"),
        lambda b: (b["session"].update(client_id="other"), b["request"].update(client_id="other")),
        lambda b: b["session"].update(consent_challenge=""),
    ):
        other = copy.deepcopy(body)
        change(other)
        status, _ = await hydra.ask(other)
        assert (status, hydra.last()["reply"]["code"]) == (403, "not_shown")
        assert hydra.last()["terms"]["refused"] == "not_shown"
        assert "scopes" not in hydra.last()["request"].get("grant", {})  # what was only asked for is no grant


async def test_a_subject_is_asked_for_as_it_is(hydra: Hooked) -> None:
    for number, subject in enumerate(["a+b c&page_size=9#é%2F", "https://idp.example/u?1"]):
        item = copy.deepcopy(json.loads(RECORDED["consents"])[0])
        item["consent_request"]["subject"] = subject
        hydra.admin.consents = [item]
        assert (await hydra.ask(at(captured("authorization_code"), "session/id_token/subject", subject)))[0] == 204
        assert hydra.admin.seen[number].query["subject"] == subject
        assert hydra.admin.seen[number].query["page_size"] == "50"


async def test_what_the_consent_granted_is_decided_and_not_what_was_requested(hydra: Hooked) -> None:
    body = captured("authorization_code")
    hydra.admin.consents[0]["grant_scope"] = ["read", "agreed"]
    hydra.admin.consents[0]["grant_access_token_audience"] = []
    assert (await hydra.ask(body))[0] == 204
    assert hydra.last()["request"]["scopes"] == hydra.last()["request"]["consented_scopes"] == ["read", "agreed"]
    assert "audience" not in hydra.last()["request"]
    # Nobody was asked where a client is configured to skip the consent.
    body["session"]["consent_challenge"] = hydra.admin.consents[0]["consent_request"]["challenge"] = "second"
    hydra.admin.consents[0]["consent_request"]["client"]["skip_consent"] = True
    assert (await hydra.ask(body))[0] == 403
    assert hydra.last()["request"]["consented_scopes"] == []


NO_LIST: list[Callable[[], Any]] = [
    lambda: web.Response(status=500),
    lambda: web.Response(status=404, text="[]"),
    lambda: web.HTTPFound("/elsewhere"),
    lambda: web.json_response({}),
    lambda: web.json_response([None, 7, {}, {"consent_request": 7}, {"consent_request": {"client": []}}]),
    lambda: web.Response(text="["),
    lambda: web.Response(text='[{"a": 1, "a": 2}]'),
    lambda: web.Response(text="[" * 100 + "]" * 100),
    lambda: web.Response(body=b" " * (MAX_ANSWER_BYTES + 1)),
    lambda: _late(),
]


async def _late() -> web.Response:
    await asyncio.sleep(0.6)
    return web.json_response(json.loads(RECORDED["consents"]))


async def test_a_consent_that_cannot_be_looked_up_is_not_shown(hydra: Hooked) -> None:
    body = captured("authorization_code")
    for hydra.admin.answer in NO_LIST:
        loop = asyncio.get_running_loop()
        before = loop.time()
        status, _ = await hydra.ask(body)
        assert (status, hydra.last()["reply"]["code"]) == (403, "not_shown")
        assert loop.time() - before < 1.5
    whole = hydra.admin.consents[0]
    for name in ("grant_scope", "grant_access_token_audience"):
        for misfit in ("absent", "", 0, False):
            hydra.admin.answer = None
            hydra.admin.consents[0] = {n: v for n, v in whole.items() if n != name or misfit != "absent"}
            hydra.admin.consents[0] |= {} if misfit == "absent" else {name: misfit}
            assert (await hydra.ask(body))[0] == 403, (name, misfit)
            assert hydra.last()["reply"]["code"] == "not_shown"
    hydra.admin.consents[:] = [whole, {**whole, "grant_scope": ["read"]}]  # two of one challenge
    assert (await hydra.ask(body))[0] == 403
    hydra.admin.consents[:] = [whole]
    misfits: list[dict[str, Any]] = [
        {"grant_scope": "read"},
        {"grant_scope": [7]},
        {"grant_access_token_audience": 7},
    ]
    for grant in misfits:
        hydra.admin.answer = None
        hydra.admin.consents[0] |= grant
        assert (await hydra.ask(body))[0] == 403
    # A refresh shows what is granted by itself; only what the user agreed to is not known then.
    assert (await hydra.ask(captured("refresh_token")))[0] == 204
    assert "consented_scopes" not in hydra.last()["request"]


async def test_the_consent_app_may_tell_of_the_consent_itself(hydra: Hooked) -> None:
    body = captured("authorization_code")
    note = {"scopes": ["read", "agreed"], "audience": [API], "consented_scopes": ["agreed"]}
    body["session"]["extra"] = {MARKER: {"consent": note}}
    # What Hydra lists was granted, whatever the note says; to what the user agreed, the note knows.
    assert await hydra.ask(body) == (204, None)
    assert hydra.last()["request"]["scopes"] == ["openid", "offline", "read"]
    assert hydra.last()["request"]["consented_scopes"] == ["agreed"]
    body["session"]["consent_challenge"] = "remembered, so not listed"
    assert await hydra.ask(body) == (204, None)
    request = hydra.last()["request"]
    assert (request["scopes"], request["consented_scopes"], request["audience"]) == (
        ["read", "agreed"],
        ["agreed"],
        [API],
    )
    assert "ext" not in request["context"]
    # It stays there for the refreshes, beside what is ours.
    note["scopes"] = ["read", "tagged"]
    status, told = await hydra.ask(body)
    assert status == 200
    kept = told["session"]["access_token"][MARKER]
    assert kept == {"claims": ["deep", "tag"], "decision_id": hydra.last()["id"], "consent": note}
    refresh = asked("refresh_token", "agreed")
    refresh["session"]["extra"] = told["session"]["access_token"]
    seen = len(hydra.admin.seen)
    status, told = await hydra.ask(refresh)
    assert (status, told["session"]["access_token"]) == (200, {MARKER: {"consent": note}})
    assert len(hydra.admin.seen) == seen


async def test_without_a_consent_it_may_be_configured_that_all_requested_must_be_allowed(tmp_path: Path) -> None:
    async with hooked(tmp_path, admin_url="", without_consent="requested") as hydra:
        body = captured("authorization_code")
        assert (await hydra.ask(body))[0] == 403
        assert hydra.last()["reply"]["code"] == "inexpressible"
        body["request"]["requested_scopes"] = ["openid", "read"]
        assert (await hydra.ask(body))[0] == 204
        assert "consented_scopes" not in hydra.last()["request"]
        body["request"]["requested_scopes"] = ["read", "here"]
        assert (await hydra.ask(body))[0] == 403


async def test_an_assertion_is_read_and_never_kept(hydra: Hooked) -> None:
    body = asked("jwt_bearer", "agent")
    assert (await hydra.ask(body))[0] == 204
    request = hydra.last()["request"]
    assert request["subject_token"]["act"] == {"sub": "agent"}
    assert request["context"]["payload"].keys() == {"grant_type", "scope"}
    kept = b"".join(file.read_bytes() for file in hydra.bridge.evidence.rglob("*") if file.is_file())
    assert body["request"]["payload"]["assertion"][0].encode() not in kept
    # Whoever the client says it is itself, is that client.
    body["session"]["id_token"]["subject"] = body["request"]["client_id"]
    assert (await hydra.ask(body))[0] == 204
    assert hydra.last()["request"]["subject"] == {"type": "client", "id": "agent"}
    # Only Hydra's own token endpoint is no API, however its issuer ends.
    body["session"]["id_token"]["id_token_claims"]["iss"] += "/"
    assert (await hydra.ask(body))[0] == 204
    assert hydra.last()["request"]["audience"] == [API]
    body["request"]["granted_audience"] = ["http://127.0.0.1:9/oauth2/token", API]
    assert (await hydra.ask(body))[0] == 204
    assert hydra.last()["request"]["audience"] == ["http://127.0.0.1:9/oauth2/token", API]


def encoded(claims: bytes) -> str:
    return f"e30.{base64.urlsafe_b64encode(claims).rstrip(b'=').decode()}.c2ln"


def at(body: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The body with another value at this place."""
    *above, name = path.split("/")
    place = body
    for part in above:
        place = place[part]
    place[name] = value
    return body


HOSTILE: dict[tuple[str, str], list[Any]] = {
    ("client_credentials", "request/grant_types"): [
        *([], ["a", "b"], "client_credentials", [7], [""], None, ["refresh_token"], ["x" * 200], ["a\nb"]),
    ],
    ("client_credentials", "request/client_id"): ["", "other", 7, None, "x" * 600, "a\x00b"],
    ("client_credentials", "session/client_id"): ["other", 7, None],
    ("client_credentials", "request/granted_scopes"): ["read", [7], {}, ["x" * 9000], [f"s{n}" for n in range(300)]],
    ("client_credentials", "request/payload"): [[], {"grant_type": "x"}, {"grant_type": ["password"]}],
    ("client_credentials", "session/extra"): [[], "x", 7],
    ("client_credentials", f"session/extra/{MARKER}"): [
        *("x", 7, ["a"], {"claims": "tag"}, {"claims": [7]}, {"more": 1}, {"consent": {}}, {"consent": []}),
    ],
    ("client_credentials", "session/mirror_top_level_claims"): ["false", 0, None],
    ("client_credentials", "session"): [[], None, {}, "x"],
    ("authorization_code", "session/id_token/subject"): ["", 7, None, "a\nb", "x" * 600],
    ("authorization_code", "session/id_token/id_token_claims/amr"): ["pwd", [7], ["x"] * 300],
    ("authorization_code", "session/id_token/id_token_claims/ext"): ["x", [1]],
    ("jwt_bearer", "request/payload"): [None],
    ("jwt_bearer", "request/payload/assertion"): [
        *([], ["a.b"], ["a.b.c.d.e"], ["a", "b"], "a.b.c"),
        *([f"e30.{payload}.c2ln"] for payload in ("!", "a", "é", "")),
        *([encoded(claims)] for claims in (b"[]", b"7", b"{", b'{"a":1,"a":2}', b"\xff")),
        [encoded(b'{"a":' + b"[" * 40 + b"]" * 40 + b"}")],
        [encoded(b'{"a":"' + b"x" * 70_000 + b'"}')],
    ],
}


async def test_a_body_that_hydra_does_not_send_is_never_a_yes(hydra: Hooked) -> None:
    for (name, path), values in HOSTILE.items():
        for value in values:
            status, told = await hydra.ask(at(captured(name), path, value))
            assert status == 400, (name, path, value)
            assert "x" * 100 not in str(told)
    for raw in (b"", b"{", b"null", b"[]", b'{"session": {}, "session": {}}'):
        assert (await hydra.ask(raw))[0] == 400
    assert (await hydra.ask(captured("refresh_hook")))[0] == 400
    assert (await hydra.ask(captured("refresh_token"), "/hooks/hydra/refresh"))[0] == 400
    assert hydra.decisions() == []


async def test_who_has_not_the_key_learns_nothing(hydra: Hooked) -> None:
    wrong: list[dict[str, str]] = [{}, {"X-Bridge-Key": "x"}, {"Authorization": f"Bearer {KEY}"}]
    for headers in wrong:
        async with hydra.bridge.session.post(
            "/hooks/hydra", json=captured("client_credentials"), headers=headers
        ) as response:
            assert response.status == 401
    async with hydra.bridge.session.post("/v1/issuance/decisions", json={}, headers={"X-Bridge-Key": KEY}) as response:
        assert response.status == 403
    assert hydra.decisions() == []


async def test_the_admin_api_is_shown_what_its_gateway_wants(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("of-the-gateway\n")
    for header, shown in (("", ("Authorization", "Bearer of-the-gateway")), ("X-Gate", ("X-Gate", "of-the-gateway"))):
        folder = tmp_path / (header or "bearer")
        async with hooked(folder, admin_token_file=str(file), admin_header=header) as hydra:
            assert (await hydra.ask(captured("authorization_code")))[0] == 204
            assert hydra.admin.seen[0].headers[shown[0]] == shown[1]
    for text in ("", "two\nlines", "é"):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigFault, match=r"hooks\.hydra\.admin_token_file"):
            Consents(HydraSection(admin_url="http://127.0.0.1", admin_token_file=str(file)))
    with pytest.raises(ConfigFault, match="cannot be read"):
        Consents(HydraSection(admin_url="http://127.0.0.1", admin_token_file=str(tmp_path / "none")))


async def test_what_is_kept_of_consents_is_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("bridge.doors.hooks.hydra_consents.MAX_KEPT", 2)
    async with hooked(tmp_path) as hydra:
        item = hydra.admin.consents[0]
        hydra.admin.consents = [
            {**item, "consent_request": {**item["consent_request"], "challenge": f"c{n}"}} for n in range(4)
        ]
        for challenge, looked_up in (("c0", 1), ("c1", 2), ("c0", 2), ("c2", 3), ("c0", 3), ("c1", 4)):
            body = at(captured("authorization_code"), "session/consent_challenge", challenge)
            assert (await hydra.ask(body))[0] == 204
            assert len(hydra.admin.seen) == looked_up, challenge


async def test_what_stops_a_decision_is_a_no(hydra: Hooked, monkeypatch: pytest.MonkeyPatch) -> None:
    body, inner = asked("client_credentials", "tagged"), hydra.bridge.bridge

    async def gone(items: bytes, timeout_s: float) -> Any:
        raise EngineUnavailable("it is gone")

    def full(*records: Any) -> Any:
        raise EvidenceUnavailable("the disk is full")

    for part, name, fault in ((inner.engine, "query", gone), (inner.journal, "append", full)):
        with monkeypatch.context() as broken:
            broken.setattr(part, name, fault)
            status, told = await hydra.ask(body)
        assert (status, told.keys()) == (403, {"decision_id"})
    (entry,) = hydra.decisions()
    assert entry["reply"]["code"] == "engine_unavailable"
    with monkeypatch.context() as full_up:
        full_up.setattr(inner.admission, "enter", lambda: False)
        assert (await hydra.ask(body))[0] == 403
    assert (await hydra.ask(body))[0] == 204
