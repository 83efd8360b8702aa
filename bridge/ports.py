"""The ports: what the decision road needs from the outside, and nothing about how it is done."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from bridge.errors import BridgeError
from bridge.model.commitment import Disclosure
from bridge.model.ended import Name
from bridge.model.policy import PolicySet
from bridge.model.source import Declared, Key, SourceAnswer
from bridge.model.step import Observed, Step, Token


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """`ready`: queries are answered now. `detail` is for operators."""

    kind: str
    version: str
    ready: bool
    detail: str = ""


class Engine(Protocol):
    """Evaluates Rego. Knows nothing of issuance."""

    async def start(self, policy_set: PolicySet) -> None:
        """Makes `policy_set` answer; EngineUnavailable or PolicyRefused when it cannot."""

    async def activate(self, policy_set: PolicySet) -> None:
        """Swaps to `policy_set` in one step, without dropping a query; the old set stays when this raises."""

    async def query(self, items: bytes, timeout_s: float) -> Any:
        """The kernel's answer (decoded JSON) to `items`, a JSON array (see kernel.rego for both shapes).

        Raises EvaluationFailed, EngineUnavailable or EngineTimeout; nothing else.
        """

    def accepted(self) -> Mapping[str, PolicySet]:
        """Digest -> set, for every set whose answers may be used."""

    def status(self) -> EngineStatus: ...

    async def close(self) -> None: ...


class Source(Protocol):
    """An external system whose answers policies may use. Its address is fixed by the configuration."""

    declared: Declared

    async def start(self) -> None:
        """ConfigFault when its credentials cannot be used. A source that is down is no fault here."""

    async def ask(self, key: Key, until: float) -> SourceAnswer:
        """The answer for these key values, by `until` (time.monotonic); never raises for a fault of the source."""

    def trouble(self) -> str | None:
        """Why it cannot be asked now, for operators; None when all is well, as far as is known."""

    async def close(self) -> None: ...


class Connector(Protocol):
    """Where something is done about an ending: an authorization server, or those who must be told of a logout."""

    kind: str
    """The word for it in the log: "hydra"."""
    issuer: str | None
    """The authorization server that it stands for; None: it is asked about the endings of every one."""

    def steps(self, name: Name, tree: Mapping[str, Any]) -> list[Step]:
        """What there is to do when `name` ends, in its order; `tree`: what hangs on it, as `Tree.of` tells it.

        The same for the same tree; empty when nothing can be done here.
        """

    async def do(self, step: Step) -> Observed:
        """Does the step and looks whether it is done. Harmless when repeated; no fault of the other side is raised."""

    async def clients(self) -> list[str] | None:
        """The ids of all clients there; None: it does not tell, or not now."""

    async def close(self) -> None: ...


@runtime_checkable
class Revoker(Protocol):
    """Takes back single tokens at an authorization server (RFC 7009)."""

    kind: str
    issuer: str | None

    async def revoke(self, token: Token, until: float) -> Observed:
        """Has it taken back, by `until` (time.monotonic); no fault of the other side is raised."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where an entry stands in the log: `index` is dense from 0, `leaf_hash` is RFC 6962's (32 bytes).

    `entry` is what it says; of one that was just written, without what the writer adds; of one that was looked up, with
    what its commitments hide in their place, where it is not erased. `hidden`: what is kept for those.
    """

    index: int
    leaf_hash: bytes
    entry: Mapping[str, Any]
    hidden: tuple[Disclosure, ...] = ()


class Lookup(Protocol):
    """The log inside the transaction that writes the next entry: all that stands before it, of all workers."""

    def entry(self, entry_id: str) -> Receipt | None:
        """The entry with this id."""

    def about(self, kind: str, member: str, value: str) -> list[Receipt]:
        """The entries of `kind` whose `member` (one of `entry.FOUND_BY`) is `value`, oldest first, at most 100."""

    def newest(self, kind: str, member: str, values: Sequence[str]) -> list[Receipt]:
        """Of each of `values` the newest entry of `kind` that has it, where there is one."""


Finish = Callable[[Lookup], "dict[str, Any] | Record | Receipt"]
"""Makes an entry, or a record, from what stands before it; or gives the receipt of one that makes it needless."""
Guard = Callable[["Record", Lookup], "Record"]
"""Gives the record back, or a denial with the same `id` and `kind`, where the record grants something to what ended."""


@dataclass(frozen=True, slots=True)
class Record:
    """One entry on its way to the log.

    `entry` lacks what the writer adds in its transaction: instance, epoch, iseq. `input` is the exact document that
    the engine saw, kept beside the log under its SHA-256. `disclosures`: what the entry's commitments hide. `state`:
    what the log knows once the entry is durable (a name and its value), for comparing later. With `finish` the writer
    writes what that makes, with the same `id` and `kind`, so that nothing can come between its looking and the writing;
    it must be quick, and may be called more than once. The same holds for `guard`, which is asked only where the log
    tells of any ending.
    """

    entry: dict[str, Any]
    input: bytes | None = None
    input_digest: bytes | None = None
    disclosures: tuple[Disclosure, ...] = ()
    state: tuple[str, bytes] | None = None
    finish: Finish | None = None
    guard: Guard | None = None


class FinishFailed(BridgeError):
    """What `record.finish` raised, as the cause. Nothing of its transaction was written."""

    def __init__(self, record: Record) -> None:
        super().__init__("an entry could not be finished")
        self.record = record


class Journal(Protocol):
    """The evidence log, as the decision road sees it."""

    origin: str

    def append(self, *records: Record) -> asyncio.Future[Receipt]:
        """Hands the records to the writer at once, as one; the result is the first one's receipt, when all are durable.

        The awaitable raises EvidenceUnavailable. Giving up waiting does not take the records back.
        """

    def append_quietly(self, record: Record, *, denials: int) -> None:
        """Hands over a record that nobody waits for; when it is lost, `denials` count for the gap entry."""

    def denied_unrecorded(self, count: int = 1) -> None:
        """Counts denials that were answered without an entry, for the gap entry that follows the recovery."""
