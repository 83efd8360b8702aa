"""Stands between a bridge and Hydra's admin API: passes requests on, notes them, may be down, or stop at one."""

import contextlib
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

Asked = tuple[str, str]
"""Method and path, without the query."""


@dataclass
class AdminProxy:
    """`first`: when (time.monotonic) each was asked first.

    `before` and `after` are called around each request that is passed on; True: it gets no answer.
    """

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    first: dict[Asked, float] = field(default_factory=dict)
    down: bool = False
    before: Callable[[Asked], bool] = lambda _: False
    after: Callable[[Asked], bool] = lambda _: False


@contextlib.contextmanager
def admin_proxy(admin: str) -> Iterator[AdminProxy]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = (self.command, self.path.partition("?")[0])
            proxy.asked.append(asked)
            proxy.first.setdefault(asked, time.monotonic())
            if proxy.down or proxy.before(asked):
                return
            reply = client.request(self.command, admin + self.path)
            if proxy.after(asked):
                return
            self.send_response(reply.status_code)
            for name in ("Content-Type", "X-Total-Count"):
                if name in reply.headers:
                    self.send_header(name, reply.headers[name])
            self.send_header("Content-Length", str(len(reply.content)))
            self.end_headers()
            self.wfile.write(reply.content)

        do_DELETE = do_GET  # noqa: N815 - so the base class calls it

        def log_message(self, *_: Any) -> None:
            """Nothing on the terminal."""

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """A bridge that was killed does not read to the end."""

    with Server(("127.0.0.1", 0), Handler) as server, httpx.Client(timeout=30, trust_env=False) as client:
        proxy = AdminProxy(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield proxy
        server.shutdown()
