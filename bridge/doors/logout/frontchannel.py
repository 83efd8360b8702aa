"""`GET /v1/logout/frontchannel/{ticket}`: the page that tells applications of a logout in the user's own browser."""

from collections.abc import Sequence

from aiohttp import web

from bridge.config.logout import RelyingPartySection
from bridge.doors.lifecycle import AskTree
from bridge.doors.logout.page import Frame, frame_of, html, policy, sorry
from bridge.doors.logout.ticket import PATH, Tickets
from bridge.errors import EvidenceUnavailable
from bridge.model.ended import Name, What
from bridge.pdp.logout import Pages


class FrontchannelDoor:
    """For whoever has a ticket, without other credentials: it is a browser that asks."""

    def __init__(
        self, tickets: Tickets, parties: Sequence[RelyingPartySection], tree: AskTree, pages: Pages, onward: str
    ) -> None:
        self._tickets, self._tree, self._pages, self._onward = tickets, tree, pages, onward
        self._parties = [party for party in parties if party.frontchannel_logout_uri]

    def routes(self) -> list[web.RouteDef]:
        return [web.get(PATH, self.get, allow_head=False)]

    async def get(self, request: web.Request) -> web.Response:
        """404: no ticket of ours, or one that has run out. 503: the log cannot be read now."""
        ticket = self._tickets.read(request.match_info["ticket"])
        if ticket is None:
            return _answer(404, sorry("This address has run out. To be sure to be signed out, close the browser."))
        try:
            name = Name(What.SESSION, ticket.issuer, (ticket.session,))
            frames = await self._frames(name)
        except EvidenceUnavailable:
            return _answer(503, sorry("Your applications cannot be told now. Load this page again."))
        await self._pages.served(name, ticket.ending_id, ticket.ending, len(frames))
        return _answer(200, html(frames, self._onward), frames)

    async def _frames(self, name: Name) -> list[Frame]:
        """Of the applications in which something was granted in this session."""
        tree = await self._tree(name)
        clients = {(one["issuer"], one["client"]) for one in tree["delegations"]}
        return [
            frame_of(
                party.client_id,
                party.frontchannel_logout_uri,
                party.issuer,
                name.ids[0] if party.session_required else None,
            )
            for party in self._parties
            if (party.issuer, party.client_id) in clients
        ]


def _answer(status: int, text: str, frames: Sequence[Frame] = ()) -> web.Response:
    headers = {"Content-Security-Policy": policy(frames), "Referrer-Policy": "no-referrer"}
    return web.Response(text=text, status=status, content_type="text/html", headers=headers)
