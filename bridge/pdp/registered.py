"""Clients that an authorization server knows become entries: the register knows those that never asked, too."""

from collections.abc import Sequence

from bridge.model.ended import REGISTERED
from bridge.model.entry import MAX_ENTRY_BYTES, chunks
from bridge.model.times import now_ms, rfc3339, uuid7
from bridge.ports import Record


def registered(issuer: str, ids: Sequence[str], door: str, caller: str) -> list[Record]:
    """As many entries as it takes for all of them; each tells which part it is."""
    parts = chunks([{"id": one} for one in ids], MAX_ENTRY_BYTES - 4096)
    head = {"v": 1, "kind": REGISTERED, "time": rfc3339(now_ms()), "door": door, "caller": caller}
    about = {"request": {"issuer": issuer}, "parts": len(parts)}
    return [
        Record({**head, **about, "id": uuid7(now_ms()), "part": number, "clients": part})
        for number, part in enumerate(parts, 1)
    ]
