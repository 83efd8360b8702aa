"""Asks the witnesses, side by side, and says when their cosignatures make the quorum (C2SP tlog-policy).

Witnesses that answer soon are waited for; a slow one holds nothing up unless the quorum needs it.
"""

import asyncio
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
import structlog

from bridge.errors import BridgeError, ConfigFault, LogForked
from bridge.evidence.witness import Prove, WitnessClient, cosignature
from bridge.ops.metrics import Metrics
from bridge.tlog.note import MAX_SIGNATURES, Note, Signature
from bridge.tlog.trust import Trust, Witness

WAIT_S = 0.4
"""For all of them; with the interval of publishing it stays below one second."""
PAUSE_S = 1.0
"""After a failure, before the witness is asked again."""
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Asked:
    """Where one witness stands: `line` is its cosignature of `text`, `task` is under way about `about`."""

    witness: Witness
    client: WitnessClient | None = None
    text: str = ""
    line: Signature | None = None
    task: asyncio.Task[None] | None = None
    about: str = ""
    paused_until: float = 0.0
    failing: str = ""

    def turn_to(self, note: Note) -> None:
        if note.text != self.text:
            self.text, self.line = note.text, cosignature(note, self.witness)


class Witnesses:
    """Those witnesses in `trust` that have a URL. ConfigFault when they cannot make its quorum."""

    def __init__(self, trust: Trust, metrics: Metrics) -> None:
        self._trust, self._metrics = trust, metrics
        self._all = [_Asked(witness) for witness in trust.witnesses if witness.url]
        self._session: aiohttp.ClientSession | None = None
        self._forked: LogForked | None = None
        for one in self._all:
            if urlsplit(one.witness.url).scheme not in ("http", "https"):
                raise ConfigFault(f"evidence.trust: the URL of {one.witness.name} begins with http:// or https://")
        if len(self._all) >= MAX_SIGNATURES:
            raise ConfigFault(f"evidence.trust: at most {MAX_SIGNATURES - 1} witnesses can be asked")
        if not trust.satisfied([one.witness.key for one in self._all]):
            raise ConfigFault(f"evidence.trust: the witnesses that have a URL cannot make the quorum {trust.quorum}")

    def failing(self) -> list[str]:
        """Which witnesses gave no cosignature when they were asked last, and why."""
        return [f"witness {one.witness.name}: {one.failing}" for one in self._all if one.failing]

    async def greet(self, note: Note, prove: Prove) -> None:
        """Before anything is signed: what do they know? `note` is the last that was. LogForked when it is more.

        All are asked and waited for, also who has cosigned it long ago; one that cannot be reached is unknown, and no
        reason to stop.
        """
        if tasks := self._ask_about(note, prove, again=True):
            await asyncio.wait(tasks)
        self._raise_if_forked()

    async def cosign(self, note: Note, prove: Prove) -> Note | None:
        """`note`, our newest, with the cosignatures there are; None while they do not make the quorum.

        LogForked when a witness has seen another log than ours, now or since the last time.
        """
        pending = self._ask_about(note, prove)
        if pending:
            _, pending = await asyncio.wait(pending, timeout=WAIT_S)
        while pending and not self._enough():
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        self._raise_if_forked()
        if not self._enough():
            return None
        more = [one.line for one in self._all if one.line is not None and one.line not in note.signatures]
        known = {(line.name, line.key_id) for line in more}
        kept = [line for line in note.signatures if (line.name, line.key_id) not in known]
        return Note(note.text, (*kept, *more))

    async def close(self) -> None:
        """Gives up what is under way."""
        tasks = [one.task for one in self._all if one.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _ask_about(self, note: Note, prove: Prove, *, again: bool = False) -> set[asyncio.Task[None]]:
        """Asks who has not cosigned `note` yet and is free; what is under way about it."""
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)
        now = time.monotonic()
        for one in self._all:
            one.turn_to(note)
            if (one.line is None or again) and one.task is None and now >= one.paused_until:
                one.client = one.client or WitnessClient(one.witness, self._session)
                one.about = note.text
                one.task = asyncio.create_task(self._ask(one, one.client, note, prove), name="witness")
        return {one.task for one in self._all if one.task is not None and one.about == note.text}

    async def _ask(self, one: _Asked, client: WitnessClient, note: Note, prove: Prove) -> None:
        name, failing, result = one.witness.name, "", "cosigned"
        try:
            line = await client.cosign(note, prove)
            if one.text == note.text and one.line is None:  # else the earlier one stays: it proves more
                one.line = line
        except LogForked as error:
            self._forked, failing, result = error, str(error), "forked"
        except Exception as error:  # whatever a witness did, the others are asked
            failing, result = str(error) or type(error).__name__, "failed"
            one.paused_until = time.monotonic() + PAUSE_S
            if not one.failing:
                known = isinstance(error, BridgeError)
                log.warning("witness_failed", witness=name, reason=failing, exc_info=None if known else error)
        finally:
            one.task = None
        if one.failing and not failing:
            log.info("witness_recovered", witness=name)
        one.failing = failing
        self._metrics.witness(name, result)

    def _enough(self) -> bool:
        return self._trust.satisfied([one.witness.key for one in self._all if one.line is not None])

    def _raise_if_forked(self) -> None:
        if self._forked is not None:
            raise self._forked
