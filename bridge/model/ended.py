"""What can end, what of it a request for a token leans on, and what of that is older than a new beginning. Pure."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from hashlib import blake2b
from typing import Any, NamedTuple

from bridge.model.entry import canonical
from bridge.model.issued import TokenDigest

KIND = "revocation"
REGISTERED = "clients"
"""The kind of an entry that tells of clients which an authorization server knows."""
DIGEST = "ended_digest"
"""The member by which the entries about one name are found; only an ending and a new beginning carry it."""
MAX_ACTORS = 128
"""Actors of a chain (`act`, RFC 8693) that are looked at; a document cannot be nested deeper."""
UNKNOWN = float("-inf")
HIDDEN = "(hidden)"
"""How a tree shows an id that is masked in the log, or was erased."""
_PERSON = b"ended"
"""Tells these digests from any other under the same key."""


class What(StrEnum):
    """What can end. A delegation is what a subject lets a client do; a grant is one consent to it, by its id there."""

    CLIENT = "client"
    SUBJECT = "subject"
    SESSION = "session"
    DELEGATION = "delegation"
    GRANT = "grant"


FINAL = frozenset([What.SESSION, What.GRANT])
"""Their ids are not used twice, so that nothing of that name begins anew."""
MEMBERS: Mapping[What, tuple[str, ...]] = {
    **{what: (what.value,) for what in What},
    What.DELEGATION: ("client", "subject"),
}
"""Whose ids make up the name of one, beside the issuer."""


class Effect(StrEnum):
    """What an entry does: from an ending on, nothing is granted; a new beginning brings nothing old back."""

    ENDED = "ended"
    REINSTATED = "reinstated"
    STEP = "step"
    """Something was done about an ending (`model.step`)."""
    SETTLED = "settled"
    """All that could be done about an ending is done."""


class Name(NamedTuple):
    """`ids` as MEMBERS has them, at one authorization server."""

    what: What
    issuer: str
    ids: tuple[str, ...]

    def request(self) -> dict[str, Any]:
        """As a request would show it, so that it is found and hidden like one."""
        return {"issuer": self.issuer, **{m: {"id": i} for m, i in zip(MEMBERS[self.what], self.ids, strict=True)}}

    def digest(self, digest: TokenDigest) -> str:
        """`KEY ID:HEX`, of BLAKE2b-256 (RFC 7693) under a key of the log's own, over a JSON array of the name's parts.

        A name may be a person's, and this stands in the log for ever.
        """
        written = canonical([self.what, self.issuer, *self.ids])
        return f"{digest.key_id}:{blake2b(written, key=digest.key, digest_size=32, person=_PERSON).hexdigest()}"


def names_in(request: Mapping[str, Any], issuer: str) -> list[Name]:
    """Everything that a token for this request would be granted to, or would go on from."""
    client, subject, actor = (request.get(member) for member in ("client", "subject", "actor"))
    found: list[Name] = []
    if client is not None:
        found.append(Name(What.CLIENT, issuer, (client["id"],)))
    for party in (subject, actor):
        if party is not None:
            found.append(Name(What.SUBJECT, issuer, (party["id"],)))
            if party["type"] != "user":  # a client that acts, or is its own subject
                found.append(Name(What.CLIENT, issuer, (party["id"],)))
    if client is not None and subject is not None:
        found.append(Name(What.DELEGATION, issuer, (client["id"], subject["id"])))
    shown = [(what, request.get(what, {}).get("id")) for what in (What.SESSION, What.GRANT)]
    found.extend(Name(what, issuer, (one,)) for what, one in shown if one is not None)
    for at in issuers_of(request, issuer):
        found.extend(_in_token(request.get("subject_token"), at))
    return list(dict.fromkeys(found))


def issuers_of(request: Mapping[str, Any], issuer: str) -> list[str]:
    """Under which issuer the names in a `subject_token` are meant: the one that it names (`iss`), else ours.

    Where ours is a mere name of the configuration, a token of our own server may name it by its URL: then both.
    """
    token = request.get("subject_token")
    said = token.get("iss") if isinstance(token, Mapping) else None
    if not isinstance(said, str) or said == issuer:
        return [issuer]
    return [said] if "://" in issuer else [issuer, said]


def parties(token: Any) -> Iterator[tuple[str | None, str | None, str | None]]:
    """(client, subject, session) of a token's claims, then of each actor in its chain, the last one first."""
    for _ in range(MAX_ACTORS):
        if not isinstance(token, Mapping):
            return
        client = _text(token.get("client_id")) or _text(token.get("azp"))
        yield client, _text(token.get("sub")), _text(token.get("sid"))
        token = token.get("act")


def _in_token(token: Any, issuer: str) -> Iterator[Name]:
    for client, subject, session in parties(token):
        # A subject may be a client, and so may an actor: the claims do not tell.
        for what, one in ((What.CLIENT, client), (What.CLIENT, subject), (What.SUBJECT, subject)):
            if one is not None:
                yield Name(what, issuer, (one,))
        if client is not None and subject is not None:
            yield Name(What.DELEGATION, issuer, (client, subject))
        if session is not None:
            yield Name(What.SESSION, issuer, (session,))


def begun(request: Mapping[str, Any], what: What) -> float | None:
    """When the oldest thing began that the request hangs on (ms since the epoch), as far as that counts for `what`.

    None: it hangs on nothing older than itself. UNKNOWN: on something whose beginning it does not show.
    """
    grant, token = request.get("grant", {}), request.get("subject_token")
    signed_in = request.get("authentication", {}).get("auth_time")
    found: list[float] = []
    if grant.get("started") is not None:
        found.append(_ms(grant["started"]))
    elif request["grant_type"] == "refresh_token":
        found.append(_ms(signed_in))  # a grant is not older than the sign-in that it came of
    if token is not None:
        found.append(_ms(token.get("iat") if isinstance(token, Mapping) else None))
    if what is What.SUBJECT and ("session" in request or signed_in is not None):
        found.append(_ms(signed_in))
    return min(found, default=None)


def _ms(seconds: Any) -> float:
    shown = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    return seconds * 1000 if shown else UNKNOWN


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
