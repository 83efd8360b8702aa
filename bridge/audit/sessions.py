"""Which sign-in sessions of a subject the log knows that have not ended: what a logout without a session means."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bridge.audit.reader import LogReader
from bridge.audit.register import Register, opened
from bridge.model.ended import HIDDEN, Effect, Name, What
from bridge.model.issued import TokenDigest
from bridge.model.logout import JTI_DIGEST, Logout

_TOLD = "SELECT 1 FROM about WHERE member = ? AND value = ? LIMIT 1"
_ENDED = "SELECT 1 FROM ended WHERE digest = ? AND effect = ?"


@dataclass(frozen=True, slots=True)
class Meant:
    """The sessions that a logout token ends. `repeated`: the log has endings that came of this very token."""

    sessions: list[str]
    repeated: bool


def meant_by(folder: Path, logout: Logout, leeway_ms: int, digest: TokenDigest) -> Meant:
    """EvidenceUnavailable when the log in `folder` cannot be read. `leeway_ms`: as far as clocks may differ."""
    with closing(LogReader(folder)) as reader:
        if reader.db.execute(_TOLD, (JTI_DIGEST, logout.digest(digest))).fetchone() is not None:
            return Meant([], repeated=True)
        if logout.sid is not None:
            return Meant([logout.sid], repeated=False)
        with opened(reader) as register:
            return Meant(_open_ones(register, logout, leeway_ms, digest), repeated=False)


def _open_ones(register: Register, logout: Logout, leeway_ms: int, digest: TokenDigest) -> list[str]:
    """Those that began before the token was made: who signs in again afterwards is not meant."""
    began: dict[str, int] = {}
    for line in register.lines(logout.issuer, {"subject": logout.sub or ""}):
        if line.key.session not in ("", HIDDEN):
            began[line.key.session] = min(line.first_ms, began.get(line.key.session, line.first_ms))
    until = logout.issued * 1000 + leeway_ms
    return [
        session
        for session, first_ms in sorted(began.items())
        if first_ms <= until and not _has_ended(register, Name(What.SESSION, logout.issuer, (session,)), digest)
    ]


def _has_ended(register: Register, name: Name, digest: TokenDigest) -> bool:
    return register.tables.execute(_ENDED, (name.digest(digest), Effect.ENDED.value)).fetchone() is not None
