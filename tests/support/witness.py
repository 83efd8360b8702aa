"""A witness of our own in the test's event loop: it keeps the protocol (C2SP tlog-witness), or answers as it is told.

async with local_witness() as witness:
    witness.answer = reply(500)         # raw bytes, whatever they are; None: no answer, ever
"""

import asyncio
import contextlib
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bridge.errors import EvidenceInvalid
from bridge.tlog.checkpoint import Checkpoint
from bridge.tlog.merkle import EMPTY_ROOT, verify_consistency
from bridge.tlog.note import COSIGNATURE, Note, Signature, VerifierKey, decode_base64

SIZE_TYPE = "text/x.tlog.size"


@dataclass(frozen=True)
class Asked:
    """One request: the old size, the proof, the checkpoint as it came."""

    old: int
    proof: list[bytes]
    note: Note

    @property
    def about(self) -> Checkpoint:
        return Checkpoint.parse(self.note.text)


@dataclass
class LocalWitness:
    """`answer`, when set, is what every request gets; else the protocol decides. `delay_s` is before any answer."""

    name: str = "witness.example/ours"
    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    url: str = ""
    size: int = 0
    root: bytes = EMPTY_ROOT
    answer: "bytes | Callable[[Asked], bytes | None] | None" = b""
    delay_s: float = 0.0
    asked: list[Asked] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    @property
    def vkey(self) -> VerifierKey:
        return VerifierKey(self.name, COSIGNATURE, self.private.public_key().public_bytes_raw())

    def cosign(self, text: str, at: int | None = None) -> Signature:
        at = int(time.time()) if at is None else at
        signed = self.private.sign(f"cosignature/v1\ntime {at}\n{text}".encode())
        return Signature(self.name, self.vkey.id, struct.pack(">Q", at) + signed)

    def by_protocol(self, asked: Asked) -> bytes:
        about = asked.about
        if asked.old != self.size:
            return reply(409, f"{self.size}\n", SIZE_TYPE)
        try:
            verify_consistency(self.size, about.size, self.root, about.root, asked.proof)
        except EvidenceInvalid as error:
            return reply(422, f"{error}\n")
        self.size, self.root = about.size, about.root
        return reply(200, str(self.cosign(asked.note.text)))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._answered(reader, writer):
                    await writer.drain()
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection is kept after one more request."""
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"POST /prefix/add-checkpoint HTTP/1.1\r\n"), head
        (length,) = [int(x[15:]) for x in head.lower().split(b"\r\n") if x.startswith(b"content-length:")]
        asked = parse(await reader.readexactly(length))
        self.asked.append(asked)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.delay_s)
            answer = self.answer(asked) if callable(self.answer) else self.answer
            if answer is None:
                await asyncio.Event().wait()
        finally:
            self.at_once -= 1
        writer.write(answer or self.by_protocol(asked))
        return not answer


def parse(body: bytes) -> Asked:
    """The body of an add-checkpoint request."""
    head, _, note = body.decode().partition("\n\n")
    old, *proof = head.split("\n")
    assert old.startswith("old ")
    return Asked(int(old[4:]), list(map(decode_base64, proof)), Note.parse(note.encode()))


def reply(status: int, body: str | bytes = "", kind: str = "text/plain", **headers: str) -> bytes:
    """A response, whole."""
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} x", f"Content-Type: {kind}", f"Content-Length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + data


@contextlib.asynccontextmanager
async def local_witness(name: str = "witness.example/ours") -> AsyncIterator[LocalWitness]:
    """A witness on a free port; its connections end on the way out."""
    witness, tasks = LocalWitness(name), set[asyncio.Task[None]]()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(witness.serve(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    witness.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/prefix"
    try:
        yield witness
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result


def write_trust(
    file: Path, witnesses: Iterable[tuple[VerifierKey, str]], quorum: str = "all", logs: Iterable[VerifierKey] = ()
) -> Path:
    """A policy file: witnesses w0, w1, … and how many of them are needed: `none`, `any`, `all` or a number."""
    lines = [f"log {key}" for key in logs]
    names = []
    for number, (key, url) in enumerate(witnesses):
        names.append(f"w{number}")
        lines.append(f"witness w{number} {key} {url}".strip())
    if quorum != "none":
        lines.append(f"group needed {quorum} {' '.join(names)}")
    lines.append("quorum none" if quorum == "none" else "quorum needed")
    file.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return file
