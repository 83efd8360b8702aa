"""The reader of one response: the same answer however it is cut, and nothing but whole, plain HTTP/1.1."""

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.engines._http1 import Malformed, Response

LIMIT = 1000
BODIES = st.binary(max_size=300)


def plain(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def chunked(parts: list[bytes]) -> bytes:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part)
    return b"HTTP/1.1 500 Internal Server Error\r\ntransfer-encoding: Chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(c % (len(data) + 1) for c in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def feed(data: bytes, cuts: list[int] | None = None) -> Response:
    response = Response(LIMIT)
    done = [response.feed(part) for part in cut(data, cuts or [])]
    assert done == [False] * (len(done) - 1) + [True], "whole with its last byte, not before"
    return response


@given(body=BODIES, cuts=st.lists(st.integers(0, 1000)))
def test_a_length_cut_anywhere(body: bytes, cuts: list[int]) -> None:
    response = feed(plain(body), cuts)
    assert (response.status, bytes(response.body), response.keep_alive) == (200, body, True)


@given(parts=st.lists(st.binary(max_size=60), max_size=8), cuts=st.lists(st.integers(0, 1000)))
def test_chunks_cut_anywhere(parts: list[bytes], cuts: list[int]) -> None:
    response = feed(chunked(parts), cuts)
    assert (response.status, bytes(response.body), response.keep_alive) == (500, b"".join(parts), True)


@given(data=st.one_of(BODIES.map(plain), st.lists(BODIES, max_size=2).map(chunked)), extra=st.binary(min_size=1))
def test_bytes_after_the_end(data: bytes, extra: bytes) -> None:
    with pytest.raises(Malformed):
        Response(LIMIT).feed(data + extra)


@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 1000)))
def test_noise_is_malformed_or_waited_for_and_never_an_answer(data: bytes, cuts: list[int]) -> None:
    response = Response(LIMIT)
    with contextlib.suppress(Malformed):
        assert not any(response.feed(part) for part in cut(b"HTTP/1.1 " + data, cuts))


def head(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join([status, *lines, b"", b""])


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\r\n" + plain(b"{}"),
        head(b"Content-Length: 0", status=b"HTTP/1.0 200 OK"),
        head(b"Content-Length: 0", status=b"HTTP/1.1 100 Continue"),
        head(b"Content-Length: 0", status=b"HTTP/1.1 2000 OK"),
        head(b"Content-Length: 0", status=b"HTTP/1.1 200OK"),
        head(),
        head(b"Connection: close"),
        head(b"Content-Length: 0", b"Content-Length: 0"),
        head(b"Content-Length: 0, 0"),
        head(b"Content-Length: +1"),
        head(b"Content-Length: -1"),
        head(b"Content-Length: 0x1"),
        head(b"Content-Length: 1_0"),
        head(b"Content-Length:"),
        head(b"Content-Length: %d" % (LIMIT + 1)),
        head(b"Content-Length: 99999999999999999999"),
        head(b"Content-Length: 0", b"Transfer-Encoding: chunked"),
        head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        head(b"Transfer-Encoding: gzip, chunked"),
        head(b"Transfer-Encoding: identity", b"Content-Length: 0"),
        head(b"Content-Encoding: gzip", b"Content-Length: 0"),
        head(b"Content-Length : 0"),
        head(b"X: 1", b" folded: 1", b"Content-Length: 0"),
        head(b"no colon", b"Content-Length: 0"),
        head(b": 1", b"Content-Length: 0"),
        head(b"X: " + b"x" * 70_000, b"Content-Length: 0"),
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
        head(b"Transfer-Encoding: chunked") + b"\r\n",
        head(b"Transfer-Encoding: chunked") + b"zz\r\n",
        head(b"Transfer-Encoding: chunked") + b"0x1\r\na\r\n",
        head(b"Transfer-Encoding: chunked") + b"+1\r\na\r\n",
        head(b"Transfer-Encoding: chunked") + b"1\r\nab\r\n",
        head(b"Transfer-Encoding: chunked") + b"fffffffff\r\n",
        head(b"Transfer-Encoding: chunked") + b"%x\r\n" % (LIMIT + 1),
        head(b"Transfer-Encoding: chunked") + (b"fa\r\n" + b"x" * 250 + b"\r\n") * 5,
        head(b"Transfer-Encoding: chunked") + b"1;" + b"x" * 2000,
        head(b"Transfer-Encoding: chunked") + b"0\r\nTrailer: 1\r\n\r\n",
    ],
)
def test_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        Response(LIMIT).feed(data)


def test_a_chunk_may_have_an_extension() -> None:
    data = head(b"Transfer-Encoding: chunked") + b"2 ;a=b\r\n{}\r\n00\r\n\r\n"
    assert bytes(feed(data).body) == b"{}"


def test_a_server_that_will_hang_up() -> None:
    assert not feed(head(b"Connection: Close", b"Content-Length: 0")).keep_alive
