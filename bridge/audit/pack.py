"""An audit pack: the entries that a query fits, and all that a stranger needs to check that they are in the log."""

import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

import orjson

from bridge.audit.filter import Filter
from bridge.audit.prove import Prover
from bridge.audit.query import Queries
from bridge.audit.reader import Found, LogReader
from bridge.model.times import rfc3339
from bridge.tlog.trust import Trust

PROOF_SUFFIX = ".tlog-proof"
_ID = re.compile("[0-9A-Za-z-]{1,64}")
_EXPLAINED = files("bridge.audit").joinpath("pack.md").read_text(encoding="utf-8")


class Pack:
    """Proves against the one checkpoint of `prover`, which is signed by one of the logs that `trust` names."""

    def __init__(self, reader: LogReader, prover: Prover, trust: Trust) -> None:
        self._reader, self._prover = reader, prover
        self._key = prover.signed.note.verify(trust.logs)[0][0]
        self.fitting = self.beside = self.uncovered = 0

    def files(self, wanted: Filter, at_ms: int) -> Iterator[tuple[str, bytes]]:
        """The files (name, bytes), one after the other; README.md comes last, and counts them.

        Beside the entries that `wanted` fits: those that name one of them as their decision, since one of kind
        `overruled` tells that its caller was answered otherwise. EvidenceInvalid when an entry cannot be proven.
        """
        size = self._prover.checkpoint.size
        fitting, beside = Queries(self._reader).fitting(wanted)
        covered = [index for index in sorted([*fitting, *beside]) if index < size]
        self.uncovered = len(fitting) + len(beside) - len(covered)
        self.fitting, self.beside = (sum(index < size for index in some) for some in (fitting, beside))
        yield "checkpoint", self._prover.note
        yield "vkey", f"{self._key}\n".encode()
        for index in covered:
            found = self._reader.at(index)
            name = file_name(found)
            yield f"{name}.json", found.data
            yield f"{name}{PROOF_SUFFIX}", bytes(self._prover.prove(index, found.data))
        yield "README.md", f"{self._about(wanted, at_ms)}\n{_EXPLAINED}".encode()

    def _about(self, wanted: Filter, at_ms: int) -> str:
        about, key = self._prover.checkpoint, self._key
        cosigned = [f"{witness.name} at {rfc3339(time * 1000)}" for witness, time in self._prover.signed.cosigned]
        more = "" if wanted.limit is None else f"Only the newest {wanted.limit} were asked for: there may be more.\n"
        return f"""# Entries of the log {about.origin}, with proofs

Made at {rfc3339(at_ms)} by `issuance-bridge log prove --pack`, for all entries that this fits:

```json
{orjson.dumps(_asked(wanted)).decode()}
```

{more}
| | |
| --- | --- |
| entries that it fits | {self.fitting} |
| others that name one of these as their decision (`overruled`, `rules`, …) | {self.beside} |
| left out, since no checkpoint covered them yet | {self.uncovered} |
| checkpoint | {about.size} entries, root `{about.root.hex()}` |
| signed by | `{key.name}+{key.id.hex()}` |
| cosigned by | {", ".join(cosigned) or "no witness of a trust policy"} |
"""


def file_name(found: Found) -> str:
    """What an entry's files are called, without the ending: its index and its id."""
    entry_id = str(found.entry["id"])
    return f"{found.index}-{entry_id}" if _ID.fullmatch(entry_id) else str(found.index)


def _asked(wanted: Filter) -> Mapping[str, Any]:
    """The filter in the words of the command line; nothing: all entries."""
    times = {"from": wanted.since, "to": wanted.until}
    names = ("kind", "client", "subject", "scope", "outcome", "rule", "owner", "exception")
    texts = {name: getattr(wanted, name) for name in names}
    texts |= {name: None if time is None else rfc3339(time) for name, time in times.items()}
    return {name: text for name, text in texts.items() if text is not None}
