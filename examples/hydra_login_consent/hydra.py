"""The part of Hydra's admin API that a login and consent application needs."""

from typing import Any, Literal

import httpx

Kind = Literal["login", "consent"]


class Hydra:
    """Hydra's admin API at `url`: for this machine alone, since whoever reaches it may accept anything."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=10, trust_env=False)

    def asked(self, kind: Kind, challenge: str) -> dict[str, Any]:
        """What is to be accepted or rejected. Raises httpx.HTTPStatusError, as for a challenge nobody has given."""
        reply = self._http.get(f"/admin/oauth2/auth/requests/{kind}", params={f"{kind}_challenge": challenge})
        reply.raise_for_status()
        found: dict[str, Any] = reply.json()
        return found

    def accepted(self, subject: str, client: str) -> list[dict[str, Any]]:
        """The consents of this user to this client that Hydra remembers, as they were accepted."""
        reply = self._http.get("/admin/oauth2/auth/sessions/consent", params={"subject": subject})
        reply.raise_for_status()
        kept = [one for one in reply.json() if one["remember"]]
        return [one for one in kept if one["consent_request"]["client"]["client_id"] == client]

    def accept(self, kind: Kind, challenge: str, **with_what: Any) -> str:
        """Where the browser goes now."""
        return self._put(kind, challenge, "accept", with_what)

    def reject(self, kind: Kind, challenge: str, error: str, description: str) -> str:
        """Where the browser goes now; the client is told this."""
        return self._put(kind, challenge, "reject", {"error": error, "error_description": description})

    def _put(self, kind: Kind, challenge: str, how: str, body: dict[str, Any]) -> str:
        address = f"/admin/oauth2/auth/requests/{kind}/{how}"
        reply = self._http.put(address, params={f"{kind}_challenge": challenge}, json=body)
        reply.raise_for_status()
        return str(reply.json()["redirect_to"])

    def close(self) -> None:
        self._http.close()
