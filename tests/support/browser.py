"""A real browser for a test: Chromium without a window, driven by its DevTools protocol.

async with browser(tmp_path) as tab:
    await tab.open("http://127.0.0.1:8380/")
    assert await tab.text("h1") == "Hello"
"""

import asyncio
import itertools
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from scripts.chromium import from_path

START_S, ANSWER_S = 30.0, 15.0
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--remote-debugging-port=0",
)


class Tab:
    """One page. Every call waits for its answer."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._ids = socket, itertools.count(1)
        self.console: list[str] = []
        """What the page's console was told, refusals of the Content-Security-Policy among it."""

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._ids)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(ANSWER_S):
            while True:
                told = await self._socket.receive_json()
                if told.get("method") == "Log.entryAdded":
                    self.console.append(told["params"]["entry"]["text"])
                if told.get("id") == number:
                    assert "error" not in told, told
                    found: dict[str, Any] = told["result"]
                    return found

    async def open(self, url: str) -> None:
        """Goes there; does not wait for what the page loads."""
        told = await self.call("Page.navigate", url=url)
        assert "errorText" not in told, told

    async def value(self, expression: str) -> Any:
        """What a JavaScript expression comes to, in this page."""
        told = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def until(self, expression: str, within_s: float = ANSWER_S) -> None:
        """Waits for it to be true."""
        async with asyncio.timeout(within_s):
            while not await self.value(expression):
                await asyncio.sleep(0.05)

    async def text(self, selector: str) -> list[str]:
        """The text of each element that is meant."""
        found: list[str] = await self.value(
            f"[...document.querySelectorAll({json.dumps(selector)})].map((one) => one.textContent)"
        )
        return found


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Tab]:
    """With a profile of its own below `folder`; all of it is ended on the way out."""
    program = from_path()
    if program is None:
        pytest.fail("there is no Chromium: `make browser` installs it", pytrace=False)
    profile = folder / "profile"
    process = await asyncio.to_thread(_started, program, profile)
    try:
        port = await _port(process, profile / "DevToolsActivePort")
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", trust_env=False) as session:
            async with session.get("/json/list") as response:
                page = next(one for one in await response.json(content_type=None) if one["type"] == "page")
            async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                tab = Tab(socket)
                await tab.call("Log.enable")
                yield tab
                await tab.call("Browser.close")
                await asyncio.to_thread(process.wait, 10)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _started(program: str, profile: Path) -> "subprocess.Popen[bytes]":
    command = [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
    with (profile.parent / "chromium.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


async def _port(process: "subprocess.Popen[bytes]", file: Path) -> int:
    async with asyncio.timeout(START_S):
        while not file.exists() or not file.read_text().strip():
            assert process.poll() is None, f"Chromium ended with {process.returncode}"
            await asyncio.sleep(0.05)
    return int(file.read_text().split()[0])
