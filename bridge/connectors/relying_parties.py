"""Back-channel logout: the relying parties are told that sessions have ended (OpenID Connect Back-Channel Logout 1.0).

One step for each relying party and subject, named as the delegation is, so that the log says who was told; its sessions
go with it, a token each. Every attempt is a token with an id of its own: who remembers ids would answer the same one
with a refusal, though the first may have got lost; and signing out twice does no harm.
"""

import asyncio
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from bridge.config.logout import RelyingPartySection
from bridge.config.logout_key import LogoutKey
from bridge.connectors.session_check import HEADERS, State, ask, fault_of, outgoing
from bridge.model.ended import HIDDEN, Name, What
from bridge.model.logout import claims_of
from bridge.model.step import Observed, Standing, Step
from bridge.model.times import now_ms, uuid7

ASKED = "POST backchannel_logout_uri"
AT_A_TIME = 8
"""Notices to one relying party."""
GOOD = (200, 204)
SILENT, QUIET_S, NEVER = 3, 10.0, (0, 0.0)
"""Notices in a row without an answer; for so long it is not asked then: attempts of all sagas share few turns, and
those to one that hangs would hold up what the others must be told."""
MOST_KEPT = 1000
"""Steps of which it is remembered, between attempts, who was told: the longest known is forgotten first."""
_SESSIONS = "sessions"
_ENDS = frozenset([What.SESSION, What.SUBJECT, What.CLIENT, What.DELEGATION])


@dataclass(frozen=True, slots=True)
class _Told:
    """The status of an answer to a notice, or a word for what went wrong; what was seen of the session afterwards."""

    answer: int | str
    state: State | None = None

    @property
    def good(self) -> bool:
        return self.answer in GOOD and self.state in (None, State.ENDED)


class RelyingParties:
    """ports.Connector. `key`: what signs; without it nobody can be told."""

    kind = "logout"
    issuer: str | None = None

    def __init__(self, parties: Sequence[RelyingPartySection], key: LogoutKey | None) -> None:
        told = [party for party in parties if party.backchannel_logout_uri] if key is not None else []
        self._parties = {(party.issuer, party.client_id): party for party in told}
        self._key = key
        self._client: aiohttp.ClientSession | None = None
        self._silent: dict[tuple[str, str], tuple[int, float]] = {}
        """Of each: how many notices in a row had no answer, and until when it is left alone (time.monotonic)."""
        self._done: dict[tuple[Name, str], dict[str | None, _Told]] = {}
        """Of steps that are not done: the sessions that are. One attempt may be too short for all of them."""

    def steps(self, name: Name, tree: Mapping[str, Any]) -> list[Step]:
        """A notice for each relying party among the clients of the tree, and for each user there."""
        if name.what not in _ENDS:
            return []
        return [step for one in tree["delegations"] for step in self._of(one)]

    async def do(self, step: Step) -> Observed:
        """Confirmed: each notice was answered with 200 or 204, and the application says of each session that it ended.

        Accepted: it does not tell. A 400 is no end: a clock or a key that is not yet known there may be behind it, and
        somebody must look. What was taken in one attempt is not told again in the next.
        """
        issuer, (client_id, subject) = step.name.issuer, step.name.ids
        party, key = self._parties.get((issuer, client_id)), self._key
        if party is None or key is None:
            return Observed(Standing.FAILED, ASKED, {"fault": "not_configured"})
        sub = {"sub": subject} if _is_known(subject, party) else {}
        sessions: list[str | None] = json.loads(step.more[_SESSIONS]) or [None]
        kept = step.name, step.more[_SESSIONS]
        done, places = self._of_step(kept), asyncio.Semaphore(AT_A_TIME)

        async def tell(session: str | None) -> _Told:
            async with places:  # signing, too: thousands of signatures in a row would hold up everybody
                told = await self._told(party, key, sub, session)
            if told.good:
                done[session] = told
            return told

        left = [one for one in sessions if one not in done]
        told = [*done.values(), *await asyncio.gather(*map(tell, left))]
        if all(one.good for one in told):
            self._done.pop(kept, None)
        return _observed(told)

    async def clients(self) -> list[str] | None:
        return None

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    def _of(self, delegation: Mapping[str, Any]) -> Iterator[Step]:
        client, subject = delegation["client"], delegation["subject"]
        party = self._parties.get((delegation["issuer"], client))
        sessions = [one for one in delegation.get("sessions", ()) if one != HIDDEN]
        if party is None or not subject["id"]:
            return
        # Without a session, only a user can be meant, and only one that the other side knows by name.
        by_name = "user" in subject["type"].split("/") and _is_known(subject["id"], party)
        if not sessions and (not by_name or party.session_required):
            return
        name = Name(What.DELEGATION, party.issuer, (client, subject["id"]))
        yield Step("notice", name, {_SESSIONS: json.dumps(sessions)})

    def _of_step(self, kept: tuple[Name, str]) -> "dict[str | None, _Told]":
        if kept not in self._done and len(self._done) >= MOST_KEPT:
            self._done.pop(next(iter(self._done)))
        return self._done.setdefault(kept, {})

    async def _told(
        self, party: RelyingPartySection, key: LogoutKey, sub: Mapping[str, str], session: str | None
    ) -> "_Told":
        """One notice, and what the relying party says of the session afterwards, where it can be asked."""
        sid = {} if session is None else {"sid": session}
        answer = await self._notice(party, key, {**sub, **sid})
        if answer not in GOOD or session is None or not party.session_check_url:
            return _Told(answer)
        return _Told(answer, (await ask(self._open(), party, session)).state)

    async def _notice(self, party: RelyingPartySection, key: LogoutKey, whose: Mapping[str, str]) -> int | str:
        """The status of the answer, or a word for what went wrong."""
        at = party.issuer, party.client_id
        if time.monotonic() < self._silent.get(at, NEVER)[1]:
            return "silent"
        jti, now_s = uuid7(now_ms()), int(time.time())
        claims = claims_of(party.issuer, party.client_id, jti, now_s, key.lifetime_s, **whose)
        form = {"logout_token": key.sign(claims)}
        try:
            async with asyncio.timeout(party.timeout_ms / 1000):
                posting = self._open().post(
                    party.backchannel_logout_uri, data=form, headers=HEADERS, allow_redirects=False
                )
                async with posting as response:
                    answer: int | str = response.status
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            answer = fault_of(error)
        missed = self._silent.get(at, NEVER)[0] + 1 if answer == "timeout" else 0
        self._silent[at] = missed, time.monotonic() + QUIET_S if missed >= SILENT else 0.0
        return answer

    def _open(self) -> aiohttp.ClientSession:
        if self._client is None:
            self._client = outgoing()
        return self._client


def _is_known(subject: str, party: RelyingPartySection) -> bool:
    """Whether the relying party knows the subject by the id that the log has of it."""
    return subject != HIDDEN and party.subject_type == "public"


def _observed(told: Sequence[_Told]) -> Observed:
    """Of all notices of a step."""
    taken = sum(one.answer in GOOD for one in told)
    seen: dict[str, Any] = {"notices": len(told), "taken": taken}
    answer = next((one.answer for one in told if one.answer not in GOOD), told[0].answer)
    seen["status" if isinstance(answer, int) else "fault"] = answer
    states = [one.state for one in told if one.state is not None]
    seen |= {one.value: states.count(one) for one in State if one in states}
    if not all(one.good for one in told):
        return Observed(Standing.FAILED, ASKED, seen)
    looked = len(states) == len(told)
    return Observed(Standing.CONFIRMED if looked else Standing.ACCEPTED, ASKED, seen)
