"""The road of every hook: an authorization server's own call before it mints a token, answered in its own words.

What one product sends and reads is in that product's file beside this one; a hook is that file and a line in the
registry. All that can go wrong here is told as that product takes a "no".
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from aiohttp import web

from bridge.doors._body import bound_list, checked, parse_object, read_body
from bridge.doors._callers import CallerRefused, Callers
from bridge.doors._middleware import REQUEST_ID_KEY
from bridge.errors import MalformedRequest
from bridge.model.decision import Code
from bridge.model.dialect import Dialect
from bridge.model.issuance import IssuanceRequest
from bridge.ops.metrics import Metrics
from bridge.pdp.decide import Answered, Decide
from bridge.pdp.gather import Asking, Call, Terms

MIN_PATIENCE_S = 0.02
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a product's hook is and can do, as data for the documentation.

    `dialect`: what its reply can say of any token. `grants`: for which grants it fires, by the names of `input`.
    `fails_open`: whether the product mints when no answer comes; `when_down`: what it does then, in words.
    """

    product: str
    dialect: Dialect
    grants: tuple[str, ...]
    fails_open: bool
    when_down: str
    authenticates_by: str


@dataclass(frozen=True, slots=True)
class Wish:
    """What a body asks for.

    `request`: the document as policies see it, less what the bridge adds. `dialect`: what a reply about this very token
    can say. `given`: what the reply needs of the body; never logged. `refused`: why nothing is granted whatever the
    policies say, as `not_shown` where what has to be known is neither shown nor configured.
    """

    request: Mapping[str, Any]
    dialect: Dialect
    given: Any = None
    refused: Code | None = None


class Hook(Protocol):
    """One product's words. `name`: as `doors` of a caller has it. `patience_s`: how long the product waits at most."""

    name: str
    paths: tuple[str, ...]
    abilities: Abilities
    patience_s: float | None

    async def read(self, body: dict[str, Any], path: str) -> Wish:
        """What it asks for. MalformedRequest when it is not this product's body."""

    def reply(self, wish: Wish, answered: Answered) -> web.Response:
        """The decision, whose dialect was the wish's."""

    def fault(self, status: int, text: str) -> web.Response | None:
        """How this product is told that nothing was decided, where the status alone might be taken for a yes.

        `status` and `text` (safe to send): 401 and 403 of a caller that may not ask, 4xx of a bad body, 500 of a defect
        of ours. None: the usual error with that status.
        """


class HookDoor:
    """Bytes to a product's wish, decision to that product's bytes."""

    def __init__(self, hook: Hook, decide: Decide, callers: Callers, metrics: Metrics, max_scopes: int) -> None:
        self._hook, self._decide, self._callers = hook, decide, callers
        self._metrics, self._max_scopes = metrics, max_scopes

    def routes(self) -> list[web.RouteDef]:
        return [web.post(path, self.post) for path in self._hook.paths]

    async def post(self, request: web.Request) -> web.Response:
        """Answers one call. What the hook has no words for is for the server's error table."""
        hook = self._hook
        try:
            return await self._answer(request)
        except CallerRefused as refused:
            told = hook.fault(refused.status, "not allowed")
            if told is None:
                raise
            self._metrics.refused(refused.reason, refused.caller)
            log.warning("call_refused", reason=refused.reason, path=request.path[:128])
        except MalformedRequest as malformed:
            told = hook.fault(
                malformed.status, "; ".join(f"{where or '/'}: {text}" for where, text in malformed.problems)
            )
            if told is None:
                raise
            self._metrics.refused("malformed")
            if malformed.status in (408, 413):
                told.force_close()
        except Exception:  # a product that fails open must hear its own no
            told = hook.fault(500, "the bridge has a defect; its log says more")
            if told is None:
                raise
            log.exception("door_defect", path=request.path[:128])
        return told

    async def _answer(self, request: web.Request) -> web.Response:
        hook, started = self._hook, time.monotonic()
        caller = self._callers.authenticate(request)
        caller.require("token_service", hook.name)
        body = await read_body(request, wrong_type=400, within_s=hook.patience_s)
        wish = await hook.read(parse_object(body), request.path)
        bound_list(dict(wish.request), "scopes", "scopes", self._max_scopes, "server.max_scopes")
        document = checked(dict(wish.request), IssuanceRequest).document()
        caller.require_grant_type(document["grant_type"])
        patience_s = None
        if hook.patience_s is not None:
            # What the body and the hook's own questions took is gone.
            patience_s = max(hook.patience_s - (time.monotonic() - started), MIN_PATIENCE_S)
        call = Call(hook.name, caller.name, caller.issuer, request.get(REQUEST_ID_KEY), patience_s)
        terms = Terms(dialect=wish.dialect, refused=wish.refused)
        answered = await self._decide([Asking(document, call, terms)])
        try:
            return hook.reply(wish, answered[0])
        except Exception:  # what was decided was not said: the log tells so
            self._decide.unsaid(call, answered)
            raise
