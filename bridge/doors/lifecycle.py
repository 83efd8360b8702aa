"""The lifecycle: an operator ends a client, a subject, a session, a delegation or a grant, or lets one begin anew."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field, StringConstraints, field_validator, model_validator

from bridge.config.section import Label
from bridge.doors._body import checked, parse_object, read_body
from bridge.doors._callers import AuthenticatedCaller, Callers
from bridge.doors._middleware import REQUEST_ID_KEY
from bridge.doors._problem import problem
from bridge.doors.native import evidence_json
from bridge.errors import EvidenceUnavailable, MalformedRequest, NotEnded
from bridge.model.ended import MEMBERS, Effect, Name, What, meant
from bridge.model.issuance import Identifier, Strict
from bridge.model.step import Token
from bridge.pdp.gather import encode
from bridge.pdp.lifecycle import MAX_REASON, Done, Lifecycle, Order
from bridge.pdp.tokens import MAX_TOKEN, MOST, Tokens
from bridge.ports import Receipt

NAME = "lifecycle"
CLIENT = "/v1/clients/{issuer}/{id}"
END, REINSTATE, STATUS = "/v1/lifecycle/end", "/v1/lifecycle/reinstate", "/v1/lifecycle/status"
Reason = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_REASON, pattern=r"^[^\x00-\x1f\x7f]+$"),
    Field(description="Why; it stands in the log for ever."),
]


class TokenGiven(Strict):
    """A token to be taken back (RFC 7009, section 2.1). It is sent to its server, and kept nowhere."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=MAX_TOKEN, pattern=r"^[\x20-\x7e]+$")] = Field(
        repr=False
    )
    token_type_hint: Label | None = None


class LifecycleOrder(Strict):
    """What is meant, with the ids that name it at its issuer: of a delegation those of client and subject."""

    what: What
    issuer: Identifier
    client: Identifier | None = None
    subject: Identifier | None = None
    session: Identifier | None = None
    grant: Identifier | None = None
    reason: Reason | None = Field(default=None, description="Needed, except for a dry run.")
    dry_run: bool = Field(default=False, description="Only tell what hangs on it, and would fall with it.")
    tokens: list[TokenGiven] | None = Field(
        default=None,
        min_length=1,
        max_length=MOST,
        repr=False,
        description="Tokens to be taken back at their server (RFC 7009), once the ending is in the log.",
    )

    @field_validator("what", mode="before")
    @classmethod
    def _by_its_name(cls, value: Any) -> Any:
        if not isinstance(value, str) or value not in list(What):
            raise ValueError(f"must be one of {', '.join(What)}")
        return What(value)  # JSON has no enumerations

    @model_validator(mode="after")
    def _named(self) -> "LifecycleOrder":
        given = {member for member in ("client", "subject", "session", "grant") if getattr(self, member) is not None}
        if given != set(MEMBERS[self.what]):
            raise ValueError(f"a {self.what.value} is named by {' and '.join(MEMBERS[self.what])}, and nothing else")
        if self.reason is None and not self.dry_run:
            raise ValueError("reason is needed: it stands in the log for ever")
        if self.tokens and self.dry_run:
            raise ValueError("tokens: a dry run takes none back")
        return self

    @property
    def name(self) -> Name:
        return Name(self.what, self.issuer, tuple(getattr(self, member) for member in MEMBERS[self.what]))


PageOf = Callable[[Name, Receipt], str | None]
"""The front-channel page for what ended, if there is one."""
AskTree = Callable[[Name], Awaitable[dict[str, Any]]]
"""What hangs on a name. EvidenceUnavailable when the log cannot be read."""
AskUnconfirmed = Callable[[], Awaitable[list[dict[str, Any]]]]
"""The endings that are not settled, as StatusReply has them. EvidenceUnavailable as above."""


_NOWHERE = "no [[servers]] of kind rfc7009 is configured for this issuer"


class LifecycleDoor:
    """Bytes to order, receipt to bytes. For operators."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        tokens: Tokens,
        callers: Callers,
        origin: str,
        tree: AskTree,
        unconfirmed: AskUnconfirmed,
        note: Callable[[str, str, str], None],
        page: PageOf,
    ) -> None:
        self._lifecycle, self._tokens, self._callers, self._origin = lifecycle, tokens, callers, origin
        self._tree, self._unconfirmed, self._note, self._page = tree, unconfirmed, note, page

    def routes(self) -> list[web.RouteDef]:
        posts = [web.post(END, self.end), web.post(REINSTATE, self.reinstate)]
        gets = [web.get(CLIENT, self.get, allow_head=False), web.get(STATUS, self.status, allow_head=False)]
        return [*posts, *gets, web.delete(CLIENT, self.delete)]

    async def get(self, request: web.Request) -> web.Response:
        """What hangs on a client. 404: the log knows nothing of it."""
        caller = self._operator(request)
        told = await self._told(caller, self._meant(self._of_path(request, {"dry_run": True})))
        known = told is None or told["delegations"] or told["exchanged"] or told.keys() & {"ended", "registered"}
        if not known:
            raise web.HTTPNotFound
        return _answer(told)

    async def status(self, request: web.Request) -> web.Response:
        """The endings about which not all is done yet."""
        caller = self._operator(request)
        self._note(caller.name, NAME, "status")
        with suppress(EvidenceUnavailable):
            return _answer({"unconfirmed": await self._unconfirmed()})
        return _answer(None)

    async def end(self, request: web.Request) -> web.Response:
        """Answers once the ending is durable. 503: repeat it."""
        return await self._ordered(request, Effect.ENDED)

    async def reinstate(self, request: web.Request) -> web.Response:
        """The same of a new beginning. 409: it has not ended, or never begins anew."""
        return await self._ordered(request, Effect.REINSTATED)

    async def delete(self, request: web.Request) -> web.Response:
        """Ends a client. 503: repeat it."""
        caller = self._operator(request)
        if unknown := sorted(request.query.keys() - {"reason", "dry_run"}):
            raise MalformedRequest([(f"/{unknown[0][:64]}", "unknown parameter; there are reason and dry_run")])
        if twice := sorted(name for name in request.query if len(request.query.getall(name)) > 1):
            raise MalformedRequest([(f"/{twice[0]}", "stands there more than once")])
        query: dict[str, Any] = dict(request.query)
        if "dry_run" in query:
            query["dry_run"] = {"true": True, "false": False}.get(query["dry_run"])
        return await self._do(request, caller, self._of_path(request, query), Effect.ENDED)

    def _of_path(self, request: web.Request, more: dict[str, Any]) -> LifecycleOrder:
        path = {"issuer": request.match_info["issuer"], "client": request.match_info["id"]}
        return checked({"what": "client", **path, **more}, LifecycleOrder)

    async def _ordered(self, request: web.Request, effect: Effect) -> web.Response:
        caller = self._operator(request)
        return await self._do(request, caller, checked(parse_object(await read_body(request)), LifecycleOrder), effect)

    def _meant(self, asked: LifecycleOrder) -> LifecycleOrder:
        """`asked`; MalformedRequest: its issuer is a configured one, but not as requests will have it."""
        if (issuer := meant(asked.issuer, self._callers.issuers)) is not None:
            raise MalformedRequest([("/issuer", f"the callers' configuration has {issuer}: name it like that")])
        return asked

    def _operator(self, request: web.Request) -> AuthenticatedCaller:
        caller = self._callers.authenticate(request)
        caller.require("operator", NAME)
        return caller

    async def _do(
        self, request: web.Request, caller: AuthenticatedCaller, asked: LifecycleOrder, effect: Effect
    ) -> web.Response:
        self._meant(asked)
        if asked.dry_run:
            return _answer(await self._told(caller, asked))
        order = Order(asked.name, effect, asked.reason or "", caller.name, request_id=request.get(REQUEST_ID_KEY))
        if self._lifecycle.hides(order):
            raise MalformedRequest([("/reason", "it stands in the log for ever, and must not hold the id")])
        tokens = [Token(one.token, one.token_type_hint) for one in asked.tokens or ()]
        if tokens and (effect is Effect.REINSTATED or not self._tokens.known(asked.issuer)):
            where = "only an ending takes tokens back" if effect is Effect.REINSTATED else _NOWHERE
            raise MalformedRequest([("/tokens", where)])
        try:
            done = await self._lifecycle(order)
            came = await self._tokens(order.name, done.receipt, tokens) if tokens else []
        except NotEnded as error:
            return problem(409, str(error))
        except EvidenceUnavailable:
            return problem(503, "it is not known to be in the log: repeat it", headers={"Retry-After": "1"})
        told = [{"standing": one.standing.value, "observed": dict(one.seen)} for one in came]
        foreign = {} if asked.issuer in self._callers.issuers else {"foreign": True}
        return _answer({**self._reply(done, asked.name), **foreign, **({"tokens": told} if told else {})})

    async def _told(self, caller: AuthenticatedCaller, asked: LifecycleOrder) -> dict[str, Any] | None:
        """The tree; None: the log cannot be read now. Who looks is on record: it names people."""
        self._note(caller.name, NAME, asked.what.value)
        with suppress(EvidenceUnavailable):
            return await self._tree(asked.name)
        return None

    def _reply(self, done: Done, name: Name) -> dict[str, Any]:
        entry = done.receipt.entry
        told = {"id": entry["id"], "what": entry["what"], "effect": entry["effect"]}
        repeated = {"repeated": True} if done.repeated else {}
        page = self._page(name, done.receipt)
        shown = {} if page is None else {"frontchannel_logout": page}
        return {**told, "evidence": evidence_json(done.receipt, self._origin), **repeated, **shown}


def _answer(told: dict[str, Any] | None) -> web.Response:
    if told is None:
        return problem(503, "the log cannot be read now", headers={"Retry-After": "1"})
    return web.Response(body=encode(told), content_type="application/json")
