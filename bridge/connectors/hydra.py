"""Ory Hydra as a ports.Connector: by its admin API, as 2.3.0 has it.

There, ending a session ends no token, and ending access tokens ends no refresh token; deleting a consent ends both,
and needs the subject. Consents can be deleted for a subject and a client together, not one by one: where a session or
a grant ends, and the two have others, those are left alone, and so are its own. Relying parties are told of the end of
a session that was remembered, and of nothing else, as long as its consents are there: so sessions end first.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from bridge.config.servers import AuthorizationServerSection
from bridge.hydra.admin import CLIENTS, CONSENTS, LOGINS, HydraAdmin, NoAnswer
from bridge.model.ended import HIDDEN, Name, What
from bridge.model.step import Observed, Standing, Step

KIND = "hydra"
CONSENT, SESSIONS, CLIENT = "consent", "sessions", "client"
MAX_SESSIONS = 1000
_BETWEEN = "\n"
"""Between the ids of grants; no id holds it."""
_CLIENT_PATH = f"{CLIENTS}/{{id}}"
_NOT_THERE = "Unable to locate the resource"
"""The `error` of a 404 that is Hydra's own. Gateways and other servers say 404 in JSON, too, of what they never had."""


class _Consent(NamedTuple):
    challenge: str
    client: str
    session: str


class HydraConnector:
    """One Hydra. ConfigFault when its token cannot be read."""

    kind = KIND

    def __init__(self, section: AuthorizationServerSection) -> None:
        self.issuer: str | None = section.issuer
        self._admin = HydraAdmin(
            section.admin_url, section.admin_token_file, section.admin_header, section.timeout_ms / 1000, "servers"
        )

    def steps(self, name: Name, tree: Mapping[str, Any]) -> list[Step]:
        if name.issuer != self.issuer:
            return []
        ours = [one for one in tree["delegations"] if one["issuer"] == name.issuer]
        match name.what:
            case What.CLIENT:
                return [*(Step(CONSENT, _pair(one)) for one in ours if _is_of_user(one)), Step(CLIENT, name)]
            case What.SUBJECT:
                return [Step(SESSIONS, name), Step(CONSENT, name)]
            case What.DELEGATION:
                return [Step(CONSENT, name)]
            case What.SESSION:
                session, subjects = name.ids[0], {one["subject"]["id"] for one in ours}
                more = {"subject": subjects.pop()} if len(subjects) == 1 else {}
                return [Step(SESSIONS, name, more), *(_part(one, one.get("grants", ()), session) for one in ours)]
            case What.GRANT:
                return [_part(one, name.ids) for one in ours]

    async def do(self, step: Step) -> Observed:
        asked = _asked(step)
        if HIDDEN in step.name.ids:
            return Observed(Standing.ACCEPTED, "nothing", {"hidden": True})
        try:
            match step.kind, step.name.what:
                case "client", _:
                    standing, seen = await self._delete(step.name.ids[0])
                case "sessions", What.SUBJECT:
                    standing, seen = await self._end_sessions(step.name.ids[0])
                case "sessions", _:
                    standing, seen = await self._end_session(step.name.ids[0], step.more.get("subject"))
                case "consent", What.SUBJECT:
                    standing, seen = await self._revoke(step.name.ids[0], None)
                case _:
                    standing, seen = await self._revoke_pair(step)
        except NoAnswer as error:
            return Observed(Standing.FAILED, asked, {"fault": error.fault})
        return Observed(standing, asked, seen)

    async def clients(self) -> list[str] | None:
        try:
            listed = await self._clients()
        except NoAnswer:
            return None
        found = [one.get("client_id") if isinstance(one, dict) else None for one in listed]
        ids = [one for one in found if isinstance(one, str) and one]
        return ids if len(ids) == len(listed) == len(set(ids)) else None

    async def has_client(self, client: str) -> bool | None:
        """Whether it is there, asked for by itself; None: not known now."""
        try:
            return await self._there(client)
        except NoAnswer:
            return None

    async def close(self) -> None:
        """No connection outlives a request."""

    async def _delete(self, client: str) -> tuple[Standing, dict[str, Any]]:
        # Looked at first: over a database that passes over case Hydra would delete `app` for `App`.
        seen: dict[str, Any] = {"there": await self._there(client)}
        if _fits_a_path(client):
            seen["status"] = await self._deleted(CLIENTS + "/" + quote(client, safe=""))
            seen["there"] = await self._there(client)
        return (Standing.FAILED if seen["there"] else Standing.CONFIRMED), seen

    async def _there(self, client: str) -> bool:
        if not _fits_a_path(client):  # Hydra takes such ids, and finds no route for them
            return any(isinstance(one, dict) and one.get("client_id") == client for one in await self._clients())
        answer = await self._admin.ask("GET", CLIENTS + "/" + quote(client, safe=""))
        if answer.status == 200 and isinstance(answer.value, dict) and answer.value.get("client_id") == client:
            return True
        if answer.status == 404 and _says_why(answer.value):
            return False
        raise NoAnswer(f"it answers with status {answer.status}", f"status {answer.status}")

    async def _clients(self) -> list[Any]:
        return await self._admin.whole(CLIENTS, {}, counted=True)

    async def _end_session(self, session: str, subject: str | None) -> tuple[Standing, dict[str, Any]]:
        """Hydra does nothing about a session that was not remembered, and then shows it with its consents still."""
        seen: dict[str, Any] = {"status": await self._deleted(LOGINS, {"sid": session})}
        if subject in (None, HIDDEN):
            return Standing.ACCEPTED, seen
        seen["left"] = sum(one.session == session for one in await self._consents(subject or ""))
        return (Standing.ACCEPTED if seen["left"] else Standing.CONFIRMED), seen

    async def _end_sessions(self, subject: str) -> tuple[Standing, dict[str, Any]]:
        """One by one where they are shown, for then relying parties are told; after that all of them."""
        shown = sorted({one.session for one in await self._consents(subject)} - {""})
        for session in shown[:MAX_SESSIONS]:
            await self._deleted(LOGINS, {"sid": session})
        seen: dict[str, Any] = {"sessions": len(shown), "status": await self._deleted(LOGINS, {"subject": subject})}
        seen["left"] = sum(one.session != "" for one in await self._consents(subject))
        return (Standing.FAILED if seen["left"] else Standing.CONFIRMED), seen

    async def _revoke(self, subject: str, client: str | None) -> tuple[Standing, dict[str, Any]]:
        await self._is_meant(subject)
        whose = {"all": "true"} if client is None else {"client": client}
        seen: dict[str, Any] = {"status": await self._deleted(CONSENTS, {"subject": subject, **whose})}
        seen["left"] = sum(client in (None, one.client) for one in await self._consents(subject))
        return (Standing.FAILED if seen["left"] else Standing.CONFIRMED), seen

    async def _revoke_pair(self, step: Step) -> tuple[Standing, dict[str, Any]]:
        client, subject = step.name.ids
        if step.more:
            grants, session = step.more["grants"].split(_BETWEEN), step.more.get("session")
            listed = [one for one in await self._consents(subject) if one.client == client]
            meant = [one for one in listed if one.challenge in grants or (session and one.session == session)]
            if others := len(listed) - len(meant):
                return Standing.ACCEPTED, {"left": len(meant), "others": others}
        return await self._revoke(subject, client)

    async def _is_meant(self, subject: str) -> None:
        """As for clients: NoAnswer where the first consent that is shown for this subject is another's."""
        for one in (await self._admin.page(CONSENTS, {"subject": subject}, 1)).value:
            _consent(one, subject)

    async def _consents(self, subject: str) -> list[_Consent]:
        return [_consent(one, subject) for one in await self._admin.whole(CONSENTS, {"subject": subject})]

    async def _deleted(self, path: str, query: Mapping[str, str] | None = None) -> int:
        """The status of a yes: it was deleted, or is not there."""
        answer = await self._admin.ask("DELETE", path, query)
        if answer.status == 204 or (answer.status == 404 and _says_why(answer.value)):
            return answer.status
        raise NoAnswer(f"it answers with status {answer.status}", f"status {answer.status}")


def _asked(step: Step) -> str:
    if step.kind == CLIENT:
        return f"DELETE {_CLIENT_PATH}"
    return f"DELETE {LOGINS if step.kind == SESSIONS else CONSENTS}"


def _pair(one: Mapping[str, Any]) -> Name:
    return Name(What.DELEGATION, one["issuer"], (one["client"], one["subject"]["id"]))


def _part(one: Mapping[str, Any], grants: Any, session: str = "") -> Step:
    more = {"grants": _BETWEEN.join(grants), **({"session": session} if session else {})}
    return Step(CONSENT, _pair(one), more)


def _is_of_user(one: Mapping[str, Any]) -> bool:
    """Only users consent."""
    return bool(one["subject"]["id"]) and "user" in one["subject"]["type"].split("/")


def _fits_a_path(client: str) -> bool:
    return "/" not in client and client not in (".", "..")


def _says_why(value: Any) -> bool:
    """Whether a 404 is Hydra's own, about what was asked for, and not that of a path that nobody knows."""
    return isinstance(value, dict) and value.get("error") == _NOT_THERE


def _consent(item: Any, subject: str) -> _Consent:
    request = item.get("consent_request") if isinstance(item, dict) else None
    client = request.get("client") if isinstance(request, dict) else None
    if isinstance(request, dict) and isinstance(client, dict) and request.get("subject") == subject:
        found = [request.get("challenge"), client.get("client_id"), request.get("login_session_id", "")]
        if all(isinstance(one, str) for one in found):
            return _Consent(*found)
    raise NoAnswer("its list holds what is no consent of this subject", "no list")
