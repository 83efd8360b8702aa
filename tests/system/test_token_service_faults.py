"""No answer, no token: the example token service when the bridge is gone, stands still, or talks nonsense."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from flask import Flask, Response, redirect, request

from examples.token_service.app import create_app
from examples.token_service.bridge_client import BridgeClient
from examples.token_service.clients import sample_store
from examples.token_service.local import ISSUER, serving
from examples.token_service.oauth_client import OAuthClient

from .token_service_setup import PASSWORD, running_service


def unavailable(reply: httpx.Response) -> None:
    assert (reply.status_code, reply.json()["error"]) == (503, "temporarily_unavailable"), reply.text
    assert not reply.json().keys() & {"access_token", "refresh_token", "id_token"}


@contextlib.contextmanager
def remembered_children(pid: int) -> Iterator[None]:
    """Ends what a killed bridge may leave behind."""
    children = psutil.Process(pid).children(recursive=True)
    try:
        yield
    finally:
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def test_a_stopped_and_then_a_killed_bridge(tmp_path: Path) -> None:
    with running_service(tmp_path) as service, service.client("app") as app, service.client("partner") as partner:
        app.sign_in("alice", PASSWORD, "pwd")
        refresh_token = app.code_flow("plain").json()["refresh_token"]
        process = service.bridge.process
        with remembered_children(process.pid):
            process.send_signal(signal.SIGSTOP)
            try:
                unavailable(app.refresh(refresh_token))
            finally:
                process.send_signal(signal.SIGCONT)
            assert app.refresh(refresh_token).status_code == 200

            process.kill()
            process.wait()
            unavailable(app.code_flow("openid plain"))
            unavailable(app.refresh(refresh_token))
            unavailable(partner.assert_user(service.assertion(), scope="plain"))
            with service.client("batch") as batch:
                unavailable(batch.token("client_credentials"))


def _reply(**changes: Any) -> dict[str, Any]:
    whole = {
        "decision_id": "d-1",
        "outcome": "allow",
        "granted_scopes": ["accounts:read"],
        "valid_until": (datetime.now(UTC) + timedelta(seconds=30)).isoformat(),
        "scopes": {"accounts:read": {"outcome": "allow", "findings": [], "require": [], "limit": {}}},
        "limit": {},
        "require": [],
        "claims": {},
        "crit": [],
        "findings": [],
    }
    return {name: value for name, value in {**whole, **changes}.items() if value is not None}


GOOD = _reply()
BAD: dict[str, Any] = {
    "html": "<html>OK</html>",
    "an array": [GOOD],
    "nothing": "",
    **{f"no {name}": _reply(**{name: None}) for name in GOOD},
    "another outcome": _reply(outcome="ALLOW"),
    "a scope that was not asked for": _reply(granted_scopes=["accounts:read", "admin:users"]),
    "an allowance of nothing": _reply(granted_scopes=[]),
    "a string for scopes": _reply(granted_scopes="accounts:read"),
    "too late": _reply(valid_until=(datetime.now(UTC) - timedelta(seconds=1)).isoformat()),
    "a time without a zone": _reply(valid_until="2999-01-01T00:00:00"),
    "an unknown limit": _reply(limit={"uses": 1}),
    "a life of zero": _reply(limit={"token_lifetime": 0}),
    "a life that is no integer": _reply(limit={"token_lifetime": "60"}),
    "no audience left": _reply(limit={"audience": []}),
    "another audience": _reply(limit={"audience": ["https://elsewhere.example"]}),
    "an unknown critical claim": _reply(claims={"seal": 1}, crit=["seal"]),
    "a critical claim that is not set": _reply(crit=["tenant"]),
    "a claim of the server's own": _reply(claims={"client_id": "admin"}),
}


@pytest.fixture(scope="module")
def nonsense() -> Iterator[tuple[dict[str, Any], OAuthClient]]:
    """A server in the bridge's place that answers what the test puts in, and a client of the token service."""
    app, says = Flask("nonsense"), {"reply": Response(status=500)}

    @app.post("/v1/issuance/decisions")
    def answer() -> Any:
        return says["reply"]

    @app.post("/moved")
    def moved() -> Any:
        return _reply()

    with (
        serving(app) as url,
        contextlib.closing(BridgeClient(url, "token", timeout=1)) as bridge,
        serving(create_app(ISSUER, sample_store(), bridge)) as service,
        OAuthClient(service, "nightly-batch", "nightly-batch-secret") as client,
    ):
        yield says, client


@pytest.mark.parametrize("name", BAD)
def test_replies_that_do_not_fit(nonsense: tuple[dict[str, Any], OAuthClient], name: str) -> None:
    says, client = nonsense
    says["reply"] = BAD[name]
    unavailable(client.token("client_credentials", scope="accounts:read"))


def test_the_whole_reply_would_do(nonsense: tuple[dict[str, Any], OAuthClient]) -> None:
    says, client = nonsense
    says["reply"] = _reply()
    assert client.token("client_credentials", scope="accounts:read").status_code == 200


@pytest.mark.parametrize("status", [201, 204, 400, 401, 403, 500, 503])
def test_other_statuses(nonsense: tuple[dict[str, Any], OAuthClient], status: int) -> None:
    says, client = nonsense
    says["reply"] = (_reply(), status)
    unavailable(client.token("client_credentials", scope="accounts:read"))


def test_a_redirect_is_not_followed(nonsense: tuple[dict[str, Any], OAuthClient]) -> None:
    says, client = nonsense
    says["reply"] = redirect("/moved", 307)
    unavailable(client.token("client_credentials", scope="accounts:read"))


def test_a_denial_by_fault_is_told_as_a_fault(nonsense: tuple[dict[str, Any], OAuthClient]) -> None:
    says, client = nonsense
    fault = [{"code": "engine_unavailable"}]
    scopes = {"accounts:read": {"outcome": "deny", "findings": fault}}
    says["reply"] = _reply(outcome="deny", granted_scopes=[], findings=fault, scopes=scopes)
    unavailable(client.token("client_credentials", scope="accounts:read"))


def _sent(answers: list[Any], within_s: float = 10) -> list[dict[str, Any]]:
    """The reports that a bridge with these answers, one after the other, gets of one token, until there is no other."""
    app, got = Flask("bridge"), list[dict[str, Any]]()
    done = threading.Event()

    @app.post("/v1/issuance/issued")
    def answer() -> Any:
        got.append(request.get_json())
        if len(got) == len(answers):
            done.set()
        return answers[len(got) - 1]

    with serving(app) as url, contextlib.closing(BridgeClient(url, "token", timeout=1)) as bridge:
        bridge.report("d-1", "j-1", 7, ("a",), ("b",))
        assert done.wait(within_s)
    return got


REPORT = {"decision_id": "d-1", "jti": "j-1", "exp": 7, "scopes": ["a"], "audience": ["b"]}


@pytest.mark.parametrize("not_yet", [("down", 503), ("defect", 500), ("late", 408), ("{}", 200), ("busy", 429)])
def test_a_report_is_repeated_until_it_is_on_record(not_yet: Any) -> None:
    assert _sent([not_yet, not_yet, {"violations": []}]) == [REPORT] * 3


@pytest.mark.parametrize("status", [400, 403])
def test_a_report_that_is_refused_is_told_and_not_repeated(status: int, caplog: pytest.LogCaptureFixture) -> None:
    assert _sent([("no", status)]) == [REPORT]
    assert f"the report on decision d-1 is refused with {status}" in caplog.text


def test_what_a_token_breaks_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert _sent([{"violations": ["late", "more_scopes"]}]) == [REPORT]
    assert "the token for decision d-1 breaks it: late, more_scopes" in caplog.text


def test_what_cannot_be_reported_before_the_end_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with contextlib.closing(BridgeClient("http://127.0.0.1:1", "token")) as bridge:
        bridge.report("d-1", "j-1", 7, (), ())
    assert "the token for decision d-1 is not reported" in caplog.text
