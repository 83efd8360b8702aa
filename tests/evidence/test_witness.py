"""One witness: what it is asked, and what is made of each answer, the odd ones included."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bridge.errors import LogForked, WitnessFailed
from bridge.evidence import witness as asking
from bridge.evidence.witness import WitnessClient
from bridge.tlog.checkpoint import Checkpoint, open_checkpoint
from bridge.tlog.merkle import consistency_proof, leaf_hash, root_of
from bridge.tlog.note import Note, Signature, Signer
from bridge.tlog.trust import Witness
from tests.support.witness import SIZE_TYPE, Asked, LocalWitness, local_witness, reply

LOG = Signer("log.example/2026h2", Ed25519PrivateKey.generate())
LEAVES = [leaf_hash(bytes([number])) for number in range(40)]
SOMEBODY = LocalWitness("witness.example/ours")
"""The same name, another key."""


def node(height: int, index: int) -> bytes:
    return root_of(LEAVES[index << height : (index + 1) << height])


async def prove(old: int, new: int) -> list[bytes]:
    return consistency_proof(old, new, node)


def signed(size: int, leaves: list[bytes] = LEAVES) -> Note:
    return LOG.sign(str(Checkpoint(LOG.name, size, root_of(leaves[:size]))))


@pytest.fixture
async def witness() -> AsyncIterator[LocalWitness]:
    async with local_witness() as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


def client_of(witness: LocalWitness, session: aiohttp.ClientSession) -> WitnessClient:
    return WitnessClient(Witness("w", witness.vkey, witness.url), session)


async def test_it_cosigns_a_log_that_grows(witness: LocalWitness, session: aiohttp.ClientSession) -> None:
    client = client_of(witness, session)
    for size in (3, 3, 8, 40):
        note = signed(size)
        line = await client.cosign(note, prove)
        opened = open_checkpoint(
            str(Note(note.text, (*note.signatures, line))).encode(), [LOG.verifier], [witness.vkey]
        )
        assert [key for key, _ in opened.cosigned] == [witness.vkey]
    # The first question learns the size from a 409; afterwards it is known.
    assert [(asked.old, asked.about.size) for asked in witness.asked] == [(3, 3), (0, 3), (3, 3), (3, 8), (8, 40)]


async def test_a_client_without_memory_learns_how_far_the_witness_is(
    witness: LocalWitness, session: aiohttp.ClientSession
) -> None:
    await client_of(witness, session).cosign(signed(8), prove)
    await client_of(witness, session).cosign(signed(40), prove)
    assert [(asked.old, len(asked.proof)) for asked in witness.asked] == [(8, 0), (0, 0), (40, 0), (8, 3)]
    assert witness.size == 40


async def test_only_the_logs_own_signature_goes_out(witness: LocalWitness, session: aiohttp.ClientSession) -> None:
    note = signed(3)
    other = LocalWitness("witness.example/another").cosign(note.text)
    await client_of(witness, session).cosign(Note(note.text, (*note.signatures, other)), prove)
    assert {asked.note for asked in witness.asked} == {note}


async def test_a_slash_at_the_end_of_the_url_is_one(witness: LocalWitness, session: aiohttp.ClientSession) -> None:
    await WitnessClient(Witness("w", witness.vkey, f"{witness.url}/"), session).cosign(signed(3), prove)
    assert witness.size == 3


Answer = Callable[[LocalWitness, Asked], bytes]


def lines(*made: Callable[[LocalWitness, Asked], Signature | str]) -> Answer:
    return lambda witness, asked: reply(200, "".join(str(make(witness, asked)) for make in made))


def good(witness: LocalWitness, asked: Asked) -> Signature:
    return witness.cosign(asked.note.text)


def strangers(witness: LocalWitness, asked: Asked) -> Signature:
    return LocalWitness("witness.example/stranger").cosign(asked.note.text)


def unknown_kind(witness: LocalWitness, asked: Asked) -> Signature:
    return Signature(witness.name, b"abcd", b"\1" * 2428)


def broken(witness: LocalWitness, asked: Asked) -> Signature:
    line = good(witness, asked)
    return Signature(line.name, line.key_id, line.body[:-1] + bytes([line.body[-1] ^ 1]))


def impostors(witness: LocalWitness, asked: Asked) -> Signature:
    """Signed by another key, under the name and the id of this one."""
    return Signature(witness.name, witness.vkey.id, SOMEBODY.cosign(asked.note.text).body)


def wrong_key(witness: LocalWitness, asked: Asked) -> Signature:
    return SOMEBODY.cosign(asked.note.text)


def of_another_tree(witness: LocalWitness, asked: Asked) -> Signature:
    return witness.cosign(signed(7).text)


def timeless(witness: LocalWitness, asked: Asked) -> Signature:
    return witness.cosign(asked.note.text, at=0)


def after_all_time(witness: LocalWitness, asked: Asked) -> Signature:
    return witness.cosign(asked.note.text, at=2**63)


def cut(witness: LocalWitness, asked: Asked) -> str:
    return str(good(witness, asked))[:-20]


@pytest.mark.parametrize(
    "answer",
    [
        lines(strangers, good),
        lines(good, strangers),
        lines(unknown_kind, wrong_key, good, good),
    ],
    ids=["before", "behind", "of another kind"],
)
async def test_lines_of_unknown_keys_are_passed_over(
    witness: LocalWitness, session: aiohttp.ClientSession, answer: Answer
) -> None:
    witness.answer = lambda asked: answer(witness, asked)
    line = await client_of(witness, session).cosign(signed(5), prove)
    assert (line.name, line.key_id) == (witness.name, witness.vkey.id)


FAILURES: dict[str, tuple[Answer, str]] = {
    "unknown log": (lambda *_: reply(404, "who?\n"), "status 404: 'who\\?'"),
    "untrusted key": (lambda *_: reply(403), "status 403"),
    "bad request": (lambda *_: reply(400), "status 400"),
    "defect": (lambda *_: reply(500, b"\xff\x1b[31m\n" * 100), r"status 500: '\\ufffd\\x1b\[31m"),
    "redirect": (lambda w, _: reply(302, Location=f"{w.url}/add-checkpoint"), "status 302"),
    "permanent redirect": (lambda w, _: reply(308, Location=f"{w.url}/add-checkpoint"), "status 308"),
    "no content": (lambda *_: b"HTTP/1.1 204 x\r\n\r\n", "status 204"),
    "not http": (lambda *_: b"SSH-2.0-OpenSSH\r\n", "BadStatusLine|Bad status line"),
    "half a status line": (lambda *_: b"HTTP/1.1 2", "Disconnected"),
    "half a head": (lambda *_: reply(200)[:30], "Disconnected"),
    "half a body": (lambda w, a: lines(good)(w, a)[:-30], "ClientPayloadError"),
    "huge": (lambda *_: reply(200, b"x" * 1_000_000), "longer than 65536 bytes"),
    "huge, of lines": (lambda w, a: lines(*[good] * 2000)(w, a), "longer than 65536 bytes"),
    "too many lines": (lambda w, a: lines(*[good] * 65)(w, a), "1 to 64 signature lines"),
    "huge head": (lambda *_: reply(200, X="x" * 100_000), "more than 8190|too long|Too Long"),
    "a compressed answer": (lambda w, a: _gzipped(str(good(w, a))), "not made of signature lines"),
    "empty": (lambda *_: reply(200), "not made of signature lines"),
    "not lines": (lambda *_: reply(200, "thanks\n"), "not made of signature lines"),
    "not text": (lambda *_: reply(200, b"\xff\xfe\n"), "not made of signature lines"),
    "a whole note": (lambda w, a: reply(200, str(Note(a.note.text, (good(w, a),)))), "not made of signature lines"),
    "a line cut off": (lines(cut), "not made of signature lines"),
    "a good line and half a one": (lines(good, cut), "not made of signature lines"),
    "stranger": (lines(strangers), "no cosignature"),
    "wrong key": (lines(wrong_key), "no cosignature"),
    "impostor": (lines(impostors), "no cosignature"),
    "broken signature": (lines(broken), "no cosignature"),
    "broken, then good": (lines(broken, good), "no cosignature"),
    "of another tree": (lines(of_another_tree), "no cosignature"),
    "no time": (lines(timeless), "no cosignature"),
    "a time that nobody can show": (lines(after_all_time), "no cosignature"),
    "conflict without its type": (lambda *_: reply(409, "3\n"), "not with text/x.tlog.size"),
    "conflict without a size": (lambda *_: reply(409, "", SIZE_TYPE), "no size"),
    "conflict, not a number": (lambda *_: reply(409, "three\n", SIZE_TYPE), "no size"),
    "conflict, leading zero": (lambda *_: reply(409, "03\n", SIZE_TYPE), "no size"),
    "conflict, negative": (lambda *_: reply(409, "-3\n", SIZE_TYPE), "no size"),
    "conflict, other digits": (lambda *_: reply(409, "٣\n", SIZE_TYPE), "no size"),
    "conflict, 2^63": (lambda *_: reply(409, f"{2**63}\n", SIZE_TYPE), "no size"),
    "conflict for ever": (lambda _, a: reply(409, f"{(a.old + 1) % 5}\n", SIZE_TYPE), "status 409"),
}


def _gzipped(text: str) -> bytes:
    return reply(200, gzip.compress(text.encode()), Content_Encoding="gzip")


@pytest.mark.parametrize("case", FAILURES)
async def test_an_odd_answer_is_a_failure_of_that_witness_and_no_more(
    witness: LocalWitness, session: aiohttp.ClientSession, case: str
) -> None:
    answer, reason = FAILURES[case]
    witness.answer = lambda asked: answer(witness, asked)
    client = client_of(witness, session)
    with pytest.raises(WitnessFailed, match=reason) as failed:
        await client.cosign(signed(5), prove)
    assert len(str(failed.value)) < 1000
    assert str(failed.value).isprintable()
    assert len(witness.asked) == (2 if case == "conflict for ever" or reason == "Disconnected" else 1)
    witness.answer = b""  # and nothing of it sticks
    assert (await client.cosign(signed(9), prove)).key_id == witness.vkey.id


@pytest.mark.parametrize("answer", [None, reply(200)], ids=["for ever", "too long"])
async def test_a_witness_that_hangs_is_given_up(
    witness: LocalWitness, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, answer: bytes | None
) -> None:
    monkeypatch.setattr(asking, "TIMEOUT_S", 0.3)
    witness.answer, witness.delay_s = answer, 0.0 if answer is None else 5.0
    with pytest.raises(WitnessFailed, match=r"no answer within 0\.3 s"):
        await asyncio.wait_for(client_of(witness, session).cosign(signed(5), prove), 2)


async def test_nobody_there_is_a_failure(session: aiohttp.ClientSession) -> None:
    async with local_witness() as gone:
        pass
    with pytest.raises(WitnessFailed, match="ClientConnectorError"):
        await client_of(gone, session).cosign(signed(5), prove)


async def test_a_witness_that_knows_more_is_an_alarm(witness: LocalWitness, session: aiohttp.ClientSession) -> None:
    witness.size = 9
    with pytest.raises(LogForked, match=r"witness w has seen 9 entries of log\.example/2026h2.* only up to 5"):
        await client_of(witness, session).cosign(signed(5), prove)


async def test_a_witness_that_knows_another_history_is_an_alarm(
    witness: LocalWitness, session: aiohttp.ClientSession
) -> None:
    forked = [leaf_hash(b"another"), *LEAVES[1:]]
    await client_of(witness, session).cosign(signed(5, forked), prove)
    for size in (5, 8):  # as large as what it knows, and larger
        with pytest.raises(
            LogForked, match=f"witness w refuses the checkpoint over {size} entries.*different roots|lead"
        ):
            await client_of(witness, session).cosign(signed(size), prove)
