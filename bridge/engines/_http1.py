"""Reads one HTTP/1.1 response (RFC 9112) as OPA sends it; anything else is Malformed, never a guess. Pure.

What a response may be is kept small on purpose: its end is told by a length or by chunks, never by the connection's
end, since half a body could not be told from a whole one.
"""

import re

MAX_HEAD_BYTES = 64 * 1024
_START = b"HTTP/1.1 "
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: .*)?", re.DOTALL)
_LENGTH = re.compile(rb"[0-9]{1,10}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?", re.DOTALL)
_MAX_CHUNK_LINE = 1024
_FRAMING = (b"content-length", b"transfer-encoding", b"content-encoding", b"connection")


class Malformed(ValueError):
    """The text says what is wrong, without a byte of what was received."""


class Response:
    """One response, fed in parts of any size. `status` and `body` are whole when `feed` has returned True."""

    __slots__ = ("_buffer", "_chunked", "_length", "_limit", "body", "keep_alive", "status")

    def __init__(self, max_body_bytes: int) -> None:
        self.status = 0
        self.keep_alive = True
        self.body = bytearray()
        self._limit = max_body_bytes
        self._buffer = bytearray()
        self._length = 0
        self._chunked = False

    def feed(self, data: bytes) -> bool:
        """Takes the next bytes; True when they end the response. Malformed, also for bytes beyond that end."""
        buffer = self._buffer
        buffer += data
        if self.status == 0 and not self._head_read():
            return False
        if self._chunked:
            return self._chunks_read()
        if len(buffer) > self._length:
            raise Malformed("more bytes than its length says")
        self.body = buffer
        return len(buffer) == self._length

    def _head_read(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end > MAX_HEAD_BYTES or (end < 0 and len(self._buffer) > MAX_HEAD_BYTES):
            raise Malformed("a head that is too long")
        if not self._buffer.startswith(_START[: len(self._buffer)]):
            raise Malformed("not an HTTP/1.1 response")
        if end < 0:
            return False
        status_line, *lines = bytes(self._buffer[:end]).split(b"\r\n")
        del self._buffer[: end + 4]
        matched = _STATUS_LINE.fullmatch(status_line)
        if matched is None:
            raise Malformed("not a final HTTP/1.1 response")
        self.status = int(matched[1])
        self._read_headers(lines)
        return True

    def _read_headers(self, lines: list[bytes]) -> None:
        headers: dict[bytes, bytes] = {}
        for line in lines:
            name, colon, value = line.partition(b":")
            name = name.lower()
            if not colon or not name or name != name.strip():
                raise Malformed("a header line that is none")
            if name in headers and name in _FRAMING:
                raise Malformed("a header twice that may stand once")
            headers[name] = value.strip(b" \t").lower()
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise Malformed("an encoding that was not asked for")
        length, coding = headers.get(b"content-length"), headers.get(b"transfer-encoding")
        self._chunked = coding == b"chunked"
        if (length is None) is not self._chunked or coding not in (None, b"chunked"):
            raise Malformed("its end is told neither by a length nor by chunks, or by both")
        if length is not None and not _LENGTH.fullmatch(length):
            raise Malformed("a length that is none")
        self._length = int(length or 0)
        if self._length > self._limit:
            raise Malformed(f"more than {self._limit} bytes")
        self.keep_alive = b"close" not in headers.get(b"connection", b"")

    def _chunks_read(self) -> bool:
        buffer = self._buffer
        while True:
            end = buffer.find(b"\r\n", 0, _MAX_CHUNK_LINE)
            if end < 0:
                if len(buffer) >= _MAX_CHUNK_LINE:
                    raise Malformed("a chunk without a size")
                return False
            matched = _CHUNK_SIZE.fullmatch(buffer, 0, end)
            if matched is None:
                raise Malformed("a chunk without a size")
            size = int(matched[1], 16)
            if len(self.body) + size > self._limit:
                raise Malformed(f"more than {self._limit} bytes")
            whole = end + 2 + size + 2
            if len(buffer) < whole and b"\r\n".startswith(buffer[end + 2 + size :]):
                return False
            if buffer[whole - 2 : whole] != b"\r\n":
                raise Malformed("a chunk that does not end where its size says, or a trailer")
            self.body += buffer[end + 2 : end + 2 + size]
            del buffer[:whole]
            if size == 0:
                if buffer:
                    raise Malformed("more bytes than its last chunk")
                return True
