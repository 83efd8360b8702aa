"""Logout tokens that come: which are believed, what they end, and that a repeated one ends nothing more."""

import asyncio
import base64
import gzip
import hmac
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from inspect import isawaitable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import psutil
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws

from bridge.config.logout import LogoutSenderSection
from bridge.config.logout_key import Only
from bridge.doors.logout import keys as sender_keys
from bridge.doors.logout.backchannel import PATH
from bridge.doors.logout.keys import KeysUnavailable
from bridge.doors.logout.token import Tokens
from bridge.errors import LogoutRefused
from bridge.evidence.files import DATABASE
from bridge.model.issuance import Session
from bridge.model.logout import EVENT, JTI_DIGEST, Logout, Rule, believed
from tests.logout.keys import key_of, pem, public
from tests.support.bridge import RunningBridge, bearer, caller, request, running_bridge

ISSUER, AUDIENCE = "https://op.example", "bridge"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
NUMBERS = iter(range(100_000))
RULE = Rule(ISSUER, AUDIENCE, require_exp=True, max_age_s=300)


def claims(**members: Any) -> dict[str, Any]:
    """Good ones; None leaves a member out."""
    now = int(time.time())
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + 120,
        "jti": f"jti-{next(NUMBERS)}",
        "events": {EVENT: {}},
        "sid": f"sid-{next(NUMBERS)}",
    }
    return {name: value for name, value in {**good, **members}.items() if value is not None}


def signed(said: Any, kind: str = "ES256", number: int = 0, **header: Any) -> str:
    shown = {name: v for name, v in {"alg": kind, "kid": kind, "typ": "logout+jwt", **header}.items() if v is not None}
    text = said if isinstance(said, str) else json.dumps(said)
    return jws.serialize_compact(shown, text, key_of(kind, number), registry=Only(shown["alg"]))


def encoded(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def key_set(*more: dict[str, Any]) -> dict[str, Any]:
    return {"keys": [*(public(kind, kind) for kind in ("ES256", "RS256", "EdDSA", "ES384")), *more]}


def weak_jwk() -> dict[str, Any]:
    """RSA with 1024 bits."""
    numbers = load_pem_private_key(pem("weak", 0), None).public_key().public_numbers()  # type: ignore[union-attr]
    return {"kty": "RSA", "kid": "weak", "n": encoded(numbers.n.to_bytes(128)), "e": "AQAB"}  # type: ignore[union-attr]


def sender(folder: Path, keys: Any, **members: Any) -> LogoutSenderSection:
    file = folder / "jwks.json"
    file.write_text(keys if isinstance(keys, str) else json.dumps(keys))
    return LogoutSenderSection(issuer=ISSUER, audience=AUDIENCE, jwks_file=str(file), **members)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    return Tokens([sender(tmp_path_factory.mktemp("keys"), key_set())])


async def refused(tokens: Tokens, token: str) -> str:
    """The part that is at fault."""
    with pytest.raises(LogoutRefused) as error:
        await tokens(token)
    return error.value.what


@pytest.mark.parametrize("kind", ["ES256", "RS256", "EdDSA", "ES384"])
@pytest.mark.parametrize("typ", ["logout+jwt", "JWT", "Logout+JWT", None])
async def test_good_tokens(tokens: Tokens, kind: str, typ: str | None) -> None:
    found = await tokens(signed(claims(sid="s", sub="alice", aud=["x", AUDIENCE]), kind, typ=typ, kid=kind))
    assert (found.sid, found.sub, found.issuer) == ("s", "alice", ISSUER)


@pytest.mark.parametrize("name", ["s\u00a0-1", "\U0001f469\u200d\U0001f680", "\u202ex"])
async def test_what_can_stand_in_a_request_can_end(tokens: Tokens, name: str) -> None:
    assert Session(id=name).id == (await tokens(signed(claims(sid=name)))).sid


async def test_algorithms_belong_to_keys(tokens: Tokens) -> None:
    good = claims()
    body = encoded(good)
    for algorithm in ("none", "None", "NONE", "nOnE"):
        for signature in ("", "x"):
            token = f"{encoded({'alg': algorithm, 'kid': 'ES256'})}.{body}.{signature}"
            assert await refused(tokens, token) in ("logout_token", "kid")
    for secret in (key_of("RS256").as_pem(private=False), json.dumps(public("RS256", "RS256")).encode()):
        for kid in ("RS256", None):
            header = {"alg": "HS256", **({"kid": kid} if kid else {})}
            text = f"{encoded(header)}.{body}"
            token = f"{text}.{encoded(hmac.digest(secret, text.encode(), 'sha256'))}"
            assert await refused(tokens, token) == "kid"
    # An algorithm of another type of key, and one of the right type whose signature is another's.
    assert await refused(tokens, signed(good, "ES256", kid="RS256")) == "kid"
    assert await refused(tokens, signed(good, "ES256", number=1)) == "signature"
    token = signed(good, "RS256")
    assert (
        await refused(tokens, f"{encoded({'alg': 'RS512', 'kid': 'RS256'})}.{token.partition('.')[2]}") == "signature"
    )


async def test_keys_in_the_header_count_for_nothing(tokens: Tokens) -> None:
    own = public("ES256", "own", 1)
    known: list[dict[str, Any]] = [
        {"jwk": own},
        {"jku": "https://evil.example/jwks"},
        {"x5u": "https://evil.example/x"},
    ]
    for header in known:
        assert await refused(tokens, signed(claims(), "ES256", 1, kid="ES256", **header)) == "signature"
        assert await refused(tokens, signed(claims(), "ES256", 1, kid="own", **header)) == "kid"
    odd: list[tuple[dict[str, Any], str]] = [
        ({"crit": ["exp"], "exp": 1}, "crit"),
        ({"kid": 7}, "kid"),
        ({"kid": ["ES256"]}, "kid"),
        ({"kid": "../../etc/passwd"}, "kid"),
        ({"kid": "' OR 1=1 --"}, "kid"),
        ({"kid": ""}, "kid"),
        ({"typ": "at+jwt"}, "typ"),
        ({"typ": "secevent+jwt"}, "typ"),
        ({"typ": 1}, "typ"),
        ({"alg": None}, "alg"),
        ({"alg": ["ES256"]}, "alg"),
    ]
    for header, what in odd:
        token = f"{encoded({'alg': 'ES256', 'kid': 'ES256', **header})}.{signed(claims()).partition('.')[2]}"
        assert await refused(tokens, token) == what


async def test_a_token_without_kid_needs_a_single_key_that_fits(tmp_path: Path) -> None:
    one, two = (tmp_path / name for name in ("one", "two"))
    for folder, more in ((one, ()), (two, (public("ES256", "second", 1),))):
        folder.mkdir()
        found = Tokens([sender(folder, key_set(*more))])
        token = signed(claims(sid="s"), kid=None)
        if more:
            assert await refused(found, token) == "kid"
        else:
            assert (await found(token)).sid == "s"


async def test_keys_that_are_for_something_else(tmp_path: Path) -> None:
    kinds = [
        public("ES256", "enc", use="enc"),
        public("ES256", "ops", key_ops=["encrypt"]),
        public("ES256", "odd", key_ops=7),
        public("ES256", "alg", alg="ES384"),
        {"kty": "oct", "kid": "oct", "k": "c2VjcmV0"},
        {"kty": "RSA", "kid": "broken", "n": 7, "e": "AQAB"},
        {"kty": "RSA", "kid": "huge", "n": "A" * 100_000, "e": "AQAB"},
        {"kty": "EC", "kid": "off", "crv": "P-256", "x": "AA", "y": "AA"},
        weak_jwk(),
        {},
        7,
    ]
    found = Tokens([sender(tmp_path, {"keys": [*kinds, public("ES256", "good")]})])
    assert (await found(signed(claims(sid="s"), kid="good"))).sid == "s"
    for kid in ("enc", "ops", "odd", "alg"):
        assert await refused(found, signed(claims(), kid=kid)) == "kid"
    for kid in ("broken", "huge", "weak"):
        assert await refused(found, signed(claims(), "RS256", kid=kid)) == "kid"


CLAIMS: list[tuple[dict[str, Any], str]] = [
    ({"iss": "https://evil.example"}, "iss"),
    ({"iss": None}, "iss"),
    ({"iss": [ISSUER]}, "iss"),
    ({"aud": "other"}, "aud"),
    ({"aud": ["other"]}, "aud"),
    ({"aud": None}, "aud"),
    ({"aud": {AUDIENCE: 1}}, "aud"),
    ({"iat": None}, "iat"),
    ({"iat": True}, "iat"),
    ({"iat": "1"}, "iat"),
    ({"iat": int(time.time()) + 3600}, "iat"),
    ({"iat": int(time.time()) - 3600}, "iat"),
    ({"iat": 1e300}, "iat"),
    ({"exp": None}, "exp"),
    ({"exp": int(time.time()) - 61}, "exp"),
    ({"exp": "2099"}, "exp"),
    ({"nbf": int(time.time()) + 3600}, "nbf"),
    ({"events": None}, "events"),
    ({"events": {}}, "events"),
    ({"events": [EVENT]}, "events"),
    ({"events": {EVENT: None}}, "events"),
    ({"events": {EVENT: True}}, "events"),
    ({"events": {EVENT + "/": {}}}, "events"),
    ({"nonce": "n"}, "nonce"),
    ({"nonce": ""}, "nonce"),
    ({"jti": None}, "jti"),
    ({"jti": ""}, "jti"),
    ({"jti": 7}, "jti"),
    ({"sid": None}, "sub"),
    ({"sid": ""}, "sid"),
    ({"sid": "a\nb"}, "sid"),
    ({"sid": "s" * 513}, "sid"),
    ({"sub": {"id": "alice"}}, "sub"),
]


@pytest.mark.parametrize(("members", "what"), CLAIMS)
async def test_claims_that_do_not_hold(tokens: Tokens, members: dict[str, Any], what: str) -> None:
    assert await refused(tokens, signed(claims(**members))) == what


async def test_what_was_signed_is_what_is_read(tokens: Tokens) -> None:
    good = claims()
    twice = json.dumps(good)[:-1] + ', "sid": "other"}'
    events = json.dumps({**good, "events": 0}).replace(": 0", f': {{"{EVENT}": {{}}, "{EVENT}": {{}}}}')
    for text in (twice, events, "[]", "7", "null", '"x"', json.dumps(good) + " {}", "{" * 5000, '{"a":NaN}'):
        assert await refused(tokens, signed(text)) == "claims"
    header, body, signature = signed(good).split(".")
    for token in (
        f"{header}.{body}",
        f"{header}..{signature}",
        f"{header}.{body}.{signature}.x",
        "",
        ".",
        "..",
        "a.b.c.d.e",
    ):
        assert await refused(tokens, token) in ("logout_token", "header")
    assert await refused(tokens, f"{header}.{body}=.{signature}") == "claims"
    assert await refused(tokens, f"{header}.{body[:-1]}.{signature}") in ("claims", "signature")
    assert await refused(tokens, f"{header}.{encoded({**good, 'sid': 'x'})}.{signature}") == "signature"
    assert await refused(tokens, "é.é.é") == "header"
    doubled = encoded(b'{"alg":"ES256","alg":"none","kid":"ES256"}')
    assert await refused(tokens, f"{doubled}.{body}.{signature}") == "header"
    assert await refused(tokens, signed(claims(padding="x" * 40_000))) == "logout_token"


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: ".".join([encoded(raw)] * 3)))
async def test_no_other_fault_than_a_refusal(text: str) -> None:
    with pytest.raises(LogoutRefused):
        await Tokens([])(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    st.lists,
    max_leaves=4,
)
NOW = 1_800_000_000
GOOD = {"iss": ISSUER, "aud": AUDIENCE, "iat": NOW, "exp": NOW + 60, "jti": "j", "events": {EVENT: {}}, "sid": "s"}


@given(
    st.dictionaries(st.sampled_from([*GOOD, "nonce", "sub", "nbf", "x"]), JSON), st.sets(st.sampled_from(list(GOOD)))
)
def test_claims_of_any_shape_are_believed_or_refused(odd: dict[str, Any], gone: set[str]) -> None:
    said = {**{name: value for name, value in GOOD.items() if name not in gone}, **odd}
    try:
        found = believed(said, RULE, NOW)
    except LogoutRefused:
        return
    assert "nonce" not in said and said["iss"] == ISSUER and AUDIENCE in (said["aud"], *said["aud"])
    assert abs(said["iat"] - NOW) <= 360 and said["exp"] > NOW - 60
    assert found == Logout(ISSUER, said["jti"], said["iat"], said.get("sub"), said.get("sid"))


async def test_a_missing_exp_is_tolerated_where_the_setting_says_so(tmp_path: Path) -> None:
    """As Ory Hydra's tokens are: no `exp`, and `typ` JWT."""
    found = Tokens([sender(tmp_path, key_set(), require_exp=False)])
    now = int(time.time())
    assert (await found(signed(claims(sid="s", exp=None), typ="JWT"))).sid == "s"
    assert await refused(found, signed(claims(exp=None, iat=now - 400))) == "iat"
    assert await refused(found, signed(claims(exp=now - 100))) == "exp"


@asynccontextmanager
async def jwks_at(answer: Callable[[], Any]) -> AsyncIterator[tuple[str, list[float]]]:
    asked: list[float] = []

    async def get(_: web.Request) -> web.StreamResponse:
        asked.append(time.monotonic())
        given = answer()
        found: web.StreamResponse = await given if isawaitable(given) else given
        return found

    app = web.Application()
    app.router.add_get("/jwks", get)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/jwks", asked  # type: ignore[union-attr]
    finally:
        await runner.cleanup()


async def test_a_set_is_kept_and_asked_for_anew_for_a_key_that_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    served = key_set()
    async with jwks_at(lambda: web.json_response(served)) as (url, asked):
        found = Tokens([LogoutSenderSection(issuer=ISSUER, audience=AUDIENCE, jwks_url=url)])
        for _ in range(3):
            await found(signed(claims()))
        assert len(asked) == 1
        served = key_set(public("ES256", "new", 1))
        new = signed(claims(sid="s"), "ES256", 1, kid="new")
        for _ in range(3):
            assert await refused(found, new) == "kid"
        assert len(asked) == 1  # at most once a minute, whatever comes
        monkeypatch.setattr(sender_keys, "AGAIN_S", 0.0)
        assert (await found(new)).sid == "s"
        assert len(asked) == 2
        served = {"keys": []}
        monkeypatch.setattr(sender_keys, "OLD_S", -1.0)  # a key that is withdrawn goes
        assert await refused(found, new) == "kid"


async def test_who_names_a_key_that_is_not_there_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the set is asked for anew, and does not come."""
    served: Any = web.json_response(key_set())
    async with jwks_at(lambda: served) as (url, asked):
        found = Tokens([LogoutSenderSection(issuer=ISSUER, audience=AUDIENCE, jwks_url=url)])
        assert (await found(signed(claims(sid="s")))).sid == "s"
        monkeypatch.setattr(sender_keys, "AGAIN_S", 0.0)
        monkeypatch.setattr(sender_keys, "FETCH_S", 0.6)
        served = asyncio.sleep(1.0)
        forged = asyncio.create_task(refused(found, signed(claims(), "ES256", 1, kid="none")))
        while len(asked) < 2:
            await asyncio.sleep(0.01)
        assert (await found(signed(claims(sid="s")))).sid == "s"
        assert not forged.done()
        assert await forged == "kid"


ANSWERS: dict[str, Callable[[], web.StreamResponse]] = {
    "status": lambda: web.Response(status=404),
    "redirect": lambda: web.Response(status=302, headers={"Location": "/jwks"}),
    "list": lambda: web.json_response([]),
    "keys": lambda: web.json_response({"keys": [{}] * 101}),
    "long": lambda: web.Response(text=json.dumps({**key_set(), "x": "y" * 300_000})),
    "twice": lambda: web.Response(text='{"keys": [], "keys": []}'),
    "deep": lambda: web.Response(text='{"keys":' + "[" * 50 + "]" * 50 + "}"),
}


@pytest.mark.parametrize("answer", ANSWERS)
async def test_what_is_no_key_set_is_none(answer: str) -> None:
    async with jwks_at(ANSWERS[answer]) as (url, _):
        found = Tokens([LogoutSenderSection(issuer=ISSUER, audience=AUDIENCE, jwks_url=url)])
        with pytest.raises(KeysUnavailable):
            await found(signed(claims()))


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBridge]:
    folder = tmp_path_factory.mktemp("received")
    (folder / "jwks.json").write_text(json.dumps(key_set()))
    table = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": str(folder / "jwks.json")}
    other = {"issuer": "https://away.example", "audience": "b", "jwks_url": "http://127.0.0.1:1/jwks"}
    callers = [caller("as", issuer=ISSUER), caller("ops", "operator")]
    with running_bridge(folder, callers=callers, logout_senders=[table, other]) as running:
        yield running


def post(bridge: RunningBridge, token: str, **options: Any) -> httpx.Response:
    return bridge.client.post(PATH, content=urlencode({"logout_token": token}), headers={**FORM, **options})


def asked(session: str, subject: str = "alice") -> dict[str, Any]:
    who = {"subject": {"type": "user", "id": subject}, "session": {"id": session}}
    return request("read", grant_type="authorization_code", **who)


def outcome(bridge: RunningBridge, session: str, subject: str = "alice") -> str:
    return str(bridge.ask(asked(session, subject), headers=bearer("as"))["outcome"])


def test_a_token_with_a_session_ends_it_durably(bridge: RunningBridge) -> None:
    assert outcome(bridge, "one") == outcome(bridge, "two") == "allow"
    said = claims(sid="one", sub="alice")
    reply = post(bridge, signed(said), **{"X-Request-ID": "r-1"})
    assert (reply.status_code, reply.content, reply.headers["Cache-Control"]) == (200, b"", "no-store")
    assert (outcome(bridge, "one"), outcome(bridge, "two")) == ("deny", "allow")
    (entry,) = (
        one for one in bridge.entries() if one["kind"] == "revocation" and one["request"]["session"]["id"] == "one"
    )
    assert (entry["effect"], entry["what"], entry["door"], entry["caller"]) == ("ended", "session", "logout", ISSUER)
    assert entry["request_id"] == "r-1"
    assert said["jti"] not in json.dumps(entry)
    count = len(bridge.entries())
    for token in (signed(said), signed({**said, "jti": "another"})):
        assert post(bridge, token).status_code == 200
    assert len(bridge.entries()) == count  # it had ended


def test_a_token_with_a_subject_alone_ends_the_sessions_that_it_had_and_not_the_subject(bridge: RunningBridge) -> None:
    assert {outcome(bridge, session, "bob") for session in ("b-1", "b-2")} == {"allow"}
    said = claims(sid=None, sub="bob")
    token = signed(said)
    assert post(bridge, token).status_code == 200
    assert {outcome(bridge, session, "bob") for session in ("b-1", "b-2")} == {"deny"}
    assert outcome(bridge, "b-3", "bob") == outcome(bridge, "two") == "allow"
    # The very same token once more is known by the log, and means nothing that came since.
    with closing(sqlite3.connect(bridge.evidence / DATABASE)) as db:
        (known,) = db.execute("SELECT count(*) FROM about WHERE member = ?", (JTI_DIGEST,)).fetchone()
    assert known >= 3
    count = len(bridge.entries())
    assert post(bridge, token).status_code == 200
    assert len(bridge.entries()) == count
    assert outcome(bridge, "b-3", "bob") == "allow"
    metrics = bridge.get("/metrics", headers=bearer("ops")).text
    assert 'issuance_logout_tokens_total{result="repeated"} 1.0' in metrics or 'result="repeated"' in metrics
    old = claims(sid=None, sub="carol", iat=int(time.time()) - 200)
    assert outcome(bridge, "c-1", "carol") == "allow"
    assert post(bridge, signed(old)).status_code == 200
    assert outcome(bridge, "c-1", "carol") == "allow"  # it began after the token was made
    assert post(bridge, signed(claims(sid=None, sub="nobody"))).status_code == 200


BODIES: list[tuple[Any, dict[str, str], str]] = [
    (b"", FORM, "logout_token"),
    (b"logout_token=", FORM, "logout_token"),
    (b"logout_token=a&logout_token=b", FORM, "logout_token"),
    (b"logout_token=x.y.z", FORM, "header"),
    (b"\xff\xfe", FORM, "body"),
    (b"&".join([b"a=1"] * 40), FORM, "body"),
    (b"logout_token=" + b"x" * 70_000, FORM, "body"),
    (b'{"logout_token": "x"}', {"Content-Type": "application/json"}, "Content-Type"),
]


@pytest.mark.parametrize(("body", "headers", "what"), BODIES, ids=[str(number) for number in range(len(BODIES))])
def test_bodies_that_are_no_form_with_a_token(
    bridge: RunningBridge, body: bytes, headers: dict[str, str], what: str
) -> None:
    reply = bridge.client.post(PATH, content=body, headers=headers)
    assert reply.status_code == 400
    assert reply.headers["Content-Type"].startswith("application/json")
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.json()["error"] == "invalid_request"
    assert reply.json()["error_description"].startswith(f"{what}: ")


def test_what_is_packed_is_not_unpacked_for_nothing(bridge: RunningBridge) -> None:
    """50 MB in 50 KB, from somebody without credentials, at any door."""
    bomb, process = gzip.compress(bytes(50_000_000)), psutil.Process(bridge.process.pid)
    before = sum(process.cpu_times()[:2])
    for path, headers, status in ((PATH, FORM, 400), ("/v1/issuance/decisions", {}, 401), ("/nothing", {}, 404)) * 8:
        reply = bridge.client.post(path, content=bomb, headers={**headers, "Content-Encoding": "gzip"})
        assert reply.status_code == status
    time.sleep(0.5)
    assert sum(process.cpu_times()[:2]) - before < 0.4


def test_without_a_key_there_is_no_set(bridge: RunningBridge) -> None:
    assert bridge.get("/v1/logout/jwks.json").status_code == 404


def test_refusals_end_nothing_and_are_told(bridge: RunningBridge) -> None:
    count, said = len(bridge.entries()), claims(sid="two", nonce="n")
    assert post(bridge, signed(said)).json() == {
        "error": "invalid_request",
        "error_description": "nonce: must not be there, so that no ID token passes for a logout token",
    }
    assert post(bridge, signed(claims(), "ES256", 1)).status_code == 400
    away = post(bridge, signed(claims(iss="https://away.example", aud="b")))
    assert (away.status_code, away.headers["Retry-After"]) == (503, "10")
    assert len(bridge.entries()) == count
    assert outcome(bridge, "two") == "allow"
    events = bridge.log_events("logout_token_refused")
    assert {"nonce", "signature"} <= {event["what"] for event in events}
    assert "two" not in json.dumps(events)
    assert bridge.log_events("logout_keys_failed")[0]["issuer"] == "https://away.example"
