"""A PDP of the tests' own on a real socket: it answers what a test says, byte by byte if need be."""

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bridge.pep import Party, Wish

TARGET, OTHER = "https://metrics.example", "https://ledger.example"


@dataclass(frozen=True)
class Request:
    """What came in; header names in small letters."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = Callable[[Request], bytes | Iterable[bytes]]


@dataclass
class StandIn:
    """Where it listens, what came in, and what it answers."""

    url: str
    answer: Answer
    requests: list[Request] = field(default_factory=list)
    connections: int = 0

    def says(self, value: Any, **head: Any) -> None:
        """Answers `value` as JSON from now on."""
        self.answer = lambda _: response(value, **head)


def response(value: Any, status: int = 200, headers: Iterable[tuple[str, str]] = (), **head: str) -> bytes:
    """A whole HTTP response; bytes go out as they are, anything else as JSON."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
    lines.append(f"Content-Type: {head.get('content_type', 'application/json')}")
    lines += [f"{name}: {said}" for name, said in headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def drip(data: bytes, pause_s: float) -> Iterator[bytes]:
    """`data`, a byte at a time."""
    for byte in data:
        yield bytes([byte])
        time.sleep(pause_s)


def permit_all(request: Request) -> bytes:
    asked = request.json
    if "evaluations" not in asked:
        return response({"decision": True})
    return response({"evaluations": [{"decision": True} for _ in asked["evaluations"]]})


@contextlib.contextmanager
def stand_in(answer: Answer = permit_all, tls: ssl.SSLContext | None = None) -> Iterator[StandIn]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        pdp = StandIn(f"{'https' if tls else 'http'}://127.0.0.1:{server.getsockname()[1]}", answer)
        thread = threading.Thread(target=_accept, args=(server, pdp, tls), daemon=True)
        thread.start()
        yield pdp
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def _accept(server: socket.socket, pdp: StandIn, tls: ssl.SSLContext | None) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = server.accept()
            pdp.connections += 1
            threading.Thread(target=_serve, args=(connection, pdp, tls), daemon=True).start()


def _serve(plain: socket.socket, pdp: StandIn, tls: ssl.SSLContext | None) -> None:
    with (
        contextlib.suppress(OSError, ValueError),
        plain if tls is None else tls.wrap_socket(plain, server_side=True) as connection,
        connection.makefile("rb") as stream,
    ):
        while line := stream.readline().decode().strip():
            headers = {}
            while header := stream.readline().decode().strip():
                name, _, value = header.partition(": ")
                headers[name.lower()] = value
            request = Request(line, headers, stream.read(int(headers["content-length"])))
            pdp.requests.append(request)
            said = pdp.answer(request)
            for part in [said] if isinstance(said, bytes) else said:
                connection.sendall(part)
            if not isinstance(said, bytes):
                return  # what came in parts ends with the connection


def wish(*scopes: str, **members: Any) -> Wish:
    """A client that wants an access token for itself; `members` are laid on top."""
    base: dict[str, Any] = {
        "subject": Party("client", "nightly-job"),
        "client_id": "nightly-job",
        "grant_type": "client_credentials",
        "audience": (TARGET,),
        "scopes": scopes,
    }
    return Wish(**{**base, **members})
