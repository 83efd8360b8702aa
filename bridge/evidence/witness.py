"""One witness: asks it to cosign a checkpoint, and believes only what its key has signed (C2SP tlog-witness)."""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Sequence

import aiohttp

from bridge.errors import EvidenceInvalid, LogForked, WitnessFailed
from bridge.tlog.checkpoint import Checkpoint, parse_size
from bridge.tlog.note import Note, Signature, parse_signatures
from bridge.tlog.trust import Witness

TIMEOUT_S = 3.0
MAX_REPLY_BYTES = 64 * 1024
SIZE_TYPE = "text/x.tlog.size"
HEADERS = {"Content-Type": "text/plain; charset=utf-8", "Accept-Encoding": "identity", "User-Agent": "issuance-bridge"}
Prove = Callable[[int, int], Awaitable[list[bytes]]]
"""(old size, new size) -> the consistency proof."""


class WitnessClient:
    """Remembers how large a tree the witness knows; one question at a time."""

    def __init__(self, witness: Witness, session: aiohttp.ClientSession) -> None:
        self._witness, self._session = witness, session
        self._size: int | None = None

    async def cosign(self, note: Note, prove: Prove) -> Signature:
        """The cosignature of the checkpoint in `note`, which is our newest.

        WitnessFailed when there is none this time; LogForked when the witness has seen another log than ours.
        """
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._cosign(note, prove)
        except TimeoutError:
            raise WitnessFailed(f"no answer within {TIMEOUT_S:g} s") from None
        except aiohttp.ClientError as error:
            raise WitnessFailed(f"{type(error).__name__}: {error}") from error

    async def _cosign(self, note: Note, prove: Prove) -> Signature:
        about = Checkpoint.parse(note.text)
        own = Note(note.text, tuple(line for line in note.signatures if line.name == about.origin))

        async def add(old: int) -> tuple[int, str, bytes]:
            return await self._post(add_checkpoint(old, await prove(old, about.size), own))

        # While its size is unknown, ours is the best guess: nothing to prove, and it tells if it is another.
        status, kind, body = await add(about.size if self._size is None else self._size)
        if status == 409:
            self._size = self._told(about, kind, body)
            status, kind, body = await add(self._size)
        if status == 422:
            raise LogForked(
                f"witness {self._witness.name} refuses the checkpoint over {about.size} entries, since it does not "
                f"follow from what the witness has seen of {about.origin}: {_shown(body)}"
            )
        if status != 200:
            raise WitnessFailed(f"it answers with status {status}: {_shown(body)}")
        line = self._cosignature(note.text, body)
        self._size = about.size
        return line

    async def _post(self, body: bytes) -> tuple[int, str, bytes]:
        """Status, media type and body of the answer."""
        try:
            return await self._exchange(body)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            # Most likely a kept connection that the witness has closed meanwhile; asking twice does no harm.
            return await self._exchange(body)

    async def _exchange(self, body: bytes) -> tuple[int, str, bytes]:
        url = f"{self._witness.url.rstrip('/')}/add-checkpoint"
        async with self._session.post(url, data=body, headers=HEADERS, allow_redirects=False) as response:
            data = bytearray()
            async for part in response.content.iter_any():
                data += part
                if len(data) > MAX_REPLY_BYTES:
                    raise WitnessFailed(f"its answer is longer than {MAX_REPLY_BYTES} bytes")
            return response.status, response.content_type, bytes(data)

    def _told(self, about: Checkpoint, kind: str, body: bytes) -> int:
        """The size in the answer to a checkpoint that does not begin where the witness stands."""
        if kind != SIZE_TYPE:
            raise WitnessFailed(f"it answers with status 409, but not with {SIZE_TYPE}")
        try:
            told = parse_size(body.decode("ascii", "replace").removesuffix("\n"))
        except EvidenceInvalid as error:
            raise WitnessFailed(f"it answers with status 409 and no size: {error}") from error
        if told > about.size:
            raise LogForked(
                f"witness {self._witness.name} has seen {told} entries of {about.origin}, and this log was signed "
                f"only up to {about.size}: an older copy was put in its place, or another bridge signs with its key"
            )
        return told

    def _cosignature(self, text: str, body: bytes) -> Signature:
        """The witness's line among those in `body`; it holds for `text`."""
        try:
            answer = Note(text, parse_signatures(body.decode("utf-8")))
        except (EvidenceInvalid, UnicodeDecodeError) as error:
            raise WitnessFailed(f"its answer is not made of signature lines: {error}") from error
        if (line := cosignature(answer, self._witness)) is None:
            raise WitnessFailed("its answer holds no cosignature that its key has made of this checkpoint")
        return line


def add_checkpoint(old: int, proof: Sequence[bytes], note: Note) -> bytes:
    """The body of an `add-checkpoint` request."""
    lines = [f"old {old}", *(base64.b64encode(step).decode() for step in proof), "", str(note)]
    return "\n".join(lines).encode()


def cosignature(note: Note, witness: Witness) -> Signature | None:
    """The line that this witness has signed below `note`; None when there is none, or it does not hold."""
    key = witness.key
    try:
        if not note.verify([key]):
            return None
    except EvidenceInvalid:
        return None
    return next(line for line in note.signatures if (line.name, line.key_id) == (key.name, key.id))


def _shown(body: bytes) -> str:
    """A stranger's words, short and on one line."""
    return ascii(body[:200].decode("utf-8", "replace").strip())
