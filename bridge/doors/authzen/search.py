"""The search door: `POST /access/v1/search/{subject,resource,action}` (Authorization API 1.0, section 8)."""

from typing import Any

from aiohttp import web

from bridge.config.authzen import AuthzenSection
from bridge.config.settings import Role
from bridge.doors._body import parse_object, read_body
from bridge.doors._callers import AuthenticatedCaller, Callers
from bridge.doors._middleware import REQUEST_ID_KEY
from bridge.doors._problem import authzen_error
from bridge.doors.authzen.candidates import candidates
from bridge.doors.authzen.door import NAME
from bridge.doors.authzen.pages import Cut, Pages
from bridge.doors.authzen.plan import ISSUANCE
from bridge.model.decision import Code
from bridge.model.search import Kind, Search, read_search
from bridge.pdp.gather import Call, encode
from bridge.pdp.search import NOT_ENUMERABLE, Searched, SearchRoad

PATHS: dict[Kind, str] = {
    "subject": "/access/v1/search/subject",
    "resource": "/access/v1/search/resource",
    "action": "/access/v1/search/action",
}
_ROLES: dict[Kind, tuple[Role, ...]] = {
    "subject": ("auditor",),
    "resource": ("token_service", "auditor"),
    "action": ("auditor",),
}
_STATUS = {Code.POLICY_ERROR.value: 500, NOT_ENUMERABLE: 501}
_NO_ENTRY = (Code.OVERLOADED, Code.EVIDENCE_UNAVAILABLE)
_PLAIN = "searches over plain scope tuples are not served: search with the resource.type audience"


class SearchDoor:
    """Bytes to searches, results to bytes. Nothing found is a 200; what could not be said is a 5xx, never `[]`."""

    def __init__(self, road: SearchRoad, callers: Callers, section: AuthzenSection, pages: Pages) -> None:
        self._road, self._callers, self._pages = road, callers, pages
        self._capabilities = section.capabilities
        self._plain = {(one.resource_type, one.action) for one in section.plain_scopes}

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(PATHS["subject"], self.subject),
            web.post(PATHS["resource"], self.resource),
            web.post(PATHS["action"], self.action),
        ]

    async def subject(self, request: web.Request) -> web.Response:
        """Who may do this to that?"""
        return await self._search(request, "subject")

    async def resource(self, request: web.Request) -> web.Response:
        """To what may this subject do this?"""
        return await self._search(request, "resource")

    async def action(self, request: web.Request) -> web.Response:
        """What may this subject do to that?"""
        return await self._search(request, "action")

    async def _search(self, request: web.Request, kind: Kind) -> web.Response:
        caller = self._callers.authenticate(request)
        caller.require(next((role for role in _ROLES[kind] if role in caller.roles), _ROLES[kind][0]), NAME)
        search = read_search(parse_object(await read_body(request, wrong_type=400)), kind)
        resource_type = search.tuple.resource["type"]
        if self._is_plain(search):
            return authzen_error(501, _PLAIN)
        call = Call(NAME, caller.name, caller.issuer, request.get(REQUEST_ID_KEY))
        trials = candidates(search, call, caller, self._capabilities) if resource_type == ISSUANCE else None
        cut = self._pages.cut(caller.name, search)
        searched = await self._road(call, search, cut, trials)
        if searched.code is not None:
            return _failed(searched)
        try:
            body = encode(self._reply(caller, search, cut, searched))
        except Exception:  # what was decided was not said: the log tells so
            self._road.unsaid(call, searched)
            raise
        return web.Response(body=body, content_type="application/json")

    def _is_plain(self, search: Search) -> bool:
        """Whether evaluations of what may be found would be answered as scopes, which no rule here knows."""
        resource_type, action = search.tuple.resource["type"], search.tuple.action.get("name")
        return any(resource_type == one and action in (None, name) for one, name in self._plain)

    def _reply(self, caller: AuthenticatedCaller, search: Search, cut: Cut, searched: Searched) -> dict[str, Any]:
        found, told = searched.found, searched.told
        more = cut.leaves(found)
        if search.page is None and not more:
            return {"results": list(told)}
        token = self._pages.token(caller.name, search, cut, told[-1]) if more else ""
        return {"page": {"next_token": token, "count": len(told), "total": len(found)}, "results": list(told)}


def _failed(searched: Searched) -> web.Response:
    status = _STATUS.get(searched.code or "", 503)
    headers = {"Retry-After": "1"} if status == 503 else None
    where = "" if searched.code in _NO_ENTRY else f"; the log tells more under {searched.id}"
    text = searched.text or f"{searched.code}{where}"
    return authzen_error(status, text, headers=headers)
