"""`GET /log/…`: the published log for auditors, read only (C2SP tlog-tiles)."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from bridge.doors._callers import Callers

NAME = "log"
PATH = "/log/{file:.*}"
_INDEX = r"(x[0-9]{3}/){0,5}[0-9]{3}(\.p/([1-9][0-9]{0,2}))?"
_TILE = re.compile(rf"tile/(entries|[0-9]|[1-5][0-9]|6[0-3])/{_INDEX}", re.ASCII)
# Private: only who may read the log may keep a copy of it.
_FOR_EVER = "private, max-age=31536000, immutable"
_FILES = {"checkpoint": "no-cache", "vkey": "no-cache"}


NoteAccess = Callable[[str, str, str], None]
"""Puts on record that a caller read a file of a door: (caller, door, file)."""


class LogFilesDoor:
    """Serves the files below `folder`, by the names of tlog-tiles; `note` puts each reading on record."""

    def __init__(self, callers: Callers, folder: Path, note: NoteAccess) -> None:
        self._callers, self._folder, self._note = callers, folder, note

    def routes(self) -> list[web.RouteDef]:
        return [web.get(PATH, self.get)]

    async def get(self, request: web.Request) -> web.Response:
        """One file, or 404; CallerRefused for who is no auditor."""
        caller = self._callers.authenticate(request)
        caller.require("auditor", NAME)
        name = request.match_info["file"]
        cache = _FILES.get(name) or (_FOR_EVER if _TILE.fullmatch(name) else None)
        if cache is None:
            raise web.HTTPNotFound
        try:
            data = await asyncio.to_thread((self._folder / name).read_bytes)
        except (FileNotFoundError, NotADirectoryError):
            raise web.HTTPNotFound from None
        kind = "text/plain; charset=utf-8" if name in _FILES else "application/octet-stream"
        response = web.Response(body=data, headers={"Content-Type": kind, "Cache-Control": cache})
        if name.startswith("tile/entries/"):  # the rest tells nothing of anybody
            self._note(caller.name, NAME, name)
            response.enable_compression()
        return response
