"""What can end, what of it a request for a token leans on, and what of that is older than a new beginning. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from hashlib import blake2b
from typing import Any, NamedTuple

from bridge.model.entry import canonical
from bridge.model.gate import grant_name
from bridge.model.issued import TokenDigest

KIND = "revocation"
REGISTERED = "clients"
"""The kind of an entry that tells of clients which an authorization server knows."""
DIGEST = "ended_digest"
"""The member by which the entries about one name are found; only an ending and a new beginning carry it."""
ENDING_TIME = "ending_time"
"""The member of a new beginning that tells when that had ended which begins anew."""
MAX_ACTORS = 128
"""Actors of a chain (`act`, RFC 8693) that are looked at; a document cannot be nested deeper."""
HIDDEN = "(hidden)"
"""Stands in the register for an id that the log does not show, or that was erased."""
UNKNOWN = float("-inf")
AHEAD_MS = 60_000
"""How far another clock may be ahead of ours; what began later than that is in another unit, or made up."""
_ON_A_TOKEN = frozenset({"token_exchange", "jwt_bearer", "saml2_bearer"})
"""Grants that hang on a token or an assertion, whether it is shown or not."""
_PERSON = b"ended"
"""Tells these digests from any other under the same key."""


Party = tuple[str | None, str | None, str | None]
"""Client, subject and session, as far as claims name them."""


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
        written = canonical([self.what.value, self.issuer, *self.ids])
        return f"{digest.key_id}:{blake2b(written, key=digest.key, digest_size=32, person=_PERSON).hexdigest()}"


def names_in(request: Mapping[str, Any], issuer: str) -> list[Name]:
    """Everything that a token for this request would be granted to, or would go on from."""
    client, subject, actor = (request.get(member) for member in ("client", "subject", "actor"))
    token = request.get("subject_token")
    found: list[Name] = []
    acting: list[str] = []
    # Whatever a server calls the subject: there is none but the client (RFC 6749, section 4.4).
    itself = grant_name(request.get("grant_type")) == "client_credentials"
    if client is not None:
        found.append(Name(What.CLIENT, issuer, (client["id"],)))
        acting.append(client["id"])
    for party in (subject, actor):
        if party is not None:
            found.append(Name(What.SUBJECT, issuer, (party["id"],)))
            if party["type"] != "user" or itself:  # a client that acts, or is its own subject
                found.append(Name(What.CLIENT, issuer, (party["id"],)))
    if actor is not None and actor["type"] != "user":
        acting.append(actor["id"])
    if subject is not None:
        found.extend(Name(What.DELEGATION, issuer, (one, subject["id"])) for one in acting)
    shown = [(what, request.get(what, {}).get("id")) for what in (What.SESSION, What.GRANT)]
    found.extend(Name(what, issuer, (one,)) for what, one in shown if one is not None)
    told = list(parties(token))
    for at in issuers_of(request, issuer):
        found.extend(names_of(told, at, acting))
    if isinstance(token, Mapping) and (asserting := _text(token.get("iss"))) is not None:
        found.append(Name(What.CLIENT, issuer, (asserting,)))  # which may assert for itself (RFC 7523, section 3)
    return list(dict.fromkeys(found))


def issuers_of(request: Mapping[str, Any], issuer: str) -> list[str]:
    """Under which issuer the names in a `subject_token` are meant: the one that it names (`iss`), else ours.

    Where ours is a mere name of the configuration, a token of our own server may name it by its URL: then both. Both,
    too, where they are the same but for their spelling.
    """
    token = request.get("subject_token")
    said = token.get("iss") if isinstance(token, Mapping) else None
    if not isinstance(said, str) or said == issuer:
        return [issuer]
    return [said] if "://" in issuer and not alike(said, issuer) else [issuer, said]


def alike(one: str, other: str) -> bool:
    """Whether two issuers differ at most in case and in slashes at the end: nobody means two servers by that."""
    return one.rstrip("/").casefold() == other.rstrip("/").casefold()


def meant(issuer: str, configured: Iterable[str]) -> str | None:
    """The configured issuer that differs from `issuer` in spelling alone: an ending at that would end nothing."""
    known = sorted(configured)
    return None if issuer in known else next((one for one in known if alike(one, issuer)), None)


def parties(token: Any) -> Iterator[Party]:
    """Of a token's claims, then of each actor in its chain, the last one first.

    Of one that `client_id` and `azp` name differently there are two.
    """
    for _ in range(MAX_ACTORS):
        if not isinstance(token, Mapping):
            return
        client, also = _text(token.get("client_id")), _text(token.get("azp"))
        subject, session = _text(token.get("sub")), _text(token.get("sid"))
        yield client or also, subject, session
        if client and also and also != client:
            yield also, subject, session
        token = token.get("act")


def names_of(found: Sequence[Sequence[str | None]], issuer: str, acting: Sequence[str] = ()) -> Iterator[Name]:
    """What the `parties` of a token name. `acting`: clients that act on it, for whom it is about.

    Each actor acts for whom the token as a whole is about (RFC 8693, section 4.1).
    """
    about = found[0][1] if found else None
    if about is not None:
        yield from (Name(What.DELEGATION, issuer, (one, about)) for one in acting)
    for client, subject, session in found:
        # A subject may be a client, and so may an actor: the claims do not tell.
        for what, one in ((What.CLIENT, client), (What.CLIENT, subject), (What.SUBJECT, subject)):
            if one is not None:
                yield Name(what, issuer, (one,))
        if session is not None:
            yield Name(What.SESSION, issuer, (session,))
        if client is not None and subject is not None:
            yield Name(What.DELEGATION, issuer, (client, subject))
        for one in (client, subject):
            if about is not None and one not in (None, about):
                yield Name(What.DELEGATION, issuer, (str(one), about))


def begun(request: Mapping[str, Any], what: What, now: float) -> float | None:
    """When the oldest thing began that the request hangs on (ms since the epoch), as far as that counts for `what`.

    None: it hangs on nothing older than itself. UNKNOWN: on something whose beginning it does not show, or puts after
    `now` (ms).
    """
    grant, token, grant_type = request.get("grant", {}), request.get("subject_token"), grant_name(request["grant_type"])
    signed_in = request.get("authentication", {}).get("auth_time")
    found: list[float] = []
    if grant.get("started") is not None:
        found.append(_ms(grant["started"], now))
    elif grant_type == "refresh_token":
        found.append(_ms(signed_in, now))  # a grant is not older than the sign-in that it came of
    if token is not None or grant_type in _ON_A_TOKEN:
        found.append(_ms(token.get("iat") if isinstance(token, Mapping) else None, now))
    if what is What.SUBJECT and ("session" in request or signed_in is not None):
        found.append(_ms(signed_in, now))
    return min(found, default=None)


def _ms(seconds: Any, now: float) -> float:
    shown = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    return seconds * 1000 if shown and seconds * 1000 <= now + AHEAD_MS else UNKNOWN


def _text(value: Any) -> str | None:
    """A claim as the text by which its bearer is named; there are servers whose ids are numbers."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else None
