"""Which sign-in sessions of a subject the log knows that have not ended: what a logout without a session means."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import orjson

from bridge.audit.chronology import time_of
from bridge.audit.reader import LogReader
from bridge.audit.register import Line, Register, opened
from bridge.model.ended import HIDDEN, Effect, Name, What
from bridge.model.issued import TokenDigest
from bridge.model.logout import JTI_DIGEST, Logout

_TOLD = "SELECT min(idx) FROM about WHERE member = ? AND value = ?"
_ENDED = "SELECT 1 FROM ended WHERE digest = ? AND effect = ?"


@dataclass(frozen=True, slots=True)
class Meant:
    """The sessions that a logout token ends. `repeated`: the log has endings that came of this very token before."""

    sessions: list[str]
    repeated: bool


def meant_by(folder: Path, logout: Logout, leeway_ms: int, digest: TokenDigest) -> Meant:
    """EvidenceUnavailable when the log in `folder` cannot be read. `leeway_ms`: as far as clocks may differ."""
    until = logout.issued * 1000 + leeway_ms
    with closing(LogReader(folder)) as reader:
        (first,) = reader.db.execute(_TOLD, (JTI_DIGEST, logout.digest(digest))).fetchone()
        if first is not None:
            # It means what it meant then, of which not all need have ended: it may be too much for one transaction.
            until = min(until, time_of(reader.at(first).entry["time"]) or 0)
        if logout.sid is not None:
            return Meant([logout.sid], repeated=first is not None)
        with opened(reader) as register:
            return Meant(_open_ones(register, logout, until, digest), repeated=first is not None)


def _open_ones(register: Register, logout: Logout, until: float, digest: TokenDigest) -> list[str]:
    """Those that began before `until` (ms): who signs in again afterwards is not meant."""
    sub, began = logout.sub or "", dict[str, int]()
    own = ((line, line.key.session) for line in register.lines(logout.issuer, {"subject": sub}))
    for line, session in (*own, *_exchanged(register, logout.issuer, sub)):
        if session not in ("", HIDDEN):
            began[session] = min(line.first_ms, began.get(session, line.first_ms))
    return [
        session
        for session, first_ms in sorted(began.items())
        if first_ms <= until and not _has_ended(register, Name(What.SESSION, logout.issuer, (session,)), digest)
    ]


def _exchanged(register: Register, issuer: str, subject: str) -> Iterator[tuple[Line, str]]:
    """Sessions at `issuer` that tokens named which were exchanged, or asserted, at another server."""
    name = Name(What.SUBJECT, issuer, (subject,))
    for line in (*register.exchanged(name), *register.exchanged_hidden()):
        issuers, found = orjson.loads(line.key.origin) if line.key.origin else ((), ())
        if issuer in issuers:
            yield from ((line, sid) for _, sub, sid in found if sub == subject and sid is not None)


def _has_ended(register: Register, name: Name, digest: TokenDigest) -> bool:
    return register.tables.execute(_ENDED, (name.digest(digest), Effect.ENDED.value)).fetchone() is not None
