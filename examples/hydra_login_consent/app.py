"""The login and consent pages that Hydra sends browsers to. Read `consented` first: there the scopes are narrowed.

Hydra's token hook can say yes, no, and claims. All the rest of a decision is carried out here, before there is a code:
scopes and audience are narrowed, consent is asked for, and a stronger sign-in.
"""

import logging
import time
from collections.abc import Sequence
from typing import Any

import httpx
from flask import Flask, Response, redirect, request

from examples.hydra_login_consent import pages
from examples.hydra_login_consent.bridge import Answer, BridgeClient, BridgeFailure
from examples.hydra_login_consent.hydra import Hydra
from examples.hydra_login_consent.users import BY_CODE, SignIn, sign_in

log = logging.getLogger("hydra_login_consent")
NOTE = "issuance_bridge"
"""The member of the access token's session by which the bridge's hook knows what was granted, and to what consented."""
LATER = ("temporarily_unavailable", "It cannot be decided now.")
NO = ("access_denied", "The request is not allowed.")
USERS_NO = ("access_denied", "The user said no.")


def create_app(hydra: Hydra, bridge: BridgeClient) -> Flask:
    """`urls.login` of Hydra is its `/login`, `urls.consent` its `/consent`."""
    app = Flask("hydra_login_consent")
    app.config["MAX_CONTENT_LENGTH"] = 64 * 1024
    application = Application(hydra, bridge)
    app.get("/login")(application.show_login)
    app.post("/login")(application.login)
    app.get("/consent")(application.show_consent)
    app.post("/consent")(application.consent)

    @app.after_request
    def private(response: Response) -> Response:
        policy = "default-src 'none'; frame-ancestors 'none'"
        response.headers.update({"Cache-Control": "no-store", "Content-Security-Policy": policy})
        return response

    @app.errorhandler(httpx.HTTPStatusError)
    def unknown(error: httpx.HTTPStatusError) -> tuple[str, int]:
        log.warning("hydra answers %s", error.response.status_code)
        return "This sign-in is not known here, or over. Begin again.", 400

    return app


class Application:
    """Each answer of a user becomes one answer to Hydra, which sends the browser on."""

    def __init__(self, hydra: Hydra, bridge: BridgeClient) -> None:
        self._hydra, self._bridge = hydra, bridge

    def show_login(self) -> str:
        challenge = request.args["login_challenge"]
        asked = self._hydra.asked("login", challenge)
        return pages.login(challenge, _name(asked), code=BY_CODE in _acr_values(asked))

    def login(self) -> Any:
        challenge, form = request.form["login_challenge"], request.form
        if form.get("do") != "accept":
            return redirect(self._hydra.reject("login", challenge, *USERS_NO))
        asked = self._hydra.asked("login", challenge)
        signed_in = sign_in(form.get("user", ""), form.get("password", ""), form.get("code", ""))
        if signed_in is None or (asked["skip"] and signed_in.user != asked["subject"]):
            return pages.login(challenge, _name(asked), "That was not right.", code="code" in form)
        try:
            stronger = BY_CODE in _acr_values(asked) or self._needs_a_code(asked, signed_in)
        except BridgeFailure as failure:
            log.error("%s", failure)
            return redirect(self._hydra.reject("login", challenge, *LATER))
        if stronger and signed_in.acr != BY_CODE:
            return pages.login(challenge, _name(asked), "This needs your code, too.", code=True)
        # Not remembered: a session of Hydra's own would not tell how strongly its user had signed in.
        to = self._hydra.accept(
            "login",
            challenge,
            subject=signed_in.user,
            acr=signed_in.acr,
            amr=list(signed_in.amr),
            context={"auth_time": int(time.time())},
            remember=False,
        )
        return redirect(to)

    def show_consent(self) -> Any:
        challenge = request.args["consent_challenge"]
        asked = self._hydra.asked("consent", challenge)
        before = self._agreed_before(asked) if asked["skip"] else []
        try:
            answer = self._bridge.ask(_question(asked, before))
        except BridgeFailure as failure:
            log.error("%s", failure)
            return redirect(self._hydra.reject("consent", challenge, *LATER))
        if waiting := answer.waiting_for_consent():
            return pages.consent(challenge, _name(asked), waiting, answer.granted_scopes)
        return self._granted(challenge, asked, answer, before, remember=False)

    def consent(self) -> Any:
        challenge, form = request.form["consent_challenge"], request.form
        if form.get("do") != "accept":
            return redirect(self._hydra.reject("consent", challenge, *USERS_NO))
        asked = self._hydra.asked("consent", challenge)
        chosen = [scope for scope in asked["requested_scope"] if scope in form.getlist("scope")]
        try:
            answer = self._bridge.ask(_question(asked, chosen))
        except BridgeFailure as failure:
            log.error("%s", failure)
            return redirect(self._hydra.reject("consent", challenge, *LATER))
        return self._granted(challenge, asked, answer, chosen, remember="remember" in form)

    def _granted(
        self, challenge: str, asked: dict[str, Any], answer: Answer, consented: Sequence[str], *, remember: bool
    ) -> Any:
        """Exactly what the bridge grants, and a note of it for the token hook, which is not shown that otherwise."""
        if answer.outcome == "deny" or (asked["requested_scope"] and not answer.granted_scopes):
            return redirect(self._hydra.reject("consent", challenge, *NO))
        scopes = [scope for scope in asked["requested_scope"] if scope in answer.granted_scopes]
        audience = list(asked["requested_access_token_audience"] or answer.limit.audience or ())
        if answer.limit.audience is not None:
            audience = [one for one in audience if one in answer.limit.audience]
        note = {"scopes": scopes, "audience": audience, "consented_scopes": [s for s in scopes if s in consented]}
        to = self._hydra.accept(
            "consent",
            challenge,
            grant_scope=scopes,
            grant_access_token_audience=audience,
            session={"access_token": {NOTE: {"consent": note}}, "id_token": {}},
            remember=remember,
            remember_for=0,
        )
        return redirect(to)

    def _agreed_before(self, asked: dict[str, Any]) -> list[str]:
        """What the user was asked for and agreed to; what Hydra remembers as granted may have needed no consent."""
        accepted = self._hydra.accepted(asked["subject"], asked["client"]["client_id"])
        notes = [((one["session"] or {}).get("access_token") or {}).get(NOTE) or {} for one in accepted]
        return sorted({scope for note in notes for scope in note.get("consent", {}).get("consented_scopes", ())})

    def _needs_a_code(self, asked: dict[str, Any], signed_in: SignIn) -> bool:
        """Whether something that is asked for wants a stronger sign-in than this one."""
        login = {"subject": signed_in.user, "acr": signed_in.acr, "amr": list(signed_in.amr)}
        answer = self._bridge.ask(_question({**asked, **login, "context": {"auth_time": int(time.time())}}, []))
        return answer.lacks(BY_CODE, ["otp"])


def _question(asked: dict[str, Any], consented: Sequence[str]) -> dict[str, Any]:
    """The issuance request, from what Hydra says of a login or a consent."""
    question: dict[str, Any] = {
        "client": {"id": asked["client"]["client_id"]},
        "subject": {"type": "user", "id": asked["subject"]},
        "scopes": asked["requested_scope"] or [],
        "consented_scopes": list(consented),
        "authentication": {
            "acr": asked["acr"],
            "amr": asked["amr"],
            "auth_time": (asked.get("context") or {}).get("auth_time"),
        },
    }
    if asked["requested_access_token_audience"]:
        question["audience"] = asked["requested_access_token_audience"]
    return question


def _name(asked: dict[str, Any]) -> str:
    client = asked["client"]
    return str(client.get("client_name") or client["client_id"])


def _acr_values(asked: dict[str, Any]) -> list[str]:
    """What the client asks for itself (OpenID Connect Core 1.0, section 3.1.2.1)."""
    return (asked.get("oidc_context") or {}).get("acr_values") or []
